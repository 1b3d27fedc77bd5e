"""Intervals, nulls, tests, letters and sample sizes, against hand-worked and independent values."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import chi2, norm, t, ttest_ind

from tests.support.score_arrays import BY_HAND, labelled, random_scores
from valstab.statistics.inference import bootstrap, pairwise_tests, permutation_null, required_n, significance_groups
from valstab.statistics.power import effect_size, levels_needed, samples_needed
from valstab.statistics.resampling import Exchange, StabilitySpec, draw_levels, resampled, shuffled
from valstab.statistics.stability import rank_order_within, stability

MEASURES = ("rank_order", "ipsative")


def drawn_rows(number, resamples, seed=0):
    return [row for rows in draw_levels(number, resamples, seed) for row in rows]


@pytest.mark.parametrize("undefined", ["zero", "drop"])
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("over", ["persona", "seed"])
def test_a_resample_is_the_stability_of_the_drawn_levels(measure, over, undefined):
    scores = random_scores((3, 4, 6, 3))
    found = resampled(scores, StabilitySpec(measure, undefined, without_personas=False), over, 12, seed=0)
    expected = [
        stability(scores.isel({over: row}).assign_coords({over: np.arange(len(row))}), measure, undefined).mean
        for row in drawn_rows(scores.sizes[over], 12)
    ]
    assert found == pytest.approx(expected, abs=1e-12)
    assert np.std(found) > 0.01


@pytest.mark.parametrize("measure", MEASURES)
def test_a_resampled_context_is_not_paired_with_itself(measure):
    scores = random_scores((2, 4, 6, 5))
    pairs = stability(scores, measure).pairs.to_numpy()
    expected = []
    for row in drawn_rows(4, 60):
        of_pairs = [pairs[a, b] for a, b in itertools.combinations(row, 2) if a != b]
        expected.append(np.mean(of_pairs) if of_pairs else math.nan)
    found = resampled(scores, StabilitySpec(measure, "zero", without_personas=False), "context", 60, seed=0)
    assert found == pytest.approx(expected, nan_ok=True)


def test_interval_over_three_contexts_by_hand():
    # The pairs have 0.75, 0 and 0.25. Of the 27 draws of three contexts, 6 have all (mean 1/3), 6 each have one pair
    # only, and 3 have none. So 1/3, 0.75, 0 and 0.25 are equally likely: SD = sqrt((0.4167² + 0.3333² + 0.0833²) / 4).
    interval = bootstrap(BY_HAND, "rank_order", "context", resamples=20_000)
    assert (interval.low, interval.high) == pytest.approx((0, 0.75))
    assert interval.se == pytest.approx(0.27003, abs=0.005)


def test_bootstrap_error_over_seeds_is_the_standard_error_but_for_its_divisor():
    # The mean of S seeds drawn from S has the variance SD(ddof=0)² / S.
    scores = random_scores((6, 3, 8, 4))
    per_seed = stability(scores, "rank_order").per_seed.to_numpy()
    found = bootstrap(scores, "rank_order", "seed", resamples=10_000)
    assert found.se == pytest.approx(per_seed.std() / math.sqrt(6), rel=0.03)
    assert found.low < per_seed.mean() < found.high
    wider = bootstrap(scores, "rank_order", "seed", resamples=10_000, confidence=0.99)
    assert wider.low < found.low < found.high < wider.high


def test_interval_covers_the_truth_as_often_as_it_says():
    # Independent seeds, normal scores with the same persona part in each context: rho of a bivariate normal with
    # r = 0.5 is 6/pi * asin(0.5/2) in large samples. With 200 people its small-sample bias is below 0.002.
    truth = 6 / math.pi * math.asin(0.25)
    inside = 0
    for repetition in range(40):
        rng = np.random.default_rng(repetition)
        scores = labelled(rng.normal(size=(1, 1, 200, 1)) + rng.normal(size=(1, 2, 200, 1)))
        low, high, _ = bootstrap(scores, "rank_order", "persona", resamples=100, confidence=0.9)
        inside += low < truth < high
    # 36 expected, SD 1.9; with 100 resamples the percentiles are a little narrow.
    assert 29 <= inside <= 39


def test_too_few_levels_give_no_interval():
    scores = random_scores((1, 2, 6, 5))
    for over in ("seed", "context"):
        assert all(map(math.isnan, bootstrap(scores, "ipsative", over)))
    assert all(map(math.isnan, bootstrap(scores.isel(persona=[0]), "ipsative", "persona")))
    # Nothing defined is left out altogether.
    assert all(map(math.isnan, bootstrap(labelled(np.ones((2, 3, 4, 2))), "ipsative", "persona", undefined="drop")))


def test_missing_scores_are_resampled_too():
    scores = random_scores((2, 3, 8, 4))
    holes = scores.where(np.random.default_rng(1).random(scores.shape) > 0.1)
    found = resampled(holes, StabilitySpec("rank_order", "drop", without_personas=False), "persona", 10, seed=3)
    expected = [
        stability(holes.isel(persona=row).assign_coords(persona=np.arange(8)), "rank_order", "drop").mean
        for row in drawn_rows(8, 10, seed=3)
    ]
    assert found == pytest.approx(expected)


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


def test_with_sliding_orders_people_are_shifted_and_keys_shuffled_alike():
    # Five shifts on a circle: rho of 12345 with 12345 is 1, with 23451 and 51234 it is 0, with 34512 and 45123 -0.5.
    scores = labelled([[[[1], [2], [3], [4], [5]]] * 2])
    shifts = shuffled(scores, spec("rank_order"), 300, 0, Exchange(sliding_orders=True))
    assert sorted(set(shifts.round(6))) == pytest.approx([-0.5, 0, 1])
    # Two people with the same values: their keys are shuffled alike, so that both have the same rho.
    rng = np.random.default_rng(0)
    twins = labelled(np.repeat(rng.permuted(np.tile(np.arange(4.0), (1, 2, 1, 1)), axis=-1), 2, axis=2))
    alike = shuffled(twins, spec("ipsative"), 200, 0, Exchange(sliding_orders=True))
    # Sums of squared differences of two orders of four are even, so rho is a multiple of 0.2; means of two need not be.
    assert (alike * 5).round(6).tolist() == (alike * 5).round(0).tolist()
    apart = shuffled(twins, spec("ipsative"), 200, 0)
    assert (apart * 5).round(6).tolist() != (apart * 5).round(0).tolist()


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


def test_the_wording_alone_is_no_order_of_people():
    found = {"all": 0, "within": 0}
    within = []
    for run in range(60):
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
    one, again, other = (bootstrap(scores, "ipsative", "persona", resamples=99, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
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
    assert rows.loc[("same", "again"), ["t", "df", "p"]].tolist() == [0, 5, 1]
    assert rows.loc[("same", "higher"), ["t", "df", "p"]].tolist() == [-math.inf, 4, 0]
    assert rows.loc[("same", "single"), ["df", "p"]].tolist() == [0, 1]
    assert math.isnan(rows.loc[("same", "single"), "t"])
    assert rows.loc[("single", "none"), ["df", "p"]].tolist() == [0, 1]
    assert rows[["p", "p_adjusted"]].notna().all(axis=None)
    assert rows["significant"].dtype == bool


def test_paired_samples_that_differ_by_a_constant_and_in_number():
    (row,) = pairwise_tests({"a": [0.1, 0.3, 0.7], "b": [0.2, 0.4, 0.8]}, paired=True).to_dict("records")
    assert (row["t"], row["p"]) == (-math.inf, 0)
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


@pytest.mark.parametrize(("effect", "number"), [(0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17)])
def test_textbook_sample_sizes(effect, number):
    # Cohen (1988), table 2.4.1, power 0.80 at 0.05 two-sided (393, 64, 26, 17); 0.2 exactly needs 393.4, so 394.
    assert samples_needed(effect) == samples_needed(-effect) == number


def test_sample_size_agrees_with_a_simulation():
    effect, number = 1.9, samples_needed(1.9, power=0.9)
    rng = np.random.default_rng(0)

    def power(n):
        one, other = rng.normal(effect, 1, size=(20_000, n)), rng.normal(0, 1, size=(20_000, n))
        return (ttest_ind(one, other, axis=1).pvalue <= 0.05).mean()

    assert power(number) > 0.9 - 0.006
    assert power(number - 1) < 0.9


def power_by_integration(effect, n) -> float:
    """The power of the t-test, from the normal mean difference given the SD, over the SD's distribution."""
    df, shift = 2 * n - 2, effect * math.sqrt(n / 2)
    critical = t.ppf(0.975, df)

    def given(squares):
        limit = critical * math.sqrt(squares / df)
        return (norm.sf(limit - shift) + norm.cdf(-limit - shift)) * chi2.pdf(squares, df)

    return quad(given, 0, math.inf)[0]


@pytest.mark.parametrize("effect", np.linspace(1, 5, 21))
def test_it_is_the_smallest_number_with_that_power(effect):
    number = samples_needed(effect)
    assert power_by_integration(effect, number) >= 0.8
    if number > 2:
        assert power_by_integration(effect, number - 1) < 0.8


def test_what_no_number_of_samples_tells_apart():
    assert samples_needed(0) is None
    assert samples_needed(1e-4) is None
    assert samples_needed(math.nan) is None
    assert samples_needed(math.inf) == samples_needed(50) == 2


def test_effect_size_by_hand():
    # Means 2 and 5, squares 2 + 8 over 4 degrees of freedom.
    assert effect_size(np.array([1.0, 2, 3]), np.array([3.0, 5, 7])) == pytest.approx(-3 / math.sqrt(2.5))
    assert math.isnan(effect_size(np.array([1.0]), np.array([1.0, 2])))
    assert effect_size(np.array([0.5, 0.5]), np.array([0.1, 0.1])) == math.inf


def test_levels_needed_by_hand():
    # (1.95996 + 0.84162) * 0.1 / 0.2 squared is 1.9622 of the 10 there are.
    assert levels_needed(10, 0.1, 0.2, power=0.8, alpha=0.05) == 20
    assert levels_needed(10, 0.001, 0.2, power=0.8, alpha=0.05) == 2
    assert levels_needed(10, 0.1, 0.0, power=0.8, alpha=0.05) is None


def noisy(noise, *, shape=(5, 4, 12, 3), seed=0):
    rng = np.random.default_rng(seed)
    return labelled(rng.normal(size=(1, 1, shape[2], shape[3])) + noise * rng.normal(size=shape))


def test_needed_for_two_models():
    one, other = noisy(0.8, seed=1), noisy(1.0, seed=2)
    found = required_n(one, other, "rank_order", resamples=150)
    a, b = (stability(scores, "rank_order") for scores in (one, other))
    effect = (a.mean - b.mean) / math.sqrt((a.per_seed.var(ddof=1) + b.per_seed.var(ddof=1)) / 2)
    assert found.seeds == samples_needed(effect)
    # Personas of the same names are resampled alike, those of other names independently.
    drawn = [
        resampled(s, StabilitySpec("rank_order", "zero", without_personas=False), "persona", 150, 0)
        for s in (one, other)
    ]
    error = np.std(drawn[0] - drawn[1], ddof=1)
    assert found.personas == math.ceil(12 * (2.8015852 * error / (a.mean - b.mean)) ** 2)
    others = other.assign_coords(persona=[f"other{i}" for i in range(12)])
    error = math.hypot(*(np.std(each, ddof=1) for each in drawn))
    assert required_n(one, others, "rank_order", resamples=150).personas == math.ceil(
        12 * (2.8015852 * error / (a.mean - b.mean)) ** 2
    )
    assert required_n(one, other, "rank_order", power=0.95, resamples=150).contexts > found.contexts


def test_a_model_is_not_told_apart_from_itself():
    assert required_n(noisy(1), noisy(1), "ipsative", resamples=10) == (None, None, None)


def test_repetitions_are_the_samples_without_personas():
    one, other = (noisy(noise, shape=(2, 3, 10, 6), seed=9) for noise in (1.0, 1.5))
    a, b = (stability(scores, "ipsative", without_personas=True).samples.to_numpy().ravel() for scores in (one, other))
    assert len(a) == 20
    samples = samples_needed(effect_size(a, b))
    found = required_n(one, other, "ipsative", without_personas=True, resamples=10)
    assert (found.personas, found.seeds) == (max(2, math.ceil(samples / 2)), math.ceil(samples / 10))
