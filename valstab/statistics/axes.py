"""Stability over the levels of an axis, such as option orders or languages, all else equal.

Pure functions of scores with the dimensions level, cell, seed, context, persona, key. A cell is a combination of levels
of the other axes. Two levels are compared after the same topic, with the same seed and in the same cell, so that the
axis alone is measured. The levels are those of interest: nothing is said of others like them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import xarray as xr

from valstab.statistics.correlation import correlate_levels
from valstab.statistics.inference import Null, permutation_null
from valstab.statistics.jackknife import DIMENSIONS, MIN_LEVELS, Interval, Jackknifed, estimate, interval, jackknife
from valstab.statistics.reliability import variance_components
from valstab.statistics.resampling import Exchange, Over
from valstab.statistics.stability import (
    AXES,
    MAX_UNDEFINED_FRACTION,
    Measure,
    Undefined,
    fill_undefined,
    mean_over_pairs,
)

LEVEL = "level"
"""The dimension of the levels that are compared."""


class LevelStability(NamedTuple):
    """The stability over the levels of an axis, and what it generalises to."""

    study: Jackknifed
    """The stability without each person, and without each topic and seed where there are enough of them."""
    interval: Interval
    """95%, for other people, and for other topics and seeds where `over` has them."""
    over: tuple[Over, ...]
    chance: Null
    undefined_fraction: float

    @property
    def is_reported(self) -> bool:
        """Whether no more than half of the correlations are undefined."""
        return self.undefined_fraction <= MAX_UNDEFINED_FRACTION


def level_stability(
    scores: xr.DataArray,
    measure: Measure,
    undefined: Undefined = "zero",
    *,
    strata: Sequence[str] | None = None,
    resamples: int = 199,
) -> LevelStability:
    """Compute the mean correlation between two levels of an axis, its interval, and what chance gives.

    Args:
        scores: dimensions level, cell, seed, context, persona, key.
        measure: whether the order of people on a key is correlated, or the order of a person's keys.
        undefined: what an undefined correlation counts as.
        strata: a label for each persona: chance exchanges only those with the same.
        resamples: number of shuffles for chance.
    """
    correlated = AXES[measure].over

    def means(some: xr.DataArray) -> dict[str, float]:
        rho = correlate_levels(some, LEVEL, correlated)
        return {"stability": float(mean_over_pairs(fill_undefined(rho, undefined), LEVEL).mean())}

    over = [name for name in DIMENSIONS if scores.sizes[name] >= max(2, MIN_LEVELS[name])]
    if "persona" not in over:
        over = []
    study = jackknife(scores, means, over)["stability"]
    rho = correlate_levels(scores, LEVEL, correlated)
    pairs = rho.size * (1 - 1 / scores.sizes[LEVEL])
    return LevelStability(
        study=study,
        interval=interval(estimate(study), correlation=True),
        over=tuple(over),
        chance=permutation_null(
            _as_contexts(scores), measure, undefined=undefined, resamples=resamples, exchange=Exchange(strata)
        ),
        undefined_fraction=1 - float(rho.count()) / pairs,
    )


def mean_change(scores: xr.DataArray) -> float:
    """Return how far a score moves between two levels: the mean absolute difference, in points of the scale.

    Args:
        scores: dimensions level, cell, seed, context, persona, key.
    """
    differences = abs(scores - scores.rename({LEVEL: "other"}))
    return float(differences.sum() / (differences.count() - scores.count()))


def level_components(scores: xr.DataArray) -> dict[str, float]:
    """Return the shares of the variance of scores that the levels of an axis have.

    Args:
        scores: dimensions level, cell, seed, context, persona, key. Cells are averaged.

    Returns:
        "persona": what stays; "level": what moves everybody alike; "persona x level": what moves people apart (with
        one topic and one seed, the residual too). NaN where nothing varies, or less than two people have all scores.
    """
    effects = ["persona", LEVEL, f"persona x {LEVEL}"]
    averaged = scores.mean("cell")
    if averaged.dropna("persona").sizes["persona"] < 2:  # noqa: PLR2004
        return dict.fromkeys(effects, float("nan"))
    shares = variance_components(averaged).set_index("effect")["share"]
    return {name: float(shares[name]) for name in effects}


def _as_contexts(scores: xr.DataArray) -> xr.DataArray:
    """Return the levels as contexts, each combination of the others as a seed."""
    plain = scores.drop_vars(list(scores.coords))
    stacked = plain.stack(repeat=("cell", "seed", "context"), create_index=False)
    return stacked.rename({LEVEL: "context", "repeat": "seed"}).transpose("seed", "context", "persona", "key")
