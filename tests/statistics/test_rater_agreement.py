"""Krippendorff's alpha against his own example, the definition, and chance."""

from itertools import combinations, permutations

import numpy as np
import pytest

from valstab.statistics.rater_agreement import ordinal_alpha

_ = np.nan
# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, part C: four observers, twelve units.
EXAMPLE = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)


def test_krippendorff_s_example():
    assert ordinal_alpha(EXAMPLE) == pytest.approx(0.815, abs=5e-4)


def test_the_definition_with_two_raters():
    one, other = np.random.default_rng(0).integers(1, 6, (2, 40)).astype(float)
    values = np.concatenate([one, other])

    def apart(low, high):
        low, high = sorted((low, high))
        between = sum((values == value).sum() for value in range(int(low), int(high) + 1))
        return (between - ((values == low).sum() + (values == high).sum()) / 2) ** 2

    observed = np.mean([apart(*pair) for pair in zip(one, other, strict=True)])
    expected = np.mean([apart(*pair) for pair in combinations(values, 2)])
    assert ordinal_alpha(np.array([one, other])) == pytest.approx(1 - observed / expected)


def test_only_the_order_of_ratings_counts():
    ratings = np.random.default_rng(1).integers(0, 4, (3, 30)).astype(float)
    assert ordinal_alpha(ratings) == pytest.approx(ordinal_alpha(ratings**3))
    for order in permutations(range(3)):
        assert ordinal_alpha(ratings[list(order)]) == pytest.approx(ordinal_alpha(ratings))


def test_agreement_chance_and_nothing_to_agree_on():
    ratings = np.random.default_rng(2).integers(1, 6, 4000).astype(float)
    assert ordinal_alpha(np.array([ratings, ratings])) == 1
    assert ordinal_alpha(np.array([ratings, ratings[::-1]])) == pytest.approx(0, abs=4 / np.sqrt(len(ratings)))
    for empty in ([[3, 3], [3, 3]], [[1, _], [_, 2]], [[_, _], [_, _]]):
        assert np.isnan(ordinal_alpha(np.array(empty, dtype=float)))
