"""Consistency of single answers between contexts, seeds and option orders.

Pure functions of a run's answers (`valstab.protocol.ask.ask`), so that the reasons of a stability show at the level of
items.
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import rel_entr

LABELS = ("seed", "context", "persona", "item")

REPETITIONS: Mapping[str, str] = {"topics": "context", "seeds": "seed", "orders": "retest"}
"""Between which repetitions answers are compared, and the dimension of these."""


def item_consistency(answers: pd.DataFrame, retests: pd.DataFrame | None = None) -> pd.DataFrame:
    """Compare the answers of a persona to an item between topics, between seeds, and between option orders.

    Topics: the same seed. Seeds: the same topic, another conversation. Orders: the same conversation (`retests`).

    Args:
        answers: with the columns seed, context, persona, item, score, and logprob_1, logprob_2, ... where known.
        retests: the same with the column retest (1, 2, ...).

    Returns:
        One row for each that occurs more than once: between ("topics", "seeds", "orders"); same, the share of pairs of
        answers with the same score; chance, the share that people's answers to the item would have in random pairs;
        kappa, Cohen's with quadratic weights, over people within each item and pair (Cohen 1968), whose observed and
        expected disagreements are averaged before (NaN for one persona, or without disagreement by chance); sd, the
        within-person standard deviation in points of the scale (Bland & Altman 1996); divergence, the mean
        Jensen-Shannon divergence of the options' probabilities, in bits (Lin 1991; NaN where these are unknown).
    """
    parts = [answers.assign(retest=0), *([] if retests is None else [retests])]
    table = pd.concat(parts, ignore_index=True).set_index(["retest", *LABELS])
    scores = table["score"].astype(float).to_xarray()
    probabilities = _probabilities(table)
    rows = []
    for name, across in REPETITIONS.items():
        if scores.sizes[across] < 2:  # noqa: PLR2004
            continue
        of_test = {} if across == "retest" else {"retest": 0}
        row = _agreement(scores.sel(of_test), across)
        divergence = math.nan if probabilities is None else _divergence(probabilities.sel(of_test), across)
        rows.append({"between": name, **row, "divergence": divergence})
    return pd.DataFrame(rows, columns=["between", "same", "chance", "kappa", "sd", "divergence"])


def _agreement(scores: xr.DataArray, across: str) -> dict[str, float]:
    same, chance, squares, by_chance = [], [], [], []
    for one, other in _pairs(scores, across):
        both = ~(np.isnan(one) | np.isnan(other))
        x, y = one.where(both), other.where(both)
        same.append((x == y).where(both))
        chance.append(_chance(x, y))
        squares.append((x - y) ** 2)
        by_chance.append(x.var("persona") + y.var("persona") + (x.mean("persona") - y.mean("persona")) ** 2)
    observed, expected = _mean(squares), _mean(by_chance)
    several = scores.sizes["persona"] > 1 and expected > 0
    return {
        "same": _mean(same),
        "chance": _mean(chance),
        "kappa": 1 - observed / expected if several else math.nan,
        "sd": math.sqrt(observed / 2),
    }


def _chance(x: xr.DataArray, y: xr.DataArray) -> xr.DataArray:
    """Return the chance that answers of two people drawn at random are the same."""
    people = x.count("persona") * y.count("persona")
    equal = (x == y.rename(persona="other")).sum(["persona", "other"])
    return equal / people.where(people > 0)


def _probabilities(table: pd.DataFrame) -> xr.DataArray | None:
    """Return the probability of each option, of all that were offered; None where none is known."""
    columns = [name for name in table if str(name).startswith("logprob_")]
    if not columns or table[columns].isna().all(axis=None):
        return None
    given = np.nan_to_num(np.exp(table[columns].to_numpy(dtype=float)))
    total = given.sum(axis=1, keepdims=True)
    shares = pd.DataFrame(given / np.where(total > 0, total, math.nan), index=table.index, columns=columns)
    array: xr.DataArray = shares.to_xarray().to_array("option")
    return array


def _divergence(probabilities: xr.DataArray, across: str) -> float:
    return _mean([_jensen_shannon(one, other) for one, other in _pairs(probabilities, across)])


def _jensen_shannon(one: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Return the Jensen-Shannon divergence of two distributions over `option`, in bits."""
    middle = (one + other) / 2
    parts = (xr.apply_ufunc(rel_entr, each, middle).sum("option", skipna=False) for each in (one, other))
    divergence: xr.DataArray = sum(parts) / (2 * math.log(2))
    return divergence


def _pairs(values: xr.DataArray, across: str) -> list[tuple[xr.DataArray, xr.DataArray]]:
    levels = [values.isel({across: level}, drop=True) for level in range(values.sizes[across])]
    return list(itertools.combinations(levels, 2))


def _mean(parts: list[xr.DataArray]) -> float:
    """Average what is known; NaN where nothing is."""
    values = np.stack([part.to_numpy() for part in parts])
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
