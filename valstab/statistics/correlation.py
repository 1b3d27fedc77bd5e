"""Spearman's rho of arrays (Spearman 1904): average ranks for ties, of scores rounded to 9 decimals.

Centring scores in floating point would break exact ties at random without the rounding. rho is undefined (NaN) where a
side is constant. What is missing on one side (NaN) is left out on both, and these are ranked without it.
"""

import itertools
import math

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

RANK_DECIMALS = 9
"""Decimals to which scores are rounded before they are ranked."""


def spearman(one: xr.DataArray, other: xr.DataArray, over: str) -> xr.DataArray:
    """Compute Spearman's rho along `over`; the other dimensions are matched by name."""
    one, other = xr.align(one, other, join="exact")
    missing = np.isnan(one) | np.isnan(other)
    if missing.any():
        one, other = xr.broadcast(one, other)
        one, other = one.where(~missing), other.where(~missing)
    rho: xr.DataArray = xr.apply_ufunc(_correlate, one, other, input_core_dims=[[over], [over]])
    return rho


def correlate_levels(scores: xr.DataArray, across: str, over: str) -> xr.DataArray:
    """Correlate along `over` each two levels of `across`.

    Returns:
        rho, symmetric, NaN on the diagonal. Dimensions: those of `scores` without `over`, the last two `across` and
        "other".
    """
    ordered = scores.transpose(..., across, over)
    first = ordered.isel({over: 0}, drop=True)
    labels = {"other": first[across].to_numpy()} if across in first.coords else {}
    return xr.DataArray(correlate_rows(ordered.to_numpy()), {**first.coords, **labels}, dims=(*first.dims, "other"))


def correlate_rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlate each two rows of arrays of the shape (..., rows, columns).

    Returns:
        rho, shape (..., rows, rows), NaN on the diagonal.
    """
    if not np.isnan(values).any():
        return correlate_ranked_rows(centred_ranks(values))
    first, second = np.triu_indices(values.shape[-2], 1)
    missing = np.isnan(values[..., first, :]) | np.isnan(values[..., second, :])
    one, other = (np.where(missing, np.nan, values[..., side, :]) for side in (first, second))
    rho = np.full((*values.shape[:-1], values.shape[-2]), np.nan)
    rho[..., first, second] = _correlate(one, other)
    rho[..., second, first] = rho[..., first, second]
    return rho


def correlate_ranked_rows(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlate as `correlate_rows` does, from `centred_ranks`."""
    return _rho(centred @ centred.swapaxes(-1, -2))


def correlate_rows_without_each(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlate each two rows without each column in turn, exactly as `correlate_rows` does without that column.

    A centred rank is half the sum of the signs of a value's differences to all others, so without one column it loses
    half a sign. The sums of these over all columns are counted, and nothing is ranked again: time grows with the
    number of columns and with the square of the number of different values.

    Args:
        values: none is missing. Shape: (..., rows, columns).

    Returns:
        rho, shape (columns, ..., rows, rows), NaN on the diagonal.
    """
    *sets, rows, columns = values.shape
    products = np.empty((columns, *sets, rows, rows))
    centred = centred_ranks(values)
    for place in np.ndindex(*sets):
        products[:, *place] = _products_without_each(centred[place])
    return _rho(products)


def _products_without_each(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of products of each two rows of centred ranks without each column: (columns, rows, rows)."""
    number = len(centred)
    levels = [np.unique(row, return_inverse=True)[1] for row in centred]
    # Sums over all columns of the sign of a row's difference to a column, times another row's rank and its sign.
    with_ranks, with_signs = np.empty((2, centred.shape[-1], number, number))
    for one, other in itertools.product(range(number), repeat=2):
        below = np.cumsum(np.bincount(levels[one] + 1, centred[other]))
        with_ranks[:, one, other] = -below[levels[one]] - below[levels[one] + 1]
        with_signs[:, one, other] = _concordance(levels[one], levels[other])
    own = centred.T[:, :, np.newaxis] * centred.T[:, np.newaxis, :]
    return centred @ centred.T - own - (with_ranks + with_ranks.swapaxes(1, 2)) / 2 + with_signs / 4


def _concordance(one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each place the number of places that differ from it in both rows alike, less those that do oppositely.

    Args:
        one: the level of each place, from 0 without gaps.
        other: the same of another row.
    """
    size, width = one.max() + 2, other.max() + 2
    below = np.bincount((one + 1) * width + other + 1, minlength=size * width).reshape(size, width)
    below = below.cumsum(axis=0).cumsum(axis=1)  # the number of places below a level of one and a level of the other
    above = below[-1, -1] - below[-1, :] - below[:, -1:] + below
    up, right = one + 1, other + 1
    alike = below[one, other] + above[up, right]
    oppositely = below[one, -1] - below[one, right] + below[-1, other] - below[up, other]
    net: NDArray[np.intp] = alike - oppositely
    return net


def _rho(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlations that belong to sums of products of centred ranks, shape (..., rows, rows)."""
    squares = np.diagonal(products, axis1=-2, axis2=-1)
    rho = _quotient(products, squares[..., :, np.newaxis] * squares[..., np.newaxis, :])
    return np.where(np.eye(rho.shape[-1], dtype=bool), np.nan, rho)


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank along the last axis, from 1; what is missing (NaN) stays so."""
    missing = np.isnan(values)
    # As the highest, what is missing changes no rank of the others.
    known = np.where(missing, np.inf, values.round(RANK_DECIMALS))
    columns = known.reshape(math.prod(known.shape[:-1]), known.shape[-1]).T
    ranked = pd.DataFrame(columns).rank().to_numpy().T.reshape(known.shape)
    return np.where(missing, np.nan, ranked)


def centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank along the last axis, and subtract the mean rank; what is missing (NaN) becomes 0."""
    known = (~np.isnan(values)).sum(axis=-1, keepdims=True)
    centred: NDArray[np.float64] = np.nan_to_num(ranks(values) - (known + 1) / 2)
    return centred


def _correlate(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlate along the last axis; what is missing is missing in both."""
    a, b = centred_ranks(one), centred_ranks(other)
    products: NDArray[np.float64] = np.einsum("...i,...i->...", a, b)
    return _quotient(products, (a**2).sum(axis=-1) * (b**2).sum(axis=-1))


def _quotient(products: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return products over the roots of squares. Ranks are multiples of one half: equal orders give exactly 1."""
    return products / np.sqrt(np.where(squares > 0, squares, np.nan))
