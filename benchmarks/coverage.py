"""Measure how often the 95% intervals cover the truth, and how often equal models are told apart.

    python benchmarks/coverage.py [STUDIES]

Studies are simulated with new people and topics each time: a part of the person, a part of the person in the context
(of equal or of unequal strength between topics), noise, and answers on six points to four items a value, centred as
PVQ's. The truth is the mean stability over many studies of the same design. Prints a table in Markdown.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from valstab.statistics.inference import differences
from valstab.statistics.jackknife import contrast, interval, jackknifed_stability
from valstab.statistics.resampling import StabilitySpec
from valstab.statistics.stability import Measure, stability_so_far

DESIGNS = ((6, 3, 2), (12, 5, 1), (12, 5, 2), (60, 5, 5), (60, 14, 5))
"""Numbers of people, topics and seeds."""

LARGE = 1000
"""People x topics x seeds from which fewer studies are simulated."""


class Topics(NamedTuple):
    """How strongly topics move people: the SD of the logarithm of their strength, and the SD of their effect."""

    name: str
    unequal: float
    effect: float


TOPICS = (
    Topics("equal", 0.0, 1.0),
    Topics("unequal", 0.8, 1.0),
    Topics("very unequal", 1.2, 1.0),
    Topics("nothing", 0.0, 0.0),
)


def studies(
    design: tuple[int, int, int], topics: Topics, rng: np.random.Generator, *, people: bool, order: bool
) -> Iterator[xr.DataArray]:
    """Yield studies of one model after the other, on the same topics for two models at a time.

    Args:
        design: numbers of people, topics and seeds.
        topics: how strongly they move people.
        rng: source of random numbers.
        people: whether personas differ; otherwise they are repetitions without a persona.
        order: whether there is any order that topics could keep.
    """
    personas, contexts, seeds = design
    while True:
        strength = rng.lognormal(-(topics.unequal**2) / 2, topics.unequal, contexts)[:, None, None]
        shared = rng.normal(size=(personas, 10))
        for _ in range(2):
            stable = np.sqrt([0.5, 0.5]) @ np.stack([shared, rng.normal(size=(personas, 10))]).reshape(2, -1)
            stable = stable.reshape(personas, 10) * order if people else 1.5 * np.linspace(-1, 1, 10) * order
            moved = strength * rng.normal(size=(contexts, personas if people else 1, 10)) * topics.effect
            topic = 0.5 * rng.normal(size=(contexts, 1, 10))
            noise = rng.normal(size=(seeds, contexts, personas, 10))
            values = stable + moved + topic + noise + (np.linspace(-1, 1, 10) if people else 0)
            items = np.clip(np.round(values[..., None] + 0.7 * rng.normal(size=(*noise.shape, 4)) + 3.5), 1, 6)
            scores = items.mean(axis=-1)
            names = ("seed", "context", "persona", "key")
            coordinates = {name: np.arange(size) for name, size in zip(names, scores.shape, strict=True)}
            yield xr.DataArray(scores - scores.mean(axis=-1, keepdims=True), coordinates, names)


def row(
    design: tuple[int, int, int], topics: Topics, measure: Measure, number: int, *, people: bool, order: bool
) -> str:
    """Simulate studies of one kind, and return a row of the table."""
    spec = StabilitySpec(measure, "zero", without_personas=not people)
    source = studies(design, topics, np.random.default_rng(0), people=people, order=order)
    truth = np.mean([stability_so_far(next(source), measure) for _ in range(4 * number)])
    covered, widths, found = [], [], []
    for _ in range(number):
        one, other = (jackknifed_stability(next(source), spec) for _ in range(2))
        of_one = interval(contrast([one], [1.0]), correlation=True)
        covered.append(of_one.low <= truth <= of_one.high)
        widths.append((of_one.high - of_one.low) / 2)
        found.append(differences({"one": one, "other": other})["significant"].iloc[0])
    sizes = " x ".join(map(str, design))
    what = ("rank-order" if measure == "rank_order" else "ipsative") + ("" if people else ", without personas")
    kind = topics.name if order else "no order of people"
    return (
        f"| {what} | {kind} | {sizes} | {truth:.2f} | {np.mean(covered):.0%} | ±{np.median(widths):.2f} "
        f"| {np.mean(found):.1%} | {number} |"
    )


def main() -> None:
    """Print the table."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    sys.stdout.write(
        "| stability | topics | people x topics x seeds | truth | covered | half width | false | studies |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|---|---|\n")
    kinds: list[tuple[Measure, bool]] = [("rank_order", True), ("ipsative", True), ("ipsative", False)]
    for measure, people in kinds:
        for topics in TOPICS:
            for order in (True, False) if topics.name == "equal" and measure == "rank_order" else (True,):
                for design in DESIGNS:
                    number = most if np.prod(design) < LARGE else max(1, most // 4)
                    sys.stdout.write(row(design, topics, measure, number, people=people, order=order) + "\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
