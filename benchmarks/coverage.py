"""Measure how often 95% intervals cover the truth, and how often equal models are told apart.

    python benchmarks/coverage.py [STUDIES]

Studies are simulated with new people and topics each time: a part of the person, a part of the person in the context
(of equal or of unequal strength between topics), noise, and answers on six points to four items a value, centred as
PVQ's. The truth is the mean stability of all studies of the same design. Beside the jackknife are two bootstraps'
percentiles: of people, topics and seeds at once, where no topic is paired with itself (pigeonhole; Owen & Eckles 2012),
and of people alone. Prints a table in Markdown.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from valstab.statistics.inference import differences
from valstab.statistics.jackknife import DIMENSIONS, contrast, interval, jackknifed_stability
from valstab.statistics.resampling import Over, StabilitySpec
from valstab.statistics.stability import Measure, correlations, fill_undefined, mean_over_pairs

DESIGNS = ((6, 3, 2), (12, 5, 2), (60, 5, 5), (60, 14, 5))
"""Numbers of people, topics and seeds."""

LARGE = 1000
"""People x topics x seeds from which a quarter as many studies are simulated."""

MANY_TOPICS = 14
"""Number of topics from which no bootstrap is tried."""

RESAMPLES = 199
"""Number of bootstrap samples."""


class Topics(NamedTuple):
    """How strongly topics move people."""

    name: str
    unequal: float
    """SD of the logarithm of their strength."""


EQUAL = Topics("equal", 0.0)
UNEQUAL = Topics("unequal", 0.8)
VERY_UNEQUAL = Topics("very unequal", 1.2)


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
            moved = strength * rng.normal(size=(contexts, personas if people else 1, 10))
            topic = 0.5 * rng.normal(size=(contexts, 1, 10))
            noise = rng.normal(size=(seeds, contexts, personas, 10))
            values = stable + moved + topic + noise + (np.linspace(-1, 1, 10) if people else 0)
            items = np.clip(np.round(values[..., None] + 0.7 * rng.normal(size=(*noise.shape, 4)) + 3.5), 1, 6)
            scores = items.mean(axis=-1)
            names = ("seed", "context", "persona", "key")
            coordinates = {name: np.arange(size) for name, size in zip(names, scores.shape, strict=True)}
            yield xr.DataArray(scores - scores.mean(axis=-1, keepdims=True), coordinates, names)


def bootstrapped(
    scores: xr.DataArray, measure: Measure, over: Sequence[Over], rng: np.random.Generator
) -> tuple[float, float]:
    """Return the 95% percentile interval of a bootstrap over some dimensions at once."""
    drawn = {
        name: xr.DataArray(rng.integers(scores.sizes[name], size=(RESAMPLES, scores.sizes[name])), dims=("draw", name))
        for name in over
    }
    again = scores.drop_vars(list(scores.coords)).isel(drawn)
    rho = fill_undefined(correlations(again, measure), "zero")
    if "context" in drawn:
        rho = rho.where(drawn["context"] != drawn["context"].rename(context="other"))
    found = mean_over_pairs(rho)
    low, high = np.nanpercentile(found.mean([name for name in found.dims if name != "draw"]), [2.5, 97.5])
    return float(low), float(high)


class Case(NamedTuple):
    """Studies of one kind."""

    measure: Measure
    people: bool
    """Whether there are personas, or repetitions without."""
    topics: Topics
    design: tuple[int, int, int]
    order: bool = True
    """Whether there is any order that topics could keep."""

    @property
    def with_bootstraps(self) -> bool:
        """Whether bootstraps are tried too; they are slow."""
        return self.order and self.topics in (EQUAL, UNEQUAL) and self.design[1] < MANY_TOPICS

    def __str__(self) -> str:
        """Return the first cells of a row."""
        what = {"rank_order": "rank-order", "ipsative": "ipsative"}[self.measure]
        topics = self.topics.name if self.order else "no order of people"
        return f"{what}{'' if self.people else ', no personas'} | {topics} | {' x '.join(map(str, self.design))}"


def row(case: Case, number: int) -> str:
    """Simulate studies of one kind, and return a row of the table."""
    measure, people, topics, design, order = case
    spec = StabilitySpec(measure, "zero", without_personas=not people)
    rng = np.random.default_rng(0)
    source = studies(design, topics, rng, people=people, order=order)
    others = (DIMENSIONS, ["persona"]) if case.with_bootstraps else ()
    values, intervals, found = [], [], []
    for _ in range(number):
        scores = [next(source) for _ in range(2)]
        one, other = (jackknifed_stability(each, spec) for each in scores)
        of_one = interval(contrast([one], [1.0]), correlation=True)
        limits = [of_one[1:3], *(bootstrapped(scores[0], measure, over, rng) for over in others)]
        intervals.append(limits)
        values += [one.value, other.value]
        found.append(differences({"one": one, "other": other})["significant"].iloc[0])
    truth, (low, high) = np.mean(values), np.moveaxis(intervals, -1, 0)
    covered = [f"{share:.0%}" for share in ((low <= truth) & (truth <= high)).mean(axis=0)]
    half = np.median(high - low, axis=0)[0] / 2
    cells = [
        f"{round(truth, 2) + 0:.2f}",
        covered[0],
        f"±{half:.2f}",
        *(covered[1:] or "--"),
        f"{np.mean(found):.1%}",
        str(number),
    ]
    return f"| {case} | {' | '.join(cells)} |"


def cases() -> Iterator[Case]:
    """Yield what is simulated."""
    for measure, people in (("rank_order", True), ("ipsative", True), ("ipsative", False)):
        for topics in (EQUAL, UNEQUAL):
            yield from (Case(measure, people, topics, design) for design in DESIGNS)
    for design in DESIGNS:
        yield Case("rank_order", True, VERY_UNEQUAL, design)
        yield Case("rank_order", True, EQUAL, design, order=False)
    yield Case("rank_order", True, EQUAL, (12, 5, 1))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="?", type=int, default=200, help="how many of a kind")
    most = parser.parse_args().studies
    heads = "stability | topics | people x topics x seeds | truth | covered | half width | pigeonhole | people alone"
    sys.stdout.write(f"| {heads} | false | studies |\n{'|---' * 10}|\n")
    for case in cases():
        sys.stdout.write(row(case, most if np.prod(case.design) < LARGE else max(1, most // 4)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
