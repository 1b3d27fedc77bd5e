"""Intervals and tests for other people, topics and seeds, by a jackknife over all of them (Efron & Tibshirani 1993).

A statistic is computed again without each persona, each context and each seed. The variances of the three jackknives
are added, and the reference distribution is Student's t with Satterthwaite's degrees of freedom, since there are few
levels. `docs/measures.md` has the coverage and the rates of false differences that `benchmarks/coverage.py` measures.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from valstab.statistics.resampling import Over, StabilitySpec, mean_stability, without_each

DIMENSIONS: tuple[Over, ...] = get_args(Over)
"""Dimensions whose levels stand for others like them. Keys do not: a questionnaire has those it has."""

MIN_LEVELS: Mapping[Over, int] = {"persona": 5, "context": 3, "seed": 1}
"""Smallest numbers of levels for an interval over people, topics and seeds."""

MIN_SPREAD = 1e-12
"""Spreads, standard errors and differences below this are rounding errors: stabilities are of the order of 1."""

MAX_CORRELATION = 0.999
"""Correlations are taken as at most this where they are transformed: Fisher's z of 1 is infinite."""

LEVEL_NAMES: Mapping[Over, tuple[str, str]] = {
    "persona": ("person", "people"),
    "context": ("topic", "topics"),
    "seed": ("seed", "seeds"),
}
"""What one level of a dimension is called, and what several are."""

Statistics = Callable[[xr.DataArray], Mapping[str, float]]
"""Computes statistics, by name, from scores."""


class Jackknifed(NamedTuple):
    """A statistic, and the same without each level of the dimensions."""

    value: float
    without: Mapping[Over, xr.DataArray]
    """By dimension, of those with at least two levels. One value for each level, labelled with it."""


class Estimate(NamedTuple):
    """A statistic with the variance that comes from each dimension, and this variance's degrees of freedom."""

    value: float
    variances: Mapping[Over, tuple[float, float]]


class Interval(NamedTuple):
    """An estimate with its interval; NaN where nothing varies or there are too few levels."""

    value: float
    low: float
    high: float
    se: float
    df: float
    p: float
    """Of the two-sided test that the value is 0; 1 where it can't be tested."""


def jackknife(scores: xr.DataArray, statistics: Statistics, over: Sequence[Over] = DIMENSIONS) -> dict[str, Jackknifed]:
    """Compute statistics of scores with and without each level.

    Args:
        scores: dimensions seed, context, persona and any others. A dimension with one level is left out.
        statistics: computes numbers from scores.
        over: the dimensions whose levels are left out in turn.
    """
    values = statistics(scores)
    without: dict[Over, list[Mapping[str, float]]] = {
        name: [statistics(scores.isel({name: rest})) for rest in _leaving_one(scores.sizes[name])]
        for name in over
        if scores.sizes[name] > 1
    }
    return {
        statistic: Jackknifed(
            value,
            {
                name: xr.DataArray([each[statistic] for each in values_of], {name: scores[name].to_numpy()}, (name,))
                for name, values_of in without.items()
            },
        )
        for statistic, value in values.items()
    }


def jackknifed_stability(scores: xr.DataArray, spec: StabilitySpec, over: Sequence[Over] = DIMENSIONS) -> Jackknifed:
    """Compute a stability with and without each level."""
    return Jackknifed(mean_stability(scores, spec), stabilities_without(scores, spec, over))


def stabilities_without(
    scores: xr.DataArray, spec: StabilitySpec, over: Sequence[Over] = DIMENSIONS
) -> dict[Over, xr.DataArray]:
    """Compute a stability without each level, by dimension.

    A stability needs two contexts: with two, none can be left out. Where `why_no_interval` has a reason nothing is left
    out, so that there is neither an interval nor a test.
    """
    if why_no_interval(scores, over):
        return {}
    return without_each(scores, spec, [name for name in over if scores.sizes[name] > (2 if name == "context" else 1)])


def estimate(study: Jackknifed) -> Estimate:
    """Return a statistic with its variance over each dimension."""
    return contrast([study], [1.0])


def contrast(studies: Sequence[Jackknifed], weights: Sequence[float]) -> Estimate:
    """Return the weighted sum of statistics of several studies, such as a difference (weights 1 and -1).

    Where all studies have the same levels of a dimension, the same level is left out of all at once, so that what it
    does to all of them cancels. Otherwise the studies are taken as independent over that dimension. A study without
    anything left out leaves the sum without a variance.
    """
    value = sum(weight * study.value for study, weight in zip(studies, weights, strict=True))
    if not all(study.without for study in studies):
        return Estimate(value, {})
    names = [name for name in DIMENSIONS if any(name in study.without for study in studies)]
    return Estimate(value, {name: _variance(studies, weights, name) for name in names})


def interval(estimate: Estimate, *, confidence: float = 0.95, correlation: bool = False) -> Interval:
    """Return the interval of a statistic.

    Args:
        estimate: the statistic and its variances.
        confidence: the probability with which the interval covers the truth, between 0 and 1.
        correlation: whether the statistic is a mean correlation; its interval is then symmetric in Fisher's z.
    """
    value = estimate.value
    parts = [(variance, df) for variance, df in estimate.variances.values() if variance != 0]
    se = math.sqrt(math.fsum(variance for variance, _ in parts))
    if math.isnan(value) or not se >= MIN_SPREAD:
        return Interval(value, math.nan, math.nan, math.nan, math.nan, 1.0)
    df = max(1.0, se**4 / math.fsum(variance**2 / freedom for variance, freedom in parts))
    half = float(stdtrit(df, (1 + confidence) / 2)) * se
    p = float(2 * stdtr(df, -abs(value) / se))
    if not correlation:
        return Interval(value, value - half, value + half, se, df, p)
    near = min(max(value, -MAX_CORRELATION), MAX_CORRELATION)
    z, half = math.atanh(near), half / (1 - near**2)
    return Interval(value, math.tanh(z - half), math.tanh(z + half), se, df, p)


def p_against(found: Interval, correlation: float) -> float:
    """Return the two-sided p-value of a mean correlation against another: below 0.05 outside of the 95% interval.

    Args:
        found: the interval, with `correlation=True`.
        correlation: between -1 and 1. p is 1 where there is no interval.
    """
    if math.isnan(found.se):
        return 1.0
    z, other = (math.atanh(min(max(r, -MAX_CORRELATION), MAX_CORRELATION)) for r in (found.value, correlation))
    slope = 1 - min(abs(found.value), MAX_CORRELATION) ** 2
    return float(2 * stdtr(found.df, -abs(z - other) * slope / found.se))


def stability_interval(
    scores: xr.DataArray, spec: StabilitySpec, over: Sequence[Over] = DIMENSIONS, *, confidence: float = 0.95
) -> Interval:
    """Return a stability with its interval for other people, topics and seeds like these.

    Args:
        scores: dimensions seed, context, persona, key.
        spec: which stability.
        over: the dimensions that the interval generalises over. With fewer, the others' levels are taken as the
            only ones of interest.
        confidence: the probability with which the interval covers the truth.

    Returns:
        The interval; NaN where `why_no_interval` has a reason, or nothing varies.
    """
    study = jackknifed_stability(scores, spec, over)
    return interval(estimate(study), confidence=confidence, correlation=True)


def level_names(*, without_personas: bool) -> dict[Over, tuple[str, str]]:
    """Return what one level of each dimension is called, and what several are."""
    return {**LEVEL_NAMES, **({"persona": ("repetition", "repetitions")} if without_personas else {})}


def why_no_interval(scores: xr.DataArray, over: Sequence[Over] = DIMENSIONS, *, without_personas: bool = False) -> str:
    """Return why scores have no interval: a dimension has too few levels. Empty if they have one."""
    names = level_names(without_personas=without_personas)
    return ", ".join(
        f"fewer than {least} {names[name][1]}"
        for name in over
        for least in [max(MIN_LEVELS[name], 2 if len(over) == 1 else 1)]
        if scores.sizes[name] < least
    )


def _variance(studies: Sequence[Jackknifed], weights: Sequence[float], name: Over) -> tuple[float, float]:
    without = [study.without.get(name) for study in studies]
    known = [values for values in without if values is not None]
    first = known[0]
    if len(known) == len(studies) and all(values[name].equals(first[name]) for values in known):
        both = sum(weight * values.to_numpy() for values, weight in zip(known, weights, strict=True))
        return _jackknife_variance(np.asarray(both)), float(len(first) - 1)
    parts = [
        (weight**2 * _jackknife_variance(values.to_numpy()), len(values) - 1)
        for values, weight in zip(without, weights, strict=True)
        if values is not None
    ]
    total = math.fsum(variance for variance, _ in parts)
    return total, total**2 / math.fsum(variance**2 / df for variance, df in parts) if total > 0 else 1.0


def _jackknife_variance(without: NDArray[np.float64]) -> float:
    number = len(without)
    return float((number - 1) / number * ((without - without.mean()) ** 2).sum())


def _leaving_one(number: int) -> NDArray[np.intp]:
    """Return the indices without each one, shape (number, number - 1)."""
    return np.array([np.delete(np.arange(number), left_out) for left_out in range(number)], dtype=np.intp)
