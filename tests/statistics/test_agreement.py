"""Absolute agreement of scores, against published numbers and against chance."""

import math

import numpy as np
import pytest

from tests.support.score_arrays import SHROUT_FLEISS, labelled, random_scores
from tests.support.synthetic import scores as drawn
from valstab.statistics.agreement import agreement
from valstab.statistics.stability import rank_order


def scores_of(rows):
    return labelled(np.asarray(rows, dtype=float).T[None, :, :, None])


def test_the_published_example():
    found = agreement(scores_of(SHROUT_FLEISS))
    # Their table 4: ICC(2,1) = .29 and ICC(3,1) = .71.
    assert found.absolute.item() == pytest.approx(0.29, abs=0.005)
    assert found.consistency.item() == pytest.approx(0.71, abs=0.005)


def test_mean_squares_one_cell_at_a_time():
    scores = random_scores((2, 3, 5, 2))
    found = agreement(scores)
    for seed, key in np.ndindex(2, 2):
        x = scores.values[seed, :, :, key].T
        n, k = x.shape
        rows, columns = x.mean(axis=1), x.mean(axis=0)
        r = k * rows.var(ddof=1)
        c = n * columns.var(ddof=1)
        total = ((x - x.mean()) ** 2).sum()
        e = (total - (n - 1) * r - (k - 1) * c) / ((n - 1) * (k - 1))
        assert found.absolute.values[seed, key] == pytest.approx((r - e) / (r + (k - 1) * e + k / n * (c - e)))
        assert found.consistency.values[seed, key] == pytest.approx((r - e) / (r + (k - 1) * e))


def test_a_topic_that_moves_everybody_alike_lowers_absolute_agreement_only():
    scores = drawn(persona=1, context=1, noise=0.5, contexts=30, personas=200, keys=40, seeds=1)
    found = agreement(scores)
    assert float(found.consistency.mean()) == pytest.approx(1 / 1.5, abs=0.03)
    assert float(found.absolute.mean()) == pytest.approx(1 / 2.5, abs=0.03)
    assert rank_order(scores).mean == pytest.approx(6 / math.pi * math.asin(1 / 3), abs=0.03)


def test_random_answers_agree_on_average_by_nothing():
    found = agreement(random_scores((20, 4, 30, 10)))
    for values in found:
        # Four standard errors over 200 seeds and keys.
        assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(200)


def test_equal_scores_agree_and_constant_ones_are_undefined():
    equal = scores_of([[1, 1], [2, 2], [4, 4]])
    assert [values.item() for values in agreement(equal)] == pytest.approx([1, 1])
    same_for_all = scores_of([[1, 3], [1, 3], [1, 3]]) - 1 / 3
    absolute, consistency = agreement(same_for_all)
    assert math.isnan(consistency.item())
    assert absolute.item() == pytest.approx(0)
    assert all(math.isnan(values.item()) for values in agreement(scores_of([[0.1 + 0.2] * 2, [0.3] * 2])))


def test_who_lacks_a_score_is_left_out():
    lacking = scores_of([*SHROUT_FLEISS, [3, math.nan, 3, 3]])
    for found, full in zip(agreement(lacking), agreement(scores_of(SHROUT_FLEISS)), strict=True):
        assert found.item() == pytest.approx(full.item())
    assert math.isnan(agreement(scores_of([[1, 2], [3, math.nan]])).absolute.item())
