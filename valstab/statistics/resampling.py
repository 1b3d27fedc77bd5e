"""Stabilities without each level of scores, and of shuffled scores.

The resamples of a batch are computed together, along a dimension "resample".
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valstab.statistics.correlation import (
    centred_ranks,
    correlate_ranked_rows,
    correlate_rows,
    correlate_rows_without_each,
)
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
"""Largest number of resamples in a batch. Larger batches take more memory and are not faster."""


MAX_SCORES_AT_ONCE = 4_000_000
"""Largest number of scores of a batch with several resamples, so that a study of thousands of people fits in memory."""


ALPHA = 0.05
"""Level of the tests: how often chance alone may be taken for more than chance."""


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
        """Whether p can be `ALPHA` or less: there are 2^(contexts - 1) different reversals for each seed."""
        free = scores.sizes["seed"] * (scores.sizes["context"] - 1)
        return not self.sliding_orders or 2.0**free >= 1 / ALPHA


FREE = Exchange()
"""All personas are exchanged, each by itself."""


def mean_stability(scores: xr.DataArray, spec: StabilitySpec) -> float:
    """Return `Stability.mean` alone, without its parts."""
    return float(_pooled(fill_undefined(correlations(scores, spec.measure), spec.undefined), spec))


def without_each(scores: xr.DataArray, spec: StabilitySpec, over: Sequence[Over]) -> dict[Over, xr.DataArray]:
    """Compute the stability without each level of some dimensions, one level at a time.

    Args:
        scores: dimensions seed, context, persona, key.
        spec: which stability.
        over: the dimensions.

    Returns:
        By dimension, one stability for each level, labelled with it; NaN where it can't be computed.
    """
    plain = scores.drop_vars(list(scores.coords))
    rho = fill_undefined(correlations(plain, spec.measure), spec.undefined)
    each = mean_over_pairs(rho)

    def values(name: Over) -> NDArray[np.float64]:
        if name == AXES[spec.measure].over and not plain.isnull().any():
            # Who is there changes the ranks.
            return _pooled(fill_undefined(_correlations_without_each(plain, spec.measure), spec.undefined), spec)
        return np.concatenate([statistic(name, rest) for rest in _leaving_one(scores.sizes[name], plain.size)])

    def statistic(name: Over, rest: xr.DataArray) -> NDArray[np.float64]:
        rest = rest.rename(level=name)
        if name == "context":
            return _pooled(rho.isel(context=rest, other=rest.rename(context="other")), spec)
        if name == AXES[spec.measure].over:
            return _pooled(fill_undefined(correlations(plain.isel({name: rest}), spec.measure), spec.undefined), spec)
        return _mean_of_units(each.isel({name: rest}), spec)

    return {name: xr.DataArray(values(name), {name: scores[name].to_numpy()}, (name,)) for name in over}


def _correlations_without_each(scores: xr.DataArray, measure: Measure) -> xr.DataArray:
    """Return `correlations` without each level of the dimension that they are over, along "resample"."""
    rows = ("seed", AXES[measure].unit, "context", AXES[measure].over)
    rho = correlate_rows_without_each(scores.transpose(*rows).to_numpy())
    return xr.DataArray(rho, dims=("resample", *rows[:-1], "other"))


def _leaving_one(number: int, size: int) -> Iterator[xr.DataArray]:
    """Yield the indices without each one, dimensions resample and level, in batches for scores of a size."""
    levels = np.arange(number)
    for start, stop in _batches(number, size):
        rest = np.array([np.delete(levels, left_out) for left_out in range(start, stop)])
        yield xr.DataArray(rest, dims=("resample", "level"))


def _batches(resamples: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the end of each batch of resamples of scores of a size."""
    at_once = min(RESAMPLES_AT_ONCE, max(1, MAX_SCORES_AT_ONCE // size))
    for start in range(0, resamples, at_once):
        yield start, min(start + at_once, resamples)


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
    over, unit = AXES[spec.measure]
    names = ("seed", "context", "persona", "key")
    plain = scores.transpose(*names).drop_vars(list(scores.coords))
    correlate: Callable[[NDArray[np.float64]], NDArray[np.float64]] = correlate_rows
    if not plain.isnull().any():
        # Shuffled or reversed scores have shuffled or reversed ranks.
        core = [[over]]
        plain = xr.apply_ufunc(centred_ranks, plain, input_core_dims=core, output_core_dims=core).transpose(*names)
        correlate = correlate_ranked_rows

    def statistic(number: int) -> NDArray[np.float64]:
        values = np.broadcast_to(plain.to_numpy(), (number, *plain.shape))
        mixed = xr.DataArray(_exchanged(values, spec.measure, exchange, rng), dims=("resample", *names))
        rows = mixed.transpose("resample", "seed", unit, "context", over).to_numpy()
        rho = xr.DataArray(correlate(rows), dims=("resample", "seed", unit, "context", "other"))
        return _pooled(fill_undefined(rho, spec.undefined), spec)

    return np.concatenate([statistic(stop - start) for start, stop in _batches(resamples, plain.size)])


def nan_std(values: NDArray[np.float64]) -> float:
    """Return the SD (ddof=1) of the values that are not NaN; NaN for fewer than two."""
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")


def _pooled(rho: xr.DataArray, spec: StabilitySpec) -> NDArray[np.float64]:
    """Average correlations, with undefined ones already filled, to one stability for each resample."""
    return _mean_of_units(mean_over_pairs(rho), spec)


def _mean_of_units(per_unit: xr.DataArray, spec: StabilitySpec) -> NDArray[np.float64]:
    """Average the stabilities of units to one for each resample."""
    each = sample_means(per_unit, spec.measure, without_personas=spec.without_personas)
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
