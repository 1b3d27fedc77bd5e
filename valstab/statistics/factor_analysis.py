"""Confirmatory factor analysis by maximum likelihood, with each item on one factor (Jöreskog 1969).

Factors have variance 1; loadings, residual variances and the correlations of factors are free and unbounded. The model
is fitted to the correlations of the items, of which chi2 and the indices are those of the covariances.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_STEPS = 200
"""Largest number of steps to the maximum of the likelihood."""


MAX_PARAMETER = 10
"""Size of a parameter of items with variance 1 from which a fit counts as diverging: there may be no maximum."""


MAX_SLOPE = 1e-6
"""Largest slope of the discrepancy at its minimum."""


OUTSIDE = 1e6
"""The discrepancy of implied correlations that are not positive definite, far above any other."""


MIN_EIGENVALUE = 1e-8
"""Smallest eigenvalue of correlations that do not count as linearly dependent."""


class Fit(NamedTuple):
    """A fitted model. A model that is not fitted has the worst values: CFI 0, RMSEA 1, SRMR 1."""

    chi2: float
    df: int
    cfi: float
    """Comparative fit index (Bentler 1990), between 0 and 1; 1 is best."""
    rmsea: float
    """Root mean square error of approximation (Steiger 1990); 0 is best."""
    srmr: float
    """Standardised root mean square residual; 0 is best."""
    loadings: NDArray[np.float64]
    """Standardised, in the order of the items. Shape: (items,)."""
    factor_correlations: NDArray[np.float64]
    """Shape: (factors, factors)."""
    why_not_fitted: str
    """Why the model counts as not fitted, as a clause; empty if it is fitted."""


class _Implied(NamedTuple):
    """Correlations that parameters imply."""

    loadings: NDArray[np.float64]
    factors: NDArray[np.float64]
    items: NDArray[np.float64]


def why_no_fit(people: int, factors: Sequence[int]) -> str:
    """Return why a model can't be fitted, as a clause; empty if it can.

    Args:
        people: how many.
        factors: the factor of each item, from 0.
    """
    number = len(factors)
    parameters = 2 * number + math.comb(len(set(factors)), 2)
    if people < parameters:
        return f"{people} people are fewer than the {parameters} parameters of a model"
    if number * (number + 1) // 2 < parameters:
        return f"{number} items have fewer correlations than a model has parameters ({parameters})"
    return ""


def fit_factors(items: NDArray[np.float64], factors: Sequence[int]) -> Fit:
    """Fit a model in which each item measures one factor.

    It counts as not fitted if an item is constant or depends on others, the fit does not converge, or two factors
    correlate to 1 or more.

    Args:
        items: scores without missing ones. Shape: (people, items).
        factors: the factor of each item, from 0.

    Raises:
        ValueError: if `why_no_fit` has a reason.
    """
    people, number = items.shape
    reason = why_no_fit(people, factors)
    if reason:
        raise ValueError(reason)
    if (np.ptp(items, axis=0) == 0).any():
        return _not_fitted("everybody answered an item alike", factors)
    observed = np.atleast_2d(np.corrcoef(items, rowvar=False))
    if np.linalg.eigvalsh(observed)[0] < MIN_EIGENVALUE:
        return _not_fitted("items are linearly dependent", factors)
    implied = _fitted(observed, np.asarray(factors))
    if implied is None:
        return _not_fitted("the fit does not converge", factors)
    fit = _indices(observed, implied, people, number)
    correlated = np.abs(implied.factors[np.triu_indices(len(implied.factors), 1)])
    if (correlated >= 1).any():
        return _not_fitted("two factors correlate to 1 or more", factors)
    return fit


def _not_fitted(reason: str, factors: Sequence[int]) -> Fit:
    number = len(set(factors))
    nothing = np.full(len(factors), np.nan), np.full((number, number), np.nan)
    return Fit(math.nan, _degrees_of_freedom(len(factors), number), 0.0, 1.0, 1.0, *nothing, reason)


def _degrees_of_freedom(items: int, factors: int) -> int:
    return items * (items - 1) // 2 - items - math.comb(factors, 2)


def _indices(observed: NDArray[np.float64], implied: _Implied, people: int, number: int) -> Fit:
    df, df_independent = _degrees_of_freedom(number, len(implied.factors)), math.comb(number, 2)
    chi2 = people * _discrepancy(observed, implied.items)
    misfit = max(chi2 - df, 0.0)
    misfit_independent = max(people * -np.linalg.slogdet(observed)[1] - df_independent, misfit)
    residuals = (observed - implied.items)[np.tril_indices(number)]
    return Fit(
        chi2=chi2,
        df=df,
        cfi=float(1.0 - misfit / misfit_independent) if misfit_independent > 0 else 1.0,
        rmsea=math.sqrt(misfit / (df * people)) if df else 0.0,
        srmr=math.sqrt((residuals**2).mean()),
        loadings=implied.loadings.sum(axis=1),
        factor_correlations=implied.factors,
        why_not_fitted="",
    )


def _fitted(observed: NDArray[np.float64], factors: NDArray[np.intp]) -> _Implied | None:
    """Return the implied correlations at the maximum of the likelihood; None if it is not reached."""
    from scipy.optimize import minimize

    def discrepancy(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        implied = _imply(parameters, factors)
        if np.linalg.eigvalsh(implied.items)[0] <= 0:
            return OUTSIDE, np.zeros(len(parameters))
        inverse = np.linalg.inv(implied.items)
        slopes = inverse - inverse @ observed @ inverse
        of_loadings = 2 * (slopes @ implied.loadings @ implied.factors)[np.arange(len(factors)), factors]
        of_factors = 2 * (implied.loadings.T @ slopes @ implied.loadings)[np.triu_indices(len(implied.factors), 1)]
        gradient = np.concatenate([of_loadings, slopes.diagonal(), of_factors])
        return _discrepancy(observed, implied.items), gradient

    def stop(parameters: NDArray[np.float64]) -> None:
        if np.abs(parameters).max() > MAX_PARAMETER:
            raise StopIteration

    found = minimize(  # type: ignore[call-overload]  # of these functions the stubs know no return type
        discrepancy,
        _start(observed, factors),
        jac=True,
        method="BFGS",
        callback=stop,
        options={"maxiter": MAX_STEPS, "gtol": MAX_SLOPE},
    )
    return _imply(found.x, factors) if np.abs(found.jac).max() <= 10 * MAX_SLOPE else None


def _start(observed: NDArray[np.float64], factors: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the parameters to start from: the first principal component of each factor's items, uncorrelated."""
    number = int(factors.max()) + 1
    loadings = np.empty(len(factors))
    for factor in range(number):
        own = np.flatnonzero(factors == factor)
        values, vectors = np.linalg.eigh(observed[np.ix_(own, own)])
        first = vectors[:, -1] * math.sqrt(values[-1])
        loadings[own] = 0.8 * first * (1 if first.sum() >= 0 else -1)
    return np.concatenate([loadings, 1 - loadings**2, np.zeros(math.comb(number, 2))])


def _imply(parameters: NDArray[np.float64], factors: NDArray[np.intp]) -> _Implied:
    number, several = len(factors), int(factors.max()) + 1
    loadings = np.zeros((number, several))
    loadings[np.arange(number), factors] = parameters[:number]
    correlations = np.eye(several)
    first, second = np.triu_indices(several, 1)
    correlations[first, second] = correlations[second, first] = parameters[2 * number :]
    items = loadings @ correlations @ loadings.T + np.diag(parameters[number : 2 * number])
    return _Implied(loadings, correlations, items)


def _discrepancy(observed: NDArray[np.float64], implied: NDArray[np.float64]) -> float:
    """Return the discrepancy of maximum likelihood between two correlation matrices; 0 where they are equal."""
    of_implied, of_observed = np.linalg.slogdet(implied)[1], np.linalg.slogdet(observed)[1]
    return float(of_implied - of_observed + np.trace(np.linalg.solve(implied, observed)) - len(observed))
