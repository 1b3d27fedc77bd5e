"""Intervals and tests for other people, topics and seeds: by hand, against brute force, and in simulated studies."""

import math

import numpy as np
import pytest
from scipy import stats

from tests.support.score_arrays import BY_HAND, labelled, random_scores
from valstab.statistics import resampling
from valstab.statistics.correlation import correlate_rows, correlate_rows_without_each
from valstab.statistics.inference import differences
from valstab.statistics.jackknife import (
    Estimate,
    contrast,
    estimate,
    interval,
    jackknife,
    jackknifed_stability,
    stability_interval,
    why_no_interval,
)
from valstab.statistics.power import Design, expected_precision, simulated_scores
from valstab.statistics.resampling import StabilitySpec, shuffled, without_each
from valstab.statistics.stability import stability

RANK_ORDER = StabilitySpec("rank_order", "zero", without_personas=False)
IPSATIVE = StabilitySpec("ipsative", "zero", without_personas=False)


@pytest.mark.parametrize("undefined", ["zero", "drop"])
@pytest.mark.parametrize("measure", ["rank_order", "ipsative"])
@pytest.mark.parametrize("holes", [0.0, 0.1])
def test_a_stability_without_a_level_is_that_of_the_others(measure, undefined, holes):
    scores = random_scores((3, 4, 6, 3))
    scores = scores.where(np.random.default_rng(1).random(scores.shape) >= holes)
    found = jackknifed_stability(scores, StabilitySpec(measure, undefined, without_personas=False))

    def mean(some):
        return {"mean": stability(some, measure, undefined).mean}

    expected = jackknife(scores, mean)["mean"]
    assert found.value == expected.value
    for name in ("persona", "context", "seed"):
        assert found.without[name].to_numpy() == pytest.approx(expected.without[name].to_numpy(), abs=1e-12)
        assert found.without[name][name].equals(scores[name])


@pytest.mark.parametrize("levels", [2, 5, 1_000])
def test_correlations_without_a_person_are_exactly_those_of_ranking_the_others_again(levels):
    values = np.random.default_rng(levels).integers(0, levels, (2, 3, 4, 9)) / 3
    values[0, 0, 1] = 2  # a row without differences
    values[1, 1, 2] = [*[1] * 8, 5]  # one without differences after one person is left out
    found = correlate_rows_without_each(values)
    for person in range(9):
        expected = correlate_rows(np.delete(values, person, axis=-1))
        np.testing.assert_array_equal(found[person], expected)


def test_a_large_study_is_resampled_in_batches_of_bounded_size(monkeypatch):
    scores = random_scores((2, 3, 7, 4))
    for measure in ("rank_order", "ipsative"):
        spec = StabilitySpec(measure, "zero", without_personas=False)
        at_once, chance = without_each(scores, spec, ["persona"]), shuffled(scores, spec, 20, seed=1)
        with monkeypatch.context() as patch:
            patch.setattr(resampling, "MAX_SCORES_AT_ONCE", 2 * scores.size)
            batched, chance_batched = without_each(scores, spec, ["persona"]), shuffled(scores, spec, 20, seed=1)
        np.testing.assert_array_equal(batched["persona"], at_once["persona"])
        assert len(chance_batched) == len(chance)


def test_error_over_seeds_is_the_standard_error_of_their_mean():
    scores = random_scores((6, 3, 8, 4))
    whole = stability(scores, "rank_order")
    found = interval(estimate(jackknifed_stability(scores, RANK_ORDER, ["seed"])))
    assert (found.value, found.se, found.df) == pytest.approx((whole.mean, whole.se, 5))
    low, high = stats.t.interval(0.95, 5, whole.mean, whole.se)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p == pytest.approx(stats.ttest_1samp(whole.per_seed.to_numpy(), 0).pvalue)


def test_error_over_three_contexts_by_hand():
    # Without one context one pair is left: 0.25, 0 or 0.75. Jackknife variance 2/3 of the squares around 1/3.
    found = jackknifed_stability(BY_HAND, RANK_ORDER, ["context"])
    assert sorted(found.without["context"].to_numpy()) == pytest.approx([0, 0.25, 0.75])
    variance, df = estimate(found).variances["context"]
    assert (variance, df) == (pytest.approx(2 / 3 * (1 / 9 + 1 / 144 + 25 / 144)), 2)


def test_variances_are_added_and_their_freedom_by_satterthwaite():
    found = interval(Estimate(0.5, {"persona": (0.01, 11.0), "context": (0.03, 4.0), "seed": (0.0, 1.0)}))
    df = 0.04**2 / (0.01**2 / 11 + 0.03**2 / 4)
    assert (found.se, found.df) == pytest.approx((0.2, df))
    assert found.high - 0.5 == pytest.approx(0.2 * stats.t.ppf(0.975, df)) == 0.5 - found.low
    of_correlation = interval(Estimate(0.5, {"context": (0.04, 4.0)}), correlation=True)
    half = 0.2 * stats.t.ppf(0.975, 4) / 0.75
    assert of_correlation.low == pytest.approx(math.tanh(math.atanh(0.5) - half))
    assert of_correlation.high == pytest.approx(math.tanh(math.atanh(0.5) + half))


def test_what_does_not_vary_has_no_interval_and_no_test():
    same = random_scores((2, 1, 9, 6)).isel(context=[0, 0, 0]).assign_coords(context=["a", "b", "c"])
    for spec in (RANK_ORDER, IPSATIVE):
        found = stability_interval(same, spec)
        assert found.value == pytest.approx(1)
        assert all(map(math.isnan, found[1:5]))
        assert found.p == 1


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((1, 3, 5, 4), ""),
        ((2, 3, 4, 4), "fewer than 5 people"),
        ((2, 2, 4, 4), "fewer than 5 people, fewer than 3 topics"),
    ],
)
def test_small_studies_have_no_interval(shape, reason):
    scores = random_scores(shape)
    assert why_no_interval(scores) == reason
    assert math.isnan(stability_interval(scores, RANK_ORDER).low) == bool(reason)


def test_the_same_levels_cancel_and_others_do_not():
    scores = random_scores((2, 4, 8, 4))
    study = jackknifed_stability(scores, RANK_ORDER)
    assert contrast([study, study], [1, -1]).variances == {
        name: (0, size - 1) for name, size in zip(("persona", "context", "seed"), (8, 4, 2), strict=True)
    }
    others = jackknifed_stability(scores.assign_coords(persona=list("abcdefgh")), RANK_ORDER)
    variance, df = contrast([study, others], [1, -1]).variances["persona"]
    alone, _ = estimate(study).variances["persona"]
    assert (variance, df) == (pytest.approx(2 * alone), pytest.approx(14))


def test_what_can_not_be_told_apart_counts_in_the_adjustment():
    scores = random_scores((2, 4, 8, 4))
    study = jackknifed_stability(scores, RANK_ORDER)
    tests = differences({"a": study, "same": study, "small": study._replace(without={})})
    assert tests["p"].tolist() == [1, 1, 1]
    assert not tests["significant"].any()
    assert tests["low"].isna().all()


def studies(number, design, stability_of, *, unequal=0.0, likert=True, seed=0):
    """Simulate scores of two models: of the same people and topics, topics of unequal strength."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        strength = rng.lognormal(-(unequal**2) / 2, unequal, design.contexts)[:, None, None]
        both = []
        for _ in range(2):
            stable = rng.normal(size=(1, 1, design.personas, design.keys)) * math.sqrt(stability_of)
            moved = strength * rng.normal(size=(1, design.contexts, design.personas, design.keys)) * 0.4
            noise = rng.normal(size=(design.seeds, design.contexts, design.personas, design.keys)) * 0.7
            values = stable + moved + noise
            both.append(labelled(np.clip(np.round(values + 3.5), 1, 6) if likert else values))
        yield both


@pytest.mark.slow
def test_intervals_cover_the_truth_and_equal_models_are_not_told_apart():
    design = Design(personas=8, contexts=4, seeds=2, keys=6)
    pairs = list(studies(150, design, 0.5, unequal=0.5))
    truth = np.mean([stability(one, "rank_order").mean for pair in pairs for one in pair])
    inside = [found.low < truth < found.high for one, _ in pairs for found in [stability_interval(one, RANK_ORDER)]]
    assert np.mean(inside) >= 0.92
    found = [
        differences({"one": jackknifed_stability(one, RANK_ORDER), "other": jackknifed_stability(other, RANK_ORDER)})
        for one, other in pairs
    ]
    assert np.mean([tests["significant"].iloc[0] for tests in found]) <= 0.06


def test_simulated_scores_have_the_correlations_they_were_asked_for():
    scores = simulated_scores(Design(4000, 2, 2, 1), 0.3, 0.6, np.random.default_rng(0))
    flat = scores.transpose("seed", "context", "persona", "key").to_numpy().reshape(4, -1)
    expected = [[1, 0.3, 0.6, 0.3], [0.3, 1, 0.3, 0.6], [0.6, 0.3, 1, 0.3], [0.3, 0.6, 0.3, 1]]
    assert np.corrcoef(flat) == pytest.approx(np.array(expected), abs=0.05)


def test_more_people_show_more_and_bad_assumptions_are_refused():
    few, many = (expected_precision(Design(n, 4, 1, 4), 0.5, 0.9, 0.2, studies=10) for n in (6, 24))
    assert many.half_width < few.half_width
    assert many.power > few.power
    assert few.mean < many.mean < 0.5
    with pytest.raises(ValueError, match="from 0 to ceiling"):
        expected_precision(Design(6, 4, 1), 0.9, 0.5, 0.2)
    with pytest.raises(ValueError, match="fewer than 5 people"):
        expected_precision(Design(4, 4, 1), 0.2, 0.5, 0.2)
