"""Measure how often what is said of position, of chance and of wordings is false, at the level 5%.

    python benchmarks/false_positives.py [STUDIES]

Three tables in Markdown, of simulated studies where nothing is to be found:

1. Position: models that answer at random, by the option under the letter, or the same whoever asks.
2. Wording: models that ignore their persona, and answer some items otherwise where the questionnaire says "she".
3. Sliding orders, as in the paper's published code: a model that answers the first letter, whatever stands there.
"""

import argparse
import sys

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valstab.statistics.inference import permutation_null
from valstab.statistics.position import position_effect
from valstab.statistics.resampling import ALPHA, FREE, Exchange
from valstab.statistics.stability import Measure

NAMES = ("seed", "context", "persona", "key")

RESAMPLES = 99
"""Number of shuffles for a p-value."""


def answers(option: NDArray[np.int_], options: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return the answers to questions whose options stand under letters in random order.

    Args:
        option: the chosen options, shape (seed, context, persona, item).
        options: how many there are.
        rng: source of random numbers.
    """
    names = ["seed", "context", "persona", "item"]
    table = pd.MultiIndex.from_product([range(size) for size in option.shape], names=names).to_frame(index=False)
    letters = np.array(list("ABCDEF"))[rng.permuted(np.tile(np.arange(options), (option.size, 1)), axis=-1)]
    chosen = np.take_along_axis(letters, option.reshape(-1, 1), axis=-1)[:, 0]
    return table.assign(letter=chosen, letters=["".join(row) for row in letters])


def positions(number: int) -> None:
    """Print the table of positions."""
    shape = (2, 3, 12, 20)
    kinds = {"at random": shape, "by content, each person": (1, 1, *shape[2:]), "by content, all alike": (1, 1, 1, 20)}
    heading("answers | options | letters uneven (p < 0.05) | said to follow the position | studies")
    for name, drawn in kinds.items():
        for options in (2, 6):
            rng = np.random.default_rng(0)
            effects = [
                position_effect(
                    answers(np.broadcast_to(rng.integers(options, size=drawn), shape), options, rng), resamples=999
                )
                for _ in range(number)
            ]
            uneven, said = ([each.p < ALPHA for each in effects], [each.dominates for each in effects])
            line(name, options, percent(uneven), percent(said), number)


def worded(women: int, differ: float, rng: np.random.Generator) -> tuple[xr.DataArray, list[str]]:
    """Return scores of 60 people who are answered for by the wording alone, and their genders.

    Args:
        women: how many of them.
        differ: share of the 40 items that are answered otherwise for "she".
        rng: source of random numbers.
    """
    he = rng.integers(1, 7, size=40)
    she = np.where(rng.random(40) < differ, rng.integers(1, 7, size=40), he)
    genders = ["F"] * women + ["M"] * (60 - women)
    meant = np.stack([she if one == "F" else he for one in genders])
    noise = rng.integers(1, 7, size=(2, 5, 60, 40))
    return scored(np.where(rng.random(noise.shape) < 0.7, meant, noise)), genders  # noqa: PLR2004


def wordings(number: int) -> None:
    """Print the table of wordings."""
    heading("people | women | items that differ | shuffled among all | within a wording | studies")
    for women, differ in ((12, 0.1), (12, 0.5), (30, 0.1)):
        rng = np.random.default_rng(0)
        found = []
        for _ in range(number):
            scores, genders = worded(women, differ, rng)
            found.append([rejected(scores, "rank_order", exchange) for exchange in (FREE, Exchange(genders))])
        everybody, within = zip(*found, strict=True)
        line(60, women, f"{differ:.0%}", percent(everybody), percent(within), number)


def slid(seeds: int, contexts: int, personas: int, rng: np.random.Generator) -> xr.DataArray:
    """Return scores of first letters, where the options slide one place from person to person."""
    row = rng.integers(1, 7, size=(seeds, contexts, personas + 40)).astype(float)
    return scored(np.lib.stride_tricks.sliding_window_view(row, 40, axis=-1)[:, :, :personas])


def sliding_orders(number: int) -> None:
    """Print the table of sliding orders."""
    heads = [f"{measure}, {how}" for measure in ("rank-order", "ipsative") for how in ("shuffled", "reversed")]
    heading(f"people x topics x seeds | {' | '.join(heads)} | studies")
    for personas, contexts, seeds in ((12, 3, 5), (12, 5, 5), (20, 5, 2), (60, 5, 2), (60, 5, 5)):
        rng = np.random.default_rng(0)
        ways: list[tuple[Measure, Exchange]] = [
            (measure, exchange)
            for measure in ("rank_order", "ipsative")
            for exchange in (FREE, Exchange(sliding_orders=True))
        ]
        found = []
        for _ in range(number):
            scores = slid(seeds, contexts, personas, rng)
            found.append([rejected(scores, *way) for way in ways])
        shares = [percent(each) for each in zip(*found, strict=True)]
        line(f"{personas} x {contexts} x {seeds}", *shares, number)


def scored(given: NDArray[np.float64]) -> xr.DataArray:
    """Return the centred scores of 10 values with 4 items each, from answers of the shape (seed, ..., item)."""
    centred = given - given.mean(axis=-1, keepdims=True)
    return xr.DataArray(centred.reshape(*given.shape[:-1], 10, 4).mean(axis=-1), dims=NAMES)


def rejected(scores: xr.DataArray, measure: Measure, exchange: Exchange) -> bool:
    """Return whether a stability is called more than chance."""
    return permutation_null(scores, measure, resamples=RESAMPLES, exchange=exchange).p <= ALPHA


def percent(found: list[bool] | tuple[bool, ...]) -> str:
    """Return the share of what is true."""
    return f"{np.mean(found):.1%}"


def heading(text: str) -> None:
    """Print the head of a table."""
    sys.stdout.write(f"\n| {text} |\n{'|---' * (text.count('|') + 1)}|\n")


def line(*cells: object) -> None:
    """Print a row of a table."""
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="?", type=int, default=250, help="how many of a kind")
    number = parser.parse_args().studies
    positions(number)
    wordings(number)
    sliding_orders(number)


if __name__ == "__main__":
    main()
