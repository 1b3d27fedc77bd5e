"""Stabilities of selected levels of scores, and of shuffled scores.

The resamples of a batch are computed together, along a dimension "resample".
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valstab.statistics.stability import (
    AXES,
    Measure,
    Undefined,
    correlations,
    fill_undefined,
    mean_over_pairs,
    sample_means,
)

Over = Literal["persona", "context", "seed"]


RESAMPLES_AT_ONCE = 50
"""Number of resamples in a batch. Larger batches take more memory and are not faster."""


MIN_REVERSALS = 20
"""Smallest number of different reversals of which the observed scores are one with a probability of 0.05."""


class StabilitySpec(NamedTuple):
    """The stability to compute: arguments of `valstab.statistics.stability.stability`."""

    measure: Measure
    undefined: Undefined
    without_personas: bool


class Exchange(NamedTuple):
    """What chance may do to scores, so that only a stability differs from it."""

    strata: Sequence[str] | None = None
    """A label for each persona, such as the gender of its wording: only personas with the same label are exchanged."""
    sliding_orders: bool = False
    """Whether neighbouring personas share option orders, as in the paper's published code. Their scores are alike by
    chance, so nobody is exchanged: all scores of a seed and context are reversed, or stay, with the same chance."""

    def can_reject(self, scores: xr.DataArray) -> bool:
        """Whether p can be 0.05 or less: there are 2^(contexts - 1) different reversals for each seed."""
        free = scores.sizes["seed"] * (scores.sizes["context"] - 1)
        return not self.sliding_orders or 2.0**free >= MIN_REVERSALS


FREE = Exchange()
"""All personas are exchanged, each by itself."""


def recomputed(scores: xr.DataArray, spec: StabilitySpec, over: Over, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Compute the stability of some of the levels of one dimension, for several selections.

    A context that is selected twice is not paired with itself.

    Args:
        scores: dimensions seed, context, persona, key.
        spec: which stability.
        over: the dimension.
        rows: indices of levels, shape (selections, levels of each).

    Returns:
        One stability for each selection, NaN where it can't be computed. Shape (selections,).
    """
    plain = scores.drop_vars(list(scores.coords))  # labels are not unique among selections
    rho = fill_undefined(correlations(plain, spec.measure), spec.undefined)

    def statistic(some: NDArray[np.intp]) -> NDArray[np.float64]:
        drawn = xr.DataArray(some, dims=("resample", over))
        if over == "context":
            other = drawn.rename(context="other")
            return _pooled(rho.isel(context=drawn, other=other).where(drawn != other), spec)
        if over == AXES[spec.measure].over:
            # Who is selected changes the ranks.
            return _pooled(fill_undefined(correlations(plain.isel({over: drawn}), spec.measure), spec.undefined), spec)
        return _pooled(rho.isel({over: drawn}), spec)

    batches = np.split(rows, range(RESAMPLES_AT_ONCE, len(rows), RESAMPLES_AT_ONCE))
    return np.concatenate([statistic(some) for some in batches])


def shuffled(
    scores: xr.DataArray, spec: StabilitySpec, resamples: int, seed: int, exchange: Exchange = FREE
) -> NDArray[np.float64]:
    """Compute the stability of shuffled scores, for its distribution under chance.

    Rank-order: shuffles the personas in each seed and context, each with all its keys. Ipsative: shuffles the keys in
    each seed, context and persona. `exchange` restricts this.

    Returns:
        One stability for each shuffle.
    """
    rng = np.random.default_rng(seed)
    ordered = scores.drop_vars(list(scores.coords)).transpose("seed", "context", "persona", "key")

    def statistic(number: int) -> NDArray[np.float64]:
        values = np.broadcast_to(ordered.to_numpy(), (number, *ordered.shape))
        mixed = _exchanged(values, spec.measure, exchange, rng)
        again = xr.DataArray(mixed, dims=("resample", *ordered.dims))
        return _pooled(fill_undefined(correlations(again, spec.measure), spec.undefined), spec)

    return np.concatenate(
        [statistic(min(RESAMPLES_AT_ONCE, resamples - start)) for start in range(0, resamples, RESAMPLES_AT_ONCE)]
    )


def nan_std(values: NDArray[np.float64]) -> float:
    """Return the SD (ddof=1) of the values that are not NaN; NaN for fewer than two."""
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")


def _pooled(rho: xr.DataArray, spec: StabilitySpec) -> NDArray[np.float64]:
    """Average correlations, with undefined ones already filled, to one stability for each resample."""
    each = sample_means(mean_over_pairs(rho), spec.measure, without_personas=spec.without_personas)
    return each.mean([name for name in each.dims if name != "resample"]).to_numpy()


def _exchanged(
    values: NDArray[np.float64], measure: Measure, exchange: Exchange, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Shuffle or reverse an array of the shape (resample, seed, context, persona, key)."""
    *sets, personas, _ = values.shape
    if exchange.sliding_orders:
        reversed_or_not: NDArray[np.float64] = values * rng.choice([-1.0, 1.0], size=(*sets, 1, 1))
        return reversed_or_not
    if measure == "ipsative":
        return rng.permuted(values, axis=-1)
    order = np.broadcast_to(np.arange(personas), (*sets, personas)).copy()
    labels = np.zeros(personas) if exchange.strata is None else np.asarray(exchange.strata)
    for label in np.unique(labels):
        order[..., labels == label] = rng.permuted(order[..., labels == label], axis=-1)
    return np.take_along_axis(values, order[..., np.newaxis], axis=3)
