"""Stability of scores, as pure functions of labelled arrays (PROTOCOL, Stability; paper, section 3.2).

`scores` always has the dimensions seed, context, persona, key, as `valstab.scores.score` gives them. A
correlation is Spearman's rho with average ranks for ties, of scores rounded to 9 decimals: centring
in floating point would break exact ties at random. It is undefined (NaN) where a side is constant. Scores that are
missing (NaN) are left out of the correlations that they would be part of.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from scipy.stats import rankdata

Undefined = Literal["zero", "drop"]

DECIMALS = 9


@dataclass(frozen=True)
class Stability:
    """A stability with its parts. What can't be computed is NaN: any mean without two contexts, `se` of one sample."""

    mean: float
    se: float
    """Standard error: SD (ddof=1) over the samples, over the square root of their number."""
    samples: xr.DataArray
    """What `se` is over: a stability for each seed, or for each repetition. Dimensions: seed, or seed and persona."""
    per_seed: xr.DataArray
    """Dimension: seed."""
    pairs: xr.DataArray
    """Mean for each two contexts, symmetric, NaN on the diagonal. Dimensions: context, other."""
    per_unit: xr.DataArray
    """Mean of each key (rank-order) or persona (ipsative). Dimension: key or persona."""
    per_unit_se: xr.DataArray
    """Standard error over the seeds of `per_unit`."""
    correlations: int
    """How many correlations there are."""
    undefined: int
    """How many of them are undefined."""


def rank_order(scores: xr.DataArray, undefined: Undefined = "zero") -> Stability:
    """Rank-order stability: does the order of people on a value survive a change of topic?

    For each seed, the mean over keys of the mean over pairs of contexts of rho over personas. The samples are the
    seeds; the units are the keys.
    """
    return _stability(scores, over="persona", unit="key", samples=("seed",), undefined=undefined)


def ipsative(scores: xr.DataArray, undefined: Undefined = "zero", *, permutations: bool = False) -> Stability:
    """Ipsative stability: does the order of a person's own values survive a change of topic?

    For each persona, the mean over pairs of contexts of rho over keys; then the mean over personas. The
    samples are the seeds, or with `permutations` (no personas) the repetitions; the units are the personas.
    """
    samples = ("seed", "persona") if permutations else ("seed",)
    return _stability(scores, over="key", unit="persona", samples=samples, undefined=undefined)


def neutral_profile(scores: xr.DataArray) -> xr.DataArray:
    """Average the rank of each key within each repetition of a neutral run: no persona, no conversation (paper D.2).

    Returns the mean ranks, with the dimension key.
    """
    return _ranks(scores, "key").mean(["seed", "context", "persona"])


def neutral_similarity(scores: xr.DataArray, profile: xr.DataArray, undefined: Undefined = "zero") -> xr.DataArray:
    """Correlate each person's keys with the neutral `profile` (paper D.2).

    Returns:
        The mean over personas and contexts, with the dimension seed.
    """
    return _settle(_rho(scores, profile, "key"), undefined).mean(["persona", "context"])


def neutral_order(scores: xr.DataArray, neutral: xr.DataArray, undefined: Undefined = "zero") -> xr.DataArray:
    """Correlate over personas each context with the one without conversation (paper D.3, equation 2).

    Args:
        scores: scores after conversations.
        neutral: scores of the same personas and seeds without any; its one context is the neutral one.
        undefined: what an undefined correlation counts as.

    Returns:
        The mean over keys and contexts, with the dimension seed.
    """
    rho = _rho(scores, neutral.isel(context=0, drop=True), "persona")
    return _settle(rho, undefined).mean(["key", "context"])


def value_behaviour(values: xr.DataArray, behaviour: xr.DataArray, undefined: Undefined = "zero") -> xr.DataArray:
    """Correlate over personas a value with a behaviour after a conversation on the same topic (paper 4.6).

    Args:
        values: scores on the questionnaire.
        behaviour: scores of the same seeds, contexts and personas on a task, for instance coins given to each race.
        undefined: what an undefined correlation counts as.

    Returns:
        The mean over the task's keys and contexts, with the dimensions seed and key (of the questionnaire).
    """
    rho = _rho(values, behaviour.rename(key="behaviour"), "persona")
    return _settle(rho, undefined).mean(["behaviour", "context"]).transpose("seed", "key")


def _stability(
    scores: xr.DataArray, *, over: str, unit: str, samples: tuple[str, ...], undefined: Undefined
) -> Stability:
    rho = _rho(scores, scores.rename(context="other"), over)
    n = scores.sizes["context"]
    upper = xr.DataArray(np.triu(np.ones((n, n), dtype=bool), k=1), dims=("context", "other"))
    lower = xr.DataArray(np.tril(np.ones((n, n), dtype=bool), k=-1), dims=("context", "other"))
    settled = _settle(rho, undefined)
    per_unit_seed = settled.where(upper).mean(["context", "other"])
    per_sample = per_unit_seed.mean([dim for dim in (unit, "seed") if dim not in samples])
    return Stability(
        mean=float(per_sample.mean()),
        se=float(_standard_error(per_sample)),
        samples=per_sample,
        per_seed=per_unit_seed.mean(unit),
        pairs=settled.where(upper | lower).mean(["seed", unit]),
        per_unit=per_unit_seed.mean("seed"),
        per_unit_se=_standard_error(per_unit_seed, "seed"),
        correlations=rho.sizes["seed"] * rho.sizes[unit] * n * (n - 1) // 2,
        undefined=int(rho.isnull().where(upper, False).sum()),
    )


def _settle(rho: xr.DataArray, undefined: Undefined) -> xr.DataArray:
    return rho.fillna(0.0) if undefined == "zero" else rho


def _standard_error(samples: xr.DataArray, dim: str | None = None) -> xr.DataArray:
    number = samples.count(dim)
    # One sample has no spread: where() first, since NumPy warns of it.
    return samples.where(number > 1).std(dim, ddof=1) / number**0.5


def _rho(one: xr.DataArray, other: xr.DataArray, over: str) -> xr.DataArray:
    """Spearman's rho along `over`; the other dimensions are matched by name."""
    one, other = xr.align(one, other, join="exact")
    if one.isnull().any() or other.isnull().any():
        # Each pair of sides is ranked by itself, over what both have.
        one, other = xr.broadcast(one, other)
        both = one.notnull() & other.notnull()
        one, other = one.where(both), other.where(both)
    a, b = _ranks(one, over), _ranks(other, over)
    a, b = (a - a.mean(over)).fillna(0), (b - b.mean(over)).fillna(0)
    spread = ((a**2).sum(over) * (b**2).sum(over)) ** 0.5
    # Ranks are multiples of one half: the sums are exact, and equal orders give exactly 1.
    covariance: xr.DataArray = xr.dot(a, b, dim=over)
    return covariance / spread.where(spread > 0)


def _ranks(scores: xr.DataArray, over: str) -> xr.DataArray:
    ranks: xr.DataArray = xr.apply_ufunc(
        rankdata,
        scores.round(DECIMALS),
        input_core_dims=[[over]],
        output_core_dims=[[over]],
        kwargs={"axis": -1, "nan_policy": "omit"},
    )
    return ranks
