"""Sample sizes for a test between two means."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

MOST_SAMPLES = 1_000_000
"""Largest number of samples of each model; beyond it no number counts as enough."""


MIN_P = 1e-12
"""Spreads and differences below this are rounding errors: stabilities are of the order of 1."""


def samples_needed(effect: float, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """Return the smallest number of samples of each of two models for a two-sided Student's t-test (Cohen 1988).

    With n samples of each, t has 2n - 2 degrees of freedom and the noncentrality effect * sqrt(n / 2).

    Args:
        effect: the difference of the means over the SD within models; infinite where the samples don't vary.
        power: the probability, above `alpha` and below 1, of finding that difference significant.
        alpha: the level of significance.

    Returns:
        At least 2; None where the effect is 0, undefined (NaN), or so small that a million are not enough.
    """

    def enough(number: int) -> bool:
        df, shift = 2 * number - 2, abs(effect) * math.sqrt(number / 2)
        critical = stats.t.ppf(1 - alpha / 2, df)
        # SciPy returns NaN for some negligible probabilities of the far tail.
        far = np.nan_to_num(stats.nct.cdf(-critical, df, shift))
        return bool(stats.nct.sf(critical, df, shift) + far >= power)

    if math.isnan(effect) or abs(effect) < MIN_P:
        return None
    if math.isinf(effect):
        return 2
    fewest, most = 1, 2
    while not enough(most):
        fewest, most = most, 2 * most
        if most > MOST_SAMPLES:
            return None
    while most - fewest > 1:
        middle = (fewest + most) // 2
        fewest, most = (fewest, middle) if enough(middle) else (middle, most)
    return most


def effect_size(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the difference of the means over the pooled SD; NaN where either has fewer than two samples."""
    one, other = one[~np.isnan(one)], other[~np.isnan(other)]
    if min(len(one), len(other)) < 2:  # noqa: PLR2004
        return math.nan
    difference = float(one.mean() - other.mean())
    squares = float(((one - one.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum())
    within = math.sqrt(squares / (len(one) + len(other) - 2))
    if abs(difference) < MIN_P:
        return 0.0
    return math.copysign(math.inf, difference) if within < MIN_P else difference / within


def levels_needed(number: int, error: float, difference: float, power: float, alpha: float) -> int | None:
    """Return the number of levels with which a z-test finds a difference.

    The standard error is taken to shrink with the square root of the number of levels.

    Args:
        number: of levels now.
        error: the difference's standard error with that number.
        difference: of the two means.
        power: the probability of finding it.
        alpha: the level of significance, two-sided.

    Returns:
        number * (error * z / difference) ** 2, rounded up, at least 2; None without a difference or an error.
    """
    if math.isnan(error) or math.isnan(difference) or abs(difference) < MIN_P:
        return None
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
    return max(2, math.ceil(number * (error * z / difference) ** 2 - MIN_P))
