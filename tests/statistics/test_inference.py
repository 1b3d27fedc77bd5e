"""Nulls, tests and letters, against hand-worked and independent values."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.score_arrays import labelled, random_scores
from valstab.statistics.inference import pairwise_tests, permutation_null, significance_groups
from valstab.statistics.resampling import Exchange, StabilitySpec, shuffled
from valstab.statistics.stability import rank_order_within

MEASURES = ("rank_order", "ipsative")


def spec(measure):
    return StabilitySpec(measure, "zero", without_personas=False)


def test_people_of_one_stratum_are_exchanged_among_themselves():
    # The first three have low scores in every context, the last two high ones. Exchanges within keep rho at least at
    # the worst order of both: 3 2 1 5 4, which is 1 - 6 (4 + 0 + 4 + 1 + 1) / 120 = 0.5.
    scores = labelled([[[[1], [2], [3], [4], [5]]] * 2])
    found = shuffled(scores, spec("rank_order"), 300, 0, Exchange(["a", "a", "a", "b", "b"]))
    assert found.min() == pytest.approx(0.5)
    assert found.max() == pytest.approx(1)
    assert shuffled(scores, spec("rank_order"), 300, 0).min() < 0
    alone = shuffled(scores, spec("rank_order"), 20, 0, Exchange(list("abcde")))
    assert alone == pytest.approx(1)


def test_with_sliding_orders_all_scores_of_a_context_are_reversed():
    # Three contexts with the same order: of each four reversals one leaves all alike, three turn one of the three round.
    scores = labelled([[[[1, 1], [2, 5], [3, 7]]] * 3])
    for measure in MEASURES:
        found = shuffled(scores.isel(persona=[1, 2]), spec(measure), 400, 0, Exchange(sliding_orders=True))
        assert sorted(set(found.round(6))) == pytest.approx([-1 / 3, 1])
        assert (found > 0.9).mean() == pytest.approx(1 / 4, abs=0.07)
    # 4 reversals can't show anything; with three seeds there are 64.
    few = permutation_null(scores, "rank_order", exchange=Exchange(sliding_orders=True))
    assert all(map(math.isnan, few))
    several = labelled(np.repeat(scores.values, 3, axis=0))
    p = permutation_null(several, "rank_order", resamples=2000, exchange=Exchange(sliding_orders=True)).p
    assert p == pytest.approx(1 / 64, abs=0.01)


def slid_scores(run, *, seeds=3, contexts=3, personas=12, items=40):
    """Scores of a model that always answers the first letter, whose options slide one place from person to person."""
    rng = np.random.default_rng(run)
    row = rng.integers(1, 7, size=(seeds, contexts, personas + items)).astype(float)
    given = np.lib.stride_tricks.sliding_window_view(row, items, axis=-1)[:, :, :personas]
    centred = given - given.mean(axis=-1, keepdims=True)
    return labelled(centred.reshape(seeds, contexts, personas, 4, 10).mean(axis=3))


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURES)
def test_answers_by_position_under_sliding_orders_are_no_stability(measure):
    found = {"free": 0, "sliding": 0}
    for run in range(100):
        scores = slid_scores(run)
        for name, exchange in (("free", Exchange()), ("sliding", Exchange(sliding_orders=True))):
            found[name] += permutation_null(scores, measure, resamples=19, seed=run, exchange=exchange).p <= 0.05
    # Of 100 at 5%, more than 10 are found with probability 0.01.
    assert found["sliding"] <= 10
    assert found["free"] > found["sliding"]


def worded_scores(run, *, personas=20, women=10, contexts=4, differ=0.3):
    """Scores of a model that knows the wording only: it answers some items otherwise where they say "she"."""
    rng = np.random.default_rng(run)
    items = 20
    he = rng.integers(1, 7, size=items)
    she = np.where(rng.random(items) < differ, rng.integers(1, 7, size=items), he)
    gender = ["F"] * women + ["M"] * (personas - women)
    meant = np.stack([she if one == "F" else he for one in gender])
    noise = rng.integers(1, 7, size=(1, contexts, personas, items))
    given = np.where(rng.random(noise.shape) < 0.7, meant, noise)
    centred = given - given.mean(axis=-1, keepdims=True)
    return labelled(centred.reshape(1, contexts, personas, 5, 4).mean(axis=-1)), gender


@pytest.mark.slow
def test_the_wording_alone_is_no_order_of_people():
    found = {"all": 0, "within": 0}
    within = []
    for run in range(1000, 1060):
        scores, gender = worded_scores(run)
        for name, exchange in (("all", Exchange()), ("within", Exchange(gender))):
            found[name] += permutation_null(scores, "rank_order", resamples=19, seed=run, exchange=exchange).p <= 0.05
        within.append(rank_order_within(scores, gender))
    # Of 60 at 5%, more than 7 are found with probability 0.02.
    assert found["within"] <= 7
    assert found["all"] > 15
    assert np.mean(within) == pytest.approx(0, abs=3 * np.std(within) / math.sqrt(60))


def test_the_seed_settles_every_draw():
    scores = random_scores()
    one, again, other = (permutation_null(scores, "ipsative", resamples=99, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def test_null_of_three_people_by_hand():
    # The six orders of three people have rho 1, 0.5, 0.5, -0.5, -0.5, -1: mean 0, SD sqrt(1/2), 95th percentile 1.
    same = labelled([[[[1], [2], [3]], [[1], [2], [3]]]])
    found = permutation_null(same, "rank_order", resamples=3000)
    assert found.mean == pytest.approx(0, abs=0.04)
    assert found.sd == pytest.approx(math.sqrt(0.5), abs=0.02)
    assert found.high == 1
    assert found.p == pytest.approx(1 / 6, abs=0.02)
    # rho 0.5 is reached by three orders of six.
    near = labelled([[[[1], [2], [3]], [[1], [3], [2]]]])
    assert permutation_null(near, "rank_order", resamples=3000).p == pytest.approx(1 / 2, abs=0.03)


def test_null_keeps_a_persons_keys_together():
    # Two keys with the same order are one: as uncertain as one, where two independent ones would have sqrt(1/4).
    same = labelled([[[[1, 1], [2, 2], [3, 3]], [[1, 1], [2, 2], [3, 3]]]])
    assert permutation_null(same, "rank_order", resamples=3000).sd == pytest.approx(math.sqrt(0.5), abs=0.02)


def test_null_has_the_variance_of_independent_correlations():
    # Var(rho) = 1 / (n - 1) without ties; one seed, two contexts: the mean of 8 personas, or of one key.
    scores = labelled(np.random.default_rng(0).normal(size=(1, 2, 8, 5)))
    assert permutation_null(scores, "ipsative", resamples=4000).sd == pytest.approx(1 / math.sqrt(4 * 8), rel=0.04)
    one = scores.isel(key=[0])
    assert permutation_null(one, "rank_order", resamples=4000).sd == pytest.approx(1 / math.sqrt(7), rel=0.04)


def test_perfect_stability_has_the_smallest_possible_p_and_none_has_no_null():
    same = random_scores((2, 1, 9, 6)).isel(context=[0, 0, 0])
    for measure in MEASURES:
        assert permutation_null(same, measure, resamples=99).p == 1 / 100
    assert all(map(math.isnan, permutation_null(random_scores((2, 1, 3, 4)), "rank_order")))


# Student (1908): hours of sleep that ten patients gained with each of two drugs.
SLEEP = {
    "one": [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    "other": [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
}


@pytest.mark.parametrize(
    ("paired", "t", "df", "p", "significant"),
    [(False, -1.8608, 18, 0.07919, False), (True, -4.0621, 9, 0.002833, True)],
)
def test_students_own_example(paired, t, df, p, significant):
    (row,) = pairwise_tests(SLEEP, paired=paired).to_dict("records")
    assert (row["one"], row["other"]) == ("one", "other")
    assert row["difference"] == pytest.approx(-1.58)
    assert (row["t"], row["df"]) == (pytest.approx(t, abs=1e-4), df)
    assert row["p"] == row["p_adjusted"] == pytest.approx(p, rel=1e-3)
    assert row["significant"] is significant


def test_adjustment_over_all_pairs_by_hand():
    samples = {"a": [1, 2, 3], "b": [2, 3, 4], "c": [9, 10, 12], "d": [1, 2, 4]}
    tests = pairwise_tests(samples)
    assert list(zip(tests["one"], tests["other"], strict=True)) == list(itertools.combinations("abcd", 2))
    # Benjamini-Hochberg: the smallest of p(j) m / j over all j from its own place on, at most 1.
    p = sorted(tests["p"])
    by_hand = [min(1, *(p[j] * 6 / (j + 1) for j in range(i, 6))) for i in range(6)]
    assert sorted(tests["p_adjusted"]) == pytest.approx(by_hand)
    assert tests["significant"].tolist() == [value <= 0.05 for value in tests["p_adjusted"]]
    assert tests["significant"].any()


def test_samples_that_do_not_vary_or_are_alone_do_not_spoil_the_others():
    samples = {"same": [0.1 + 0.2] * 3, "again": [0.3] * 4, "higher": [0.5] * 3, "single": [0.4], "none": [math.nan]}
    rows = pairwise_tests({**samples, "real": [0.1, 0.2, 0.4]}).set_index(["one", "other"])
    for pair, df in ((("same", "again"), 5), (("same", "higher"), 4)):
        assert rows.loc[pair, ["df", "p"]].tolist() == [df, 1]
        assert math.isnan(rows.loc[pair, "t"])
    assert rows.loc[("same", "single"), ["df", "p"]].tolist() == [0, 1]
    assert math.isnan(rows.loc[("same", "single"), "t"])
    assert rows.loc[("single", "none"), ["df", "p"]].tolist() == [0, 1]
    assert rows[["p", "p_adjusted"]].notna().all(axis=None)
    assert rows["significant"].dtype == bool


def test_paired_samples_that_differ_by_a_constant_and_in_number():
    (row,) = pairwise_tests({"a": [0.1, 0.3, 0.7], "b": [0.2, 0.4, 0.8]}, paired=True).to_dict("records")
    assert math.isnan(row["t"])
    assert row["p"] == 1
    with pytest.raises(ValueError, match="3 and 2"):
        pairwise_tests({"a": [1, 2, 3], "b": [1, 2]}, paired=True)


def test_one_model_has_no_pairs():
    tests = pairwise_tests({"alone": [1, 2, 3]})
    assert len(tests) == 0
    assert significance_groups({"alone": 0.3}, tests) == {"alone": "a"}


def differing(*pairs):
    return pd.DataFrame([(*pair, True) for pair in pairs], columns=["one", "other", "significant"])


def test_letters_by_hand():
    means = {"low": 0.1, "top": 0.9, "second": 0.8, "third": 0.5}
    # Neighbours don't differ, all others do.
    groups = significance_groups(means, differing(("low", "top"), ("low", "second"), ("top", "third")))
    assert groups == {"low": "c", "top": "a", "second": "ab", "third": "bc"}
    assert significance_groups(means, differing()) == dict.fromkeys(means, "a")


def test_no_letter_could_be_left_out():
    # x, y, z don't differ from each other, and a, b, c not from two of them each: three letters cover all of that.
    means = dict(zip("axbyzc", [6, 5, 4, 3, 2, 1], strict=True))
    groups = significance_groups(means, differing("ab", "ac", "bc", "az", "bx", "cy"))
    assert sorted(set("".join(groups.values()))) == ["a", "b", "c"]
    assert groups["a"] == "a"


names = [f"model{i}" for i in range(7)]


@given(st.sets(st.sampled_from(list(itertools.combinations(names, 2)))), st.permutations(range(7)))
def test_models_share_a_letter_if_and_only_if_they_do_not_differ(pairs, order):
    means = dict(zip(names, map(float, order), strict=True))
    groups = significance_groups(means, differing(*pairs))
    for one, other in itertools.combinations(names, 2):
        assert bool(set(groups[one]) & set(groups[other])) == ((one, other) not in pairs)
    assert all(groups.values())
    assert "a" in groups[max(means, key=means.get)]
