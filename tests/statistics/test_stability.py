"""The stability measures, against hand-computed cases, scipy by an independent path, and properties."""

import itertools
import math
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from tests.support.score_arrays import BY_HAND, labelled, random_scores
from valstab.statistics.stability import (
    ipsative,
    neutral_order,
    neutral_profile,
    neutral_similarity,
    rank_order,
    rank_order_within,
    value_behaviour,
)


def test_rank_order_by_hand():
    # Key 0: rho(123,132) = 1 - 6*2/24 = 0.5; rho(123,321) = -1; rho(132,321) = 1 - 6*6/24 = -0.5. Mean -1/3. Key 1: 1.
    result = rank_order(BY_HAND)
    assert result.per_unit.values == pytest.approx([-1 / 3, 1])
    assert result.mean == pytest.approx(1 / 3)
    assert math.isnan(result.se)  # one seed
    # Each pair's mean over the two keys: (0.5+1)/2, (-1+1)/2, (-0.5+1)/2.
    assert result.pairs.values[np.triu_indices(3, 1)] == pytest.approx([0.75, 0, 0.25])
    assert np.array_equal(result.pairs.values, result.pairs.values.T, equal_nan=True)
    assert np.isnan(np.diag(result.pairs)).all()
    assert (result.correlations, result.undefined) == (6, 0)


def test_ties_share_the_average_rank():
    # Ranks (1.5, 1.5, 3) and (1, 2, 3): deviations (-.5, -.5, 1) and (-1, 0, 1), so 1.5 / sqrt(1.5 * 2).
    scores = labelled([[[[4], [4], [9]], [[1], [2], [3]]]])
    assert rank_order(scores).mean == pytest.approx(1.5 / math.sqrt(3))


def test_scores_are_rounded_before_ranking():
    # 0.1 + 0.2 differs from 0.3 in the 17th decimal: still a tie.
    scores = labelled([[[[0.1 + 0.2], [0.3], [1]], [[1], [1], [2]]]])
    assert rank_order(scores).mean == 1.0


def test_ipsative_by_hand():
    # Persona 0: key orders 123 then 132 (rho 0.5); persona 1: 123 then 321 (rho -1).
    scores = labelled([[[[1, 2, 3], [1, 2, 3]], [[1, 3, 2], [3, 2, 1]]]])
    result = ipsative(scores)
    assert result.per_unit.values == pytest.approx([0.5, -1])
    assert result.mean == pytest.approx(-0.25)


def test_standard_error_is_over_seeds_with_personas_and_over_permutations_without():
    one, two = random_scores(seed=1), random_scores(seed=2)
    scores = xr.concat([one, two], "seed")
    per_seed = ipsative(scores).per_seed.values
    assert ipsative(scores).se == pytest.approx(per_seed.std(ddof=1) / math.sqrt(6))
    assert ipsative(scores).samples.values == pytest.approx(per_seed)
    single = one.isel(seed=[0])
    repeated = ipsative(single, without_personas=True)
    each = repeated.per_unit.values
    assert repeated.samples.values.ravel() == pytest.approx(each)
    assert ipsative(scores, without_personas=True).samples.size == 6 * 6
    assert repeated.se == pytest.approx(each.std(ddof=1) / math.sqrt(len(each)))
    assert repeated.mean == pytest.approx(each.mean())


def test_undefined_counts_as_zero_or_is_dropped():
    # Key 0 is constant in context 1; key 1 is the same in both.
    scores = labelled([[[[1, 1], [2, 2], [3, 3]], [[5, 1], [5, 2], [5, 3]]]])
    zero, drop = rank_order(scores), rank_order(scores, "drop")
    assert (zero.mean, zero.undefined, zero.correlations) == (0.5, 1, 2)
    assert (drop.mean, drop.undefined, drop.correlations) == (1.0, 1, 2)


def test_nothing_defined_is_not_a_number_when_dropped():
    scores = labelled(np.ones((2, 2, 3, 2)))
    assert rank_order(scores).mean == 0
    assert rank_order(scores).undefined == rank_order(scores).correlations == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(rank_order(scores, "drop").mean)


def test_missing_scores_are_left_out_of_their_correlations():
    # On key 0 the third person has no score in context 1: of the others the order is turned round.
    # On key 1 two people are left, in the same order; on key 2 one, whose order is undefined.
    nan = math.nan
    before = [[1, 1, 1], [2, 2, 2], [3, 3, 3]]
    after = [[2, 1, nan], [1, nan, nan], [nan, 9, 9]]
    scores = labelled([[before, after]])
    found = rank_order(scores)
    assert found.per_unit.values.tolist() == [-1, 1, 0]
    assert (found.undefined, found.correlations) == (1, 3)
    # The first person's values are tied in context 0, as are the others': no order of values.
    assert ipsative(scores).undefined == 3
    random = random_scores(seed=5)
    holes = random.where(np.random.default_rng(0).random(random.shape) > 0.1)
    expected = [
        spearmanr(a, b, nan_policy="omit").statistic
        for seed in holes.values
        for a, b in zip(seed[0].T, seed[1].T, strict=True)
    ]
    two = rank_order(holes.isel(context=[0, 1]), "drop")
    assert two.mean == pytest.approx(np.mean(expected))


def rho(a, b) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = spearmanr(a, b).statistic
    return 0.0 if math.isnan(value) else value


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scipy_one_correlation_at_a_time(seed):
    scores = random_scores((3, 4, 7, 5), seed=seed)
    x = scores.values
    pairs = list(itertools.combinations(range(4), 2))
    by_seed = [
        np.mean([np.mean([rho(x[s, a, :, k], x[s, b, :, k]) for a, b in pairs]) for k in range(5)]) for s in range(3)
    ]
    result = rank_order(scores)
    assert result.mean == pytest.approx(np.mean(by_seed))
    assert result.se == pytest.approx(np.std(by_seed, ddof=1) / math.sqrt(3))
    assert result.per_seed.values == pytest.approx(by_seed)
    by_seed = [np.mean([np.mean([rho(x[s, a, p], x[s, b, p]) for a, b in pairs]) for p in range(7)]) for s in range(3)]
    result = ipsative(scores)
    assert result.mean == pytest.approx(np.mean(by_seed))
    assert result.se == pytest.approx(np.std(by_seed, ddof=1) / math.sqrt(3))


cubes = arrays(float, st.tuples(*[st.integers(2, 4)] * 4), elements=st.integers(-3, 3).map(float)).map(labelled)
few = settings(max_examples=settings.default.max_examples // 3)  # each takes a tenth of a second


@few
@given(cubes, st.randoms())
def test_the_order_of_contexts_personas_and_keys_does_not_matter(scores, random):
    shuffled = scores
    for name in ("seed", "context", "persona", "key"):
        shuffled = shuffled.isel({name: random.sample(range(scores.sizes[name]), scores.sizes[name])})
    for measure in (rank_order, ipsative):
        assert measure(shuffled).mean == pytest.approx(measure(scores).mean, abs=1e-12)
        assert measure(shuffled).undefined == measure(scores).undefined


@few
@given(cubes, st.lists(st.integers(-5, 5), min_size=4, max_size=4))
def test_a_constant_changes_nothing(scores, constants):
    # One for each persona leaves the order of their values; one for each context leaves the order of people.
    per_persona = xr.DataArray(constants[: scores.sizes["persona"]], dims="persona")
    per_context = xr.DataArray(constants[: scores.sizes["context"]], dims="context")
    assert ipsative(scores + per_persona).mean == pytest.approx(ipsative(scores).mean, abs=1e-12)
    assert rank_order(scores + per_context).mean == pytest.approx(rank_order(scores).mean, abs=1e-12)


@few
@given(cubes)
def test_identical_contexts_give_one_where_defined(scores):
    same = scores.isel(context=[0] * 3).assign_coords(context=list("abc"))
    for measure, over in ((rank_order, "persona"), (ipsative, "key")):
        result = measure(same, "drop")
        constant = (same.max(over) == same.min(over)).isel(context=0)
        assert result.undefined == 3 * int(constant.sum())
        if not constant.all():
            assert result.mean == 1.0


@given(cubes)
def test_stability_lies_between_minus_one_and_one(scores):
    for measure in (rank_order, ipsative):
        assert -1 <= measure(scores).mean <= 1


def test_independent_contexts_average_to_zero():
    scores = labelled(np.random.default_rng(0).normal(size=(40, 5, 30, 10)))
    for measure in (rank_order, ipsative):
        result = measure(scores)
        assert abs(result.mean) < 3 * result.se
        assert result.se < 0.01


def test_one_context_has_no_stability():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(rank_order(random_scores((2, 1, 3, 4))).mean)


def test_neutral_profile_averages_the_ranks_within_repetitions():
    # Ranks (1, 2, 3) and (1, 2.5, 2.5).
    scores = labelled([[[[10, 20, 30], [5, 7, 7]]]])
    assert neutral_profile(scores).values == pytest.approx([1, 2.25, 2.75])


def test_similarity_to_the_neutral_profile():
    profile = xr.DataArray([1.0, 2.0, 3.0], dims="key", coords={"key": ["key0", "key1", "key2"]})
    # Orders 123 (rho 1) and 132 (rho 0.5).
    scores = labelled([[[[1, 2, 3], [1, 3, 2]]]])
    assert neutral_similarity(scores, profile).values == pytest.approx([0.75])


def test_neutral_order_compares_each_context_with_the_one_without_conversation():
    neutral = labelled([[[[1], [2], [3]]]]).assign_coords(context=["neutral"])
    # The contexts of BY_HAND's key 0 against the order 123: 1, 0.5, -1.
    assert neutral_order(BY_HAND.isel(key=[0]), neutral).values == pytest.approx([0.5 / 3])


def test_value_and_behaviour_on_the_same_topic_and_seed():
    values = labelled([[[[1], [2], [3]], [[1], [2], [3]]]])
    coins = labelled([[[[1, 3], [2, 2], [3, 1]], [[1, 1], [3, 2], [2, 3]]]])
    # Context 0: 1 and -1; context 1: 0.5 and 1. Given to others, each counts; done on the value itself, that alone.
    to_others = coins.assign_coords(key=["elves", "orcs"])
    assert value_behaviour(values, to_others).values == pytest.approx(np.array([[1.5 / 4]]))
    assert value_behaviour(values, coins).values == pytest.approx(np.array([[1.5 / 2]]))


def test_other_people_are_refused():
    scores = random_scores()
    others = scores.assign_coords(persona=[f"other{i}" for i in range(6)])
    with pytest.raises(ValueError, match="align"):
        value_behaviour(scores, others)


def test_rank_order_within_labels_by_hand():
    # Among the first three the order turns round in one of two pairs of contexts; among the last two it stays.
    scores = labelled([[[[1], [2], [3], [9], [10]], [[3], [2], [1], [5], [7]], [[3], [2], [1], [1], [2]]]])
    pairs = [-1, -1, 1]
    assert rank_order_within(scores, ["a"] * 3 + ["b"] * 2) == pytest.approx((2 * np.mean(pairs) + 1 * 1) / 3)
    # Who is alone in a label has no order; without labels that two share there is none.
    assert rank_order_within(scores, ["a"] * 3 + ["b", "c"]) == pytest.approx(np.mean(pairs))
    assert np.isnan(rank_order_within(scores, list("abcde")))
    assert rank_order_within(scores, ["a"] * 5) == pytest.approx(rank_order(scores).mean)
