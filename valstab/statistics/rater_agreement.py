"""Agreement of raters of the same things on an ordinal scale: Krippendorff's alpha."""

import numpy as np
from numpy.typing import NDArray


def ordinal_alpha(ratings: NDArray[np.float64]) -> float:
    """Compute Krippendorff's alpha for ordinal ratings (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability).

    It is 1 - D_o / D_e: the disagreement within rated things, over that of ratings paired at random. Two values differ
    by the square of the number of ratings between their mid-ranks. 1 is agreement, 0 is chance.

    Args:
        ratings: shape (raters, things), NaN where a rater has none.

    Returns:
        alpha; NaN if all ratings are equal, or nothing has two.
    """
    counts = np.array([(ratings == value).sum(axis=0) for value in np.unique(ratings[~np.isnan(ratings)])], dtype=float)
    counts = counts[:, counts.sum(axis=0) > 1] if counts.size else np.zeros((0, 0))
    pairs = counts / np.maximum(1, counts.sum(axis=0) - 1)
    coincidences = pairs @ counts.T - np.diag(pairs.sum(axis=1))
    number = coincidences.sum(axis=1)
    middle = np.cumsum(number) - number / 2
    apart = (middle[:, np.newaxis] - middle) ** 2
    expected = float((np.outer(number, number) * apart).sum())
    if not expected:
        return float("nan")
    return 1 - float(number.sum() - 1) * float((coincidences * apart).sum()) / expected
