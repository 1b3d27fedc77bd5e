"""Reliability of the scores: noise ceilings, variance components and generalisability.

Pure functions of scores with the dimensions seed, context, persona, key. The *noise ceiling* is the agreement of
repeated questions in the same context. Stability across contexts is not expected to exceed it.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valstab.statistics.correlation import correlate_levels, spearman
from valstab.statistics.jackknife import DIMENSIONS, MIN_LEVELS, Interval, estimate, interval, jackknife
from valstab.statistics.stability import (
    AXES,
    Measure,
    Undefined,
    correlations,
    fill_undefined,
    mean_over_pairs,
)

CROSS = " x "


@dataclass(frozen=True)
class NoiseCeiling:
    """A stability beside its noise ceiling, each with its interval for other people, topics and seeds like these."""

    stability: Interval
    ceiling: Interval
    cost: Interval
    """The ceiling minus the stability: what a change of context costs beyond noise."""
    kept: Interval
    """The stability over the ceiling. Only to be read where the ceiling's interval lies above 0."""
    corrected: Interval
    """Mean over pairs of contexts of the stability corrected for attenuation; chance can take it above 1."""
    pairs: xr.DataArray
    """Corrected stability of each two contexts, NaN where a ceiling is not above 0. Dimensions: context, other."""
    per_context: xr.DataArray
    """The ceiling of each context. Dimension: context."""


def corrected(
    scores: xr.DataArray,
    measure: Measure,
    *,
    again: xr.DataArray | None = None,
    undefined: Undefined = "zero",
) -> dict[str, NoiseCeiling]:
    """Correct a stability for attenuation by noise, with each available ceiling (Spearman 1904).

    For each two contexts r12 / sqrt(r11 r22), where r12 is their stability, r11 and r22 their ceilings, all of them
    means over units and seeds; then the mean over pairs where both ceilings are above 0.

    Args:
        scores: dimensions seed, context, persona, key.
        measure: which stability.
        again: scores of the retests after the same conversations; None without retests.
        undefined: what an undefined correlation counts as.

    Returns:
        "seed" (if there are several seeds) and "order" (if there are retests).

    Raises:
        ValueError: if the labels of `scores` and `again` differ.
    """
    found = {}
    if scores.sizes["seed"] > 1:
        found["seed"] = _ceiling(scores.expand_dims("asking"), measure, undefined, min_seeds=2)
    if again is not None:
        both = xr.concat(xr.align(scores, again, join="exact"), "asking")
        found["order"] = _ceiling(both, measure, undefined, min_seeds=1)
    return found


def variance_components(scores: xr.DataArray) -> pd.DataFrame:
    """Estimate the variance of scores due to personas, contexts, seeds and their interactions.

    A fully crossed random-effects analysis of one key at a time, whose estimates are averaged over keys (Brennan 2001,
    ch. 3). The highest interaction includes the residual. A dimension with one level is no source: its
    variance is part of the others. A persona with any missing score is left out. Negative estimates become 0 after
    the average; they occur by chance where a component is small.

    Args:
        scores: dimensions seed, context, persona, key, and any others, such as order (askings of the same).

    Returns:
        One row for each source: effect ("persona", "persona x context", ...), variance, share (of the sum of all),
        clipped (whether the estimate was negative).

    Raises:
        ValueError: if less than two personas have all their scores.
    """
    complete = scores.dropna("persona")
    if complete.sizes["persona"] < 2:  # noqa: PLR2004
        raise ValueError("variance components need at least two personas with all their scores")
    sources = ["persona", *(name for name in ("context", "seed") if name in scores.dims)]
    sources += [str(name) for name in scores.dims if name not in {*sources, "key"}]
    sources = [name for name in sources if complete.sizes[name] > 1]
    effects = [effect for size in range(1, len(sources) + 1) for effect in itertools.combinations(sources, size)]
    sizes = {name: complete.sizes[name] for name in sources}
    values = complete.transpose(*sources, ...).to_numpy().astype(float).reshape(*sizes.values(), -1)
    squares = {frozenset(effect): _mean_square(values, [sources.index(name) for name in effect]) for effect in effects}
    estimates = np.array([_component(frozenset(effect), squares, sizes) for effect in effects])
    variance = np.maximum(estimates, 0.0)
    total = variance.sum()
    return pd.DataFrame(
        {
            "effect": [CROSS.join(effect) for effect in effects],
            "variance": variance,
            "share": variance / total if total > 0 else np.full(len(variance), np.nan),
            "clipped": estimates < 0,
        }
    )


def generalisability(components: pd.DataFrame, sizes: Mapping[str, int]) -> float:
    """Return the relative generalisability coefficient of personas (Shavelson & Webb 1991, ch. 6; Brennan 2001, ch. 4).

    This is the share of the variance of personas' mean scores that generalises to other contexts and seeds:
    v(persona) / (v(persona) + the sum of v(persona x f x ...) / (n(f) n(...))).

    Args:
        components: as `variance_components` returns them.
        sizes: number of levels of each facet (context, seed, ...) in the mean score of a persona.

    Returns:
        Between 0 and 1; NaN where personas and their interactions have no variance.

    Raises:
        ValueError: if a size is missing or not above 0.
    """
    with_persona = components[components["effect"].str.split(CROSS, regex=False).str[0] == "persona"]
    return dependability(with_persona, sizes)


def dependability(components: pd.DataFrame, sizes: Mapping[str, int]) -> float:
    """Return the index of dependability Phi, the absolute generalisability coefficient (Brennan 2001, ch. 4).

    As `generalisability`, with what moves all personas alike as error too: v(persona) / (v(persona) + the sum of every
    other component over the numbers of levels of its facets).

    Args:
        components: as `variance_components` returns them.
        sizes: number of levels of each facet (context, seed, ...) in the mean score of a persona.

    Returns:
        Between 0 and 1; NaN where there is no variance.

    Raises:
        ValueError: if a size is missing or not above 0.
    """
    persona, error = 0.0, 0.0
    for effect, value in zip(components["effect"], components["variance"], strict=True):
        facets = [name for name in effect.split(CROSS) if name != "persona"]
        for facet in facets:
            if sizes.get(facet, 0) < 1:
                raise ValueError(f"sizes must say how many of {facet} there are, at least 1")
        if facets:
            error += value / math.prod(sizes[facet] for facet in facets)
        else:
            persona += value
    return float(persona / (persona + error)) if persona + error > 0 else math.nan


def generalisability_intervals(scores: xr.DataArray) -> dict[str, Interval]:
    """Return the coefficients of a study's own size, with their intervals over personas and contexts.

    Args:
        scores: dimensions seed, context, persona, key.

    Returns:
        "generalisability" and "dependability".
    """
    complete = scores.dropna("persona")
    sizes = {name: complete.sizes[name] for name in ("context", "seed")}

    def coefficients(some: xr.DataArray) -> dict[str, float]:
        components = variance_components(some)
        return {
            "generalisability": generalisability(components, sizes),
            "dependability": dependability(components, sizes),
        }

    over = [name for name in DIMENSIONS if name != "seed" and complete.sizes[name] >= MIN_LEVELS[name]]
    found = {name: interval(estimate(study)) for name, study in jackknife(complete, coefficients, over).items()}
    return {name: each._replace(low=max(each.low, 0.0), high=min(each.high, 1.0)) for name, each in found.items()}


def _between_seeds(scores: xr.DataArray, measure: Measure, undefined: Undefined) -> xr.DataArray:
    return mean_over_pairs(
        fill_undefined(correlate_levels(scores, "seed", AXES[measure].over), undefined), across="seed"
    )


def _retest(scores: xr.DataArray, again: xr.DataArray, measure: Measure, undefined: Undefined) -> xr.DataArray:
    return fill_undefined(spearman(scores, again, AXES[measure].over), undefined)


def _ceiling(askings: xr.DataArray, measure: Measure, undefined: Undefined, *, min_seeds: int) -> NoiseCeiling:
    """Compute a ceiling from one asking (agreement of seeds), or from two (agreement of the askings)."""

    def means(some: xr.DataArray) -> dict[str, float]:
        r12, r11 = _stability_and_ceiling(some, measure, undefined)
        stability, ceiling = float(r12.mean()), float(r11.mean())
        return {
            "stability": stability,
            "ceiling": ceiling,
            "cost": ceiling - stability,
            "kept": stability / ceiling if ceiling else math.nan,
            "corrected": float(_disattenuated(r12, r11).mean()),
        }

    fewest = {"persona": 2 if measure == "rank_order" else 1, "context": 2, "seed": min_seeds}
    studies = jackknife(askings, means, [name for name in DIMENSIONS if askings.sizes[name] > fewest[name]])
    intervals = {
        name: interval(estimate(study), correlation=name in {"stability", "ceiling"}) for name, study in studies.items()
    }
    r12, r11 = _stability_and_ceiling(askings, measure, undefined)
    return NoiseCeiling(**intervals, pairs=_disattenuated(r12, r11), per_context=r11)


def _stability_and_ceiling(
    askings: xr.DataArray, measure: Measure, undefined: Undefined
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the mean stability of each two contexts (NaN on the diagonal), and the mean ceiling of each context."""
    unit, scores = AXES[measure].unit, askings.isel(asking=0)
    r12 = fill_undefined(correlations(scores, measure), undefined).mean(["seed", unit])
    differ = xr.DataArray(~np.eye(r12.sizes["context"], dtype=bool), dims=("context", "other"))
    if askings.sizes["asking"] == 1:
        return r12.where(differ), _between_seeds(scores, measure, undefined).mean(unit)
    return r12.where(differ), _retest(scores, askings.isel(asking=1), measure, undefined).mean(["seed", unit])


def _disattenuated(r12: xr.DataArray, r11: xr.DataArray) -> xr.DataArray:
    usable = r11.where(r11 > 0)
    return r12 / (usable * usable.rename(context="other")) ** 0.5


def _mean_square(values: NDArray[np.float64], effect: list[int]) -> float:
    """Return the mean square of an effect, averaged over keys: of its cell means minus all lower effects.

    Args:
        values: shape (levels of each source, keys).
        effect: axes of the sources.
    """
    averaged = tuple(axis for axis in range(values.ndim - 1) if axis not in effect)
    left = values.mean(axis=averaged, keepdims=True)
    for axis in effect:
        left = left - left.mean(axis=axis, keepdims=True)
    freedom = math.prod(values.shape[axis] - 1 for axis in effect)
    repeats = math.prod(values.shape[axis] for axis in averaged)
    return float(repeats * (left**2).sum() / freedom / values.shape[-1])


def _component(effect: frozenset[str], squares: Mapping[frozenset[str], float], sizes: Mapping[str, int]) -> float:
    """Solve the expected mean squares for one effect in closed form (see `docs/measures.md`)."""
    above = [other for other in squares if other >= effect]
    contrast = math.fsum((-1.0) ** len(other - effect) * squares[other] for other in above)
    return contrast / math.prod(size for name, size in sizes.items() if name not in effect)
