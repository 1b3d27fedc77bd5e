"""Stability over the levels of an axis: values worked out by hand, and by the functions for topics."""

import numpy as np
import pytest
import xarray as xr

from tests.support.score_arrays import BY_HAND, random_scores
from valstab.statistics.axes import level_components, level_stability, mean_change
from valstab.statistics.reliability import variance_components
from valstab.statistics.stability import rank_order, stability


def over_levels(scores):
    """Take the contexts of scores as levels of an axis, after one topic, in one cell."""
    return scores.rename(context="level").expand_dims(["cell", "context"])


@pytest.mark.parametrize("measure", ["rank_order", "ipsative"])
def test_levels_are_correlated_as_topics_are(measure):
    scores = random_scores((2, 3, 7, 5))
    expected = stability(scores, measure)
    found = level_stability(over_levels(scores), measure, resamples=20)
    assert found.study.value == pytest.approx(expected.mean)
    assert found.undefined_fraction == pytest.approx(expected.undefined_fraction)


def test_levels_are_compared_after_the_same_topic_and_in_the_same_cell_only():
    # On each topic the order of people is another one, but it is the same at both levels.
    on_topics = BY_HAND.isel(seed=0, drop=True)
    scores = xr.concat([on_topics, on_topics + 1], "level").expand_dims(["cell", "seed"])
    assert level_stability(scores, "rank_order", resamples=20).study.value == pytest.approx(1)
    assert rank_order(BY_HAND).mean < 1


def test_the_stability_over_levels_by_hand():
    # Key 0: orders 123, 132, 321 of three people, rho 0.5, -1, -0.5; key 1: 1 three times. Their mean is 1/3.
    found = level_stability(over_levels(BY_HAND), "rank_order", resamples=20)
    assert found.study.value == pytest.approx(((0.5 - 1 - 0.5) / 3 + 1) / 2)
    assert found.over == ()
    assert np.isnan(found.interval.low)


def test_the_interval_is_for_people_alone_where_there_are_two_topics():
    scores = random_scores((1, 3, 8, 5)).rename(context="level").expand_dims("cell")
    two = xr.concat([scores, scores + 1], "context").assign_coords(context=["joke", "chess"])
    found = level_stability(two, "ipsative", resamples=20)
    assert found.over == ("persona",)
    assert found.interval.low < found.study.value < found.interval.high


def test_unrelated_levels_are_not_beyond_chance_more_often_than_is_set():
    rejected = [
        level_stability(over_levels(random_scores((1, 2, 8, 4), seed=seed)), "rank_order", resamples=39).chance.p
        <= 0.05
        for seed in range(60)
    ]
    # Of 60, Binomial(60, 0.05) has more than 8 with a probability below 0.01.
    assert sum(rejected) <= 8


def test_the_change_between_levels_in_points():
    scores = xr.DataArray([[[1.0, 2.0]], [[3.0, 2.0]], [[1.0, np.nan]]], dims=("level", "persona", "key"))
    # Pairs of levels: 2, 0; 0; 2. The mean of the four known differences, each counted in both directions.
    assert mean_change(scores.expand_dims(["cell", "seed", "context"])) == pytest.approx((2 + 0 + 0 + 2) / 4)


def test_components_tell_what_moves_everybody_from_what_moves_people_apart():
    person = np.arange(6.0)
    together = np.stack([person, person + 3])[:, :, None]
    scores = xr.DataArray(together, dims=("level", "persona", "key")).expand_dims(["cell", "seed", "context"])
    found = level_components(scores)
    # No interaction: variances 3.5 of people and 4.5 of the two levels, by their means.
    assert found == pytest.approx({"persona": 3.5 / 8, "level": 4.5 / 8, "persona x level": 0})
    apart = level_components(xr.concat([scores.isel(level=0), -scores.isel(level=0)], "level"))
    assert apart["persona x level"] > apart["persona"] == 0


def test_crossed_axes_are_facets_of_one_analysis():
    rng = np.random.default_rng(3)
    order, words = rng.normal(0, 2, 4), rng.normal(0, 1, 3)
    person = rng.normal(0, 1, 40)
    scores = xr.DataArray(
        order[:, None, None, None] + words[:, None, None] + person[:, None] + np.zeros((4, 3, 40, 1)),
        dims=("order", "words", "persona", "key"),
    )
    found = variance_components(scores).set_index("effect")["variance"]
    assert found["order"] == pytest.approx(order.var(ddof=1))
    assert found["words"] == pytest.approx(words.var(ddof=1))
    assert found["persona"] == pytest.approx(person.var(ddof=1))
    assert found["persona x order"] == pytest.approx(0, abs=1e-9)
