"""Spearman's rho of arrays (Spearman 1904): average ranks for ties, of scores rounded to 9 decimals.

Centring scores in floating point would break exact ties at random without the rounding. rho is undefined (NaN) where a
side is constant. What is missing on one side (NaN) is left out on both, and these are ranked without it.
"""

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
    products = centred @ centred.swapaxes(-1, -2)
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
