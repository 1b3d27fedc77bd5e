"""The tables behind the figures: known truth by construction comes back, and an independent path agrees."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import rankdata, spearmanr

from tests.support import synthetic
from tests.support.score_arrays import labelled
from valstab.analysis.comparability import require_comparable, require_unique
from valstab.analysis.runs import Runs
from valstab.compare import sentences, tables
from valstab.compare.comparison import Request
from valstab.compare.figure_kinds import compare
from valstab.compare.stabilities import stabilities
from valstab.config.comparison import FigureConfig
from valstab.errors import ConfigError

DRAWS = 30


def of_draws(measure, make):
    """Return the mean over independent draws and its standard error."""
    values = [
        float(Runs((synthetic.run("m", make(random)),)).samples(measure)["stability"].mean()) for random in range(DRAWS)
    ]
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(DRAWS)


@pytest.mark.parametrize(("persona", "noise", "context"), [(1, 0.5, 0), (1, 2, 3), (0, 1, 1)])
def test_rank_order_comes_back(persona, noise, context):
    # A context's own part moves all people alike, so it does not touch their order.
    mean, error = of_draws(
        "rank_order",
        lambda random: synthetic.scores(persona=persona, noise=noise, context=context, random=random, keys=4),
    )
    truth = synthetic.spearman_of(persona / (persona + noise))
    assert abs(mean - truth) < 3 * error + 0.005  # Spearman's rho of 60 people is a little too small


def test_an_interaction_with_the_topic_lowers_rank_order_but_not_the_order_after_the_same_topic():
    make = {"persona": 1, "interaction": 1, "noise": 0.5, "keys": 4}
    mean, error = of_draws("rank_order", lambda random: synthetic.scores(**make, random=random))
    assert abs(mean - synthetic.spearman_of(1 / 2.5)) < 3 * error + 0.005
    between_seeds = [
        np.mean([spearmanr(x[0, 0, :, k], x[1, 0, :, k]).statistic for k in range(4)])
        for x in (synthetic.scores(**make, random=random).to_numpy() for random in range(DRAWS))
    ]
    assert (
        abs(np.mean(between_seeds) - synthetic.spearman_of(2 / 2.5)) < 3 * np.std(between_seeds) / np.sqrt(DRAWS) + 0.01
    )


def test_ipsative_comes_back():
    # Each person's keys differ by the persona's part alone: the same truth, over ten keys instead of sixty people.
    mean, error = of_draws("ipsative", lambda random: synthetic.scores(persona=3, noise=1, random=random, personas=20))
    independent = np.random.default_rng(99)
    pairs = independent.multivariate_normal([0, 0], [[4, 3], [3, 4]], size=(20_000, 10))
    ranks = rankdata(pairs, axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    truth = np.mean((centred[..., 0] * centred[..., 1]).sum(1) / (centred[..., 0] ** 2).sum(1))
    assert abs(mean - truth) < 3 * error


def test_random_answers_come_out_at_zero():
    mean, error = of_draws("rank_order", lambda random: synthetic.scores(persona=0, noise=1, random=random))
    assert abs(mean) < 3 * error


def test_samples_are_seeds_with_personas_and_repetitions_without():
    one = synthetic.run("one", synthetic.scores(seeds=3, personas=4))
    nobody = synthetic.run("nobody", synthetic.scores(seeds=1, personas=7), population="none")
    runs = Runs((one, nobody))
    assert runs.samples("rank_order").groupby("label").size().to_dict() == {"one": 3}
    assert runs.samples("ipsative").groupby("label").size().to_dict() == {"one": 3, "nobody": 7}
    table = tables.means(runs.samples("ipsative"), ["label"]).set_index("label")
    each = one.stability("ipsative").per_seed.to_numpy()
    assert table.loc["one", "mean"] == pytest.approx(each.mean())
    assert table.loc["one", "se"] == pytest.approx(each.std(ddof=1) / np.sqrt(3))


def test_context_pairs_are_ordered_by_the_openings_length():
    run = synthetic.run("m", synthetic.scores(seeds=1, contexts=3, personas=5))
    said = [
        {"context": f"topic{i}", "messages": [{"role": "user", "text": "x" * length}]}
        for i, length in enumerate([30, 10, 20])
    ]
    run = replace(run, conversations=said)
    pairs = tables.context_pairs(Runs((run,)), "rank_order")
    assert list(dict.fromkeys(pairs["context"])) == ["topic1", "topic2", "topic0"]
    assert list(pairs["other"][:3]) == ["topic1", "topic2", "topic0"]
    x = run.scores.to_numpy()[0]
    expected = np.mean([spearmanr(x[1, :, k], x[2, :, k]).statistic for k in range(10)])
    row = pairs[(pairs["context"] == "topic1") & (pairs["other"] == "topic2")].iloc[0]
    assert row["stability"] == pytest.approx(expected)
    assert (row["length"], row["other_length"]) == (10, 20)


def donations(values: xr.DataArray, weight: float, random: int = 0) -> xr.DataArray:
    """Return coins that have a known correlation with one value, the same for five races."""
    noise = np.random.default_rng(random).normal(size=(*values.shape[:3], 5))
    coins = weight * values.isel(key=2).to_numpy()[..., None] + np.sqrt(1 - weight**2) * noise
    labels = {name: values[name] for name in synthetic.NAMES[:3]}
    return xr.DataArray(
        coins, dims=synthetic.NAMES, coords={**labels, "key": ["elf", "dwarf", "orc", "human", "hobbit"]}
    )


def test_values_and_behaviour_on_the_same_topics_and_seeds():
    values = synthetic.scores(persona=0, noise=1, seeds=12)
    pvq, donation = synthetic.run("m", values), synthetic.run("m", donations(values, 0.6), task="donation")
    table = tables.values_and_behaviour(Runs((pvq, donation)), ["Benevolence", "Power"])
    found = tables.means(table, ["value"], "correlation").set_index("value")
    # The third of the questionnaire's keys is Benevolence.
    assert (
        abs(found.loc["Benevolence", "mean"] - synthetic.spearman_of(0.6)) < 3 * found.loc["Benevolence", "se"] + 0.005
    )
    assert abs(found.loc["Power", "mean"]) < 0.1
    x, y = pvq.scores.to_numpy(), donation.scores.to_numpy()
    of_first_seed = np.mean([spearmanr(x[0, c, :, 2], y[0, c, :, r]).statistic for c in range(5) for r in range(5)])
    row = table[(table["value"] == "Benevolence") & (table["seed"] == 0)].iloc[0]
    assert row["correlation"] == pytest.approx(of_first_seed)


def test_values_and_behaviour_need_both_tasks_and_people_in_common():
    values = synthetic.scores(personas=4, seeds=1)
    pvq, donation = synthetic.run("m", values), synthetic.run("m", donations(values, 0.6), task="donation")
    with pytest.raises(ConfigError, match="need one of pvq and one of donation by one model"):
        tables.values_and_behaviour(Runs((pvq,)), ["Power"])
    others = donation.scores.assign_coords(persona=[f"other{i}" for i in range(4)])
    stranger = replace(donation, scores=others)
    with pytest.raises(ConfigError, match="have no persona in common"):
        tables.values_and_behaviour(Runs((pvq, stranger)), ["Power"])
    with pytest.raises(ConfigError, match=r"figure\.values=Poer: is no value of pvq"):
        tables.values_and_behaviour(Runs((pvq, donation)), ["Poer"])


def test_components_agree_with_a_singular_value_decomposition():
    run = synthetic.run("m", synthetic.scores(seeds=2, contexts=3, personas=12, persona=2, noise=1))
    labels = dict.fromkeys(run.personas[:6], "positive") | dict.fromkeys(run.personas[6:], "negative")
    table = tables.components(run, labels)
    x = run.scores.transpose("persona", ...).to_numpy().reshape(12, -1)
    standard = (x - x.mean(0)) / x.std(0)
    u, s, _ = np.linalg.svd(standard, full_matrices=False)
    for column, number in (("first", 0), ("second", 1)):
        assert np.abs(table[column].to_numpy()) == pytest.approx(np.abs(u[:, number] * s[number]))
    assert table.attrs["explained"] == pytest.approx((s**2 / (s**2).sum())[:2].tolist())
    assert table.loc[table["label"] == "positive", "first"].mean() < 0
    assert table["second"].iloc[0] >= 0


def test_components_of_people_who_all_answer_alike_on_a_value():
    values = synthetic.scores(seeds=1, contexts=2, personas=5)
    values[:, :, :, 0] = 3.0
    table = tables.components(synthetic.run("m", values), {})
    assert np.isfinite(table[["first", "second"]].to_numpy()).all()


def neutral_run(keys):
    scores = synthetic.scores(seeds=1, contexts=1, personas=20, persona=0, noise=0.01) + xr.DataArray(keys, dims="key")
    return synthetic.run("m", scores.assign_coords(context=["neutral"]), n_messages=0, population="none")


def test_similarity_to_the_neutral_profile_grows_as_profiles_approach_it():
    keys = np.linspace(-2, 2, 10)
    neutral = neutral_run(keys)
    runs = [neutral]
    for n_messages, weight in ((3, 0.2), (7, 0.6), (11, 1.0)):
        scores = synthetic.scores(seeds=3, personas=10) * (1 - weight) + xr.DataArray(weight * keys, dims="key")
        runs.append(synthetic.run("m", scores, n_messages=n_messages))
    table = tables.neutral_profile_table(Runs(tuple(runs)))
    similar = table[table["what"] == "similarity to the neutral profile"].groupby("n_messages")["value"].mean()
    assert similar.is_monotonic_increasing
    assert similar[11] == pytest.approx(1)
    profile = np.mean([rankdata(row) for row in neutral.scores.to_numpy()[0, 0]], axis=0)
    x = runs[1].scores.to_numpy()
    expected = [
        np.mean([spearmanr(x[s, c, p], profile).statistic for c in range(5) for p in range(10)]) for s in range(3)
    ]
    found = table[(table["what"] == "similarity to the neutral profile") & (table["n_messages"] == 3)]["value"]
    assert found.to_numpy() == pytest.approx(expected)
    stable = table[(table["what"] == "rank-order stability") & (table["n_messages"] == 3)]["value"]
    assert stable.to_numpy() == pytest.approx(runs[1].stability("rank_order").per_seed.to_numpy())


def test_order_towards_the_one_without_conversation():
    talked = synthetic.run("m", synthetic.scores(seeds=3, personas=8))
    alone = talked.scores.isel(context=[0]).assign_coords(context=["neutral"]) + 1.5
    neutral = synthetic.run("m", alone, n_messages=0)
    table = tables.neutral_order_table(Runs((talked, neutral)))
    found = table[table["what"] == "towards the neutral order"]["value"].to_numpy()
    x = talked.scores.to_numpy()
    expected = [
        np.mean([spearmanr(x[s, 0, :, k], x[s, c, :, k]).statistic for c in range(5) for k in range(10)])
        for s in range(3)
    ]
    assert found == pytest.approx(expected)
    with pytest.raises(ConfigError, match="need one with personas and conversation=none, there are 0"):
        tables.neutral_order_table(Runs((talked,)))


def test_runs_that_can_not_be_compared_are_named():
    small = {"seeds": 1, "contexts": 2, "personas": 3}
    one = synthetic.run("one", synthetic.scores(**small))
    longer = synthetic.run("two", synthetic.scores(**small), n_messages=7)
    with pytest.raises(ConfigError, match=r"differ in n_messages \(3: one; 7: two\)"):
        require_comparable(Runs((one, longer)))
    require_comparable(Runs((one, longer)), ["n_messages"])
    religion = synthetic.run("three", synthetic.scores(**small, keys=1), task="religion")
    with pytest.raises(ConfigError, match=r"differ in task \(pvq: one; religion: three\)"):
        require_comparable(Runs((one, religion)))
    elsewhere = one.scores.assign_coords(context=["joke", "chess"])
    with pytest.raises(ConfigError, match=r"differ in topics \(topic0, topic1: one; joke, chess: four\)"):
        require_comparable(Runs((one, synthetic.run("four", elsewhere))))


def with_names(run, **names):
    return replace(run, scores=run.scores.assign_coords({key: list(value) for key, value in names.items()}))


def test_runs_that_differ_only_in_digests_late_names_or_order_are_told_apart():
    one = synthetic.run("one", synthetic.scores(seeds=1, contexts=4, personas=5))
    with pytest.raises(ConfigError, match=r"differ in wording \(.*, digest 0: one; .*, digest 1f: two\)"):
        require_comparable(Runs((one, replace(one, label="two", digest="1f"))))
    people = with_names(one, persona="abcde")
    with pytest.raises(ConfigError, match=r"in personas \(3 alike, then d, e: one; 3 alike, then x, e: two\)"):
        require_comparable(Runs((people, replace(with_names(one, persona="abcxe"), label="two"))))
    fewer = replace(people, label="two", scores=people.scores.isel(persona=slice(3)))
    with pytest.raises(ConfigError, match=r"in personas \(3 alike, then d, e: one; 3 alike, then none: two\)"):
        require_comparable(Runs((people, fewer)))
    with pytest.raises(ConfigError, match=r"in topics \(1 alike, then t, u, v: one; 1 alike, then v, u, t: two\)"):
        require_comparable(
            Runs((with_names(one, context="stuv"), replace(with_names(one, context="svut"), label="two")))
        )
    # The third has nothing in common with the others, whose first three are the same.
    three = [replace(with_names(one, persona=names), label=names) for names in ("abcde", "abcdf", "vwxyz")]
    with pytest.raises(ConfigError, match=r"\(a, b, c, d, e: abcde; a, b, c, d, f: abcdf; v, w, x, y, z: vwxyz\)"):
        require_comparable(Runs(tuple(three)))


def test_two_runs_of_one_label_are_refused():
    one = synthetic.run("m", synthetic.scores(seeds=2, contexts=2, personas=3))
    other = with_names(one, seed=[10, 11])
    with pytest.raises(ConfigError, match=r"runs=m: there are 2 of this label \(seeds 0, 1; 10, 11\)"):
        require_unique(Runs((one, other)))
    longer = replace(other, n_messages=7)
    require_unique(Runs((one, longer)), ["n_messages"])
    with pytest.raises(ConfigError, match="there are 2 of this label"):
        require_unique(Runs((one, longer)))


def test_what_only_one_of_two_tasks_has_is_said_to_be_left_out():
    values = synthetic.scores(seeds=3, contexts=4, personas=6)
    pvq, coins = synthetic.run("m", values), synthetic.run("m", donations(values, 0.6), task="donation")
    assert tables.left_out_beside_behaviour(Runs((pvq, coins))) == {}
    fewer = replace(coins, scores=coins.scores.isel(seed=[0, 1], persona=slice(1, 5)))
    left_out = tables.left_out_beside_behaviour(Runs((pvq, fewer)))
    assert left_out == {"m": {"persona": 2, "seed": 1}}
    assert sentences.describe_left_out(left_out) == (
        "m: left out, since only one of the tasks has them: 2 people, 1 seed.",
    )
    # Without names all ten values are shown.
    table = tables.values_and_behaviour(Runs((pvq, fewer)), [])
    assert table["value"].unique().tolist() == pvq.scores["key"].to_numpy().tolist()
    assert len(tables.correlations_with_behaviour(Runs((pvq, fewer)), [])) == 10


def lines_of(*runs):
    figure = FigureConfig(name="fig6", kind="lines", title="Lines")
    return compare(Request(figure, Runs(runs), "rank_order", "zero", resamples=9))


def test_a_line_over_length_is_of_the_same_people():
    short = synthetic.run("m", synthetic.scores(seeds=1, contexts=3, personas=6))
    longer = replace(short, n_messages=7)
    assert len(lines_of(short, longer).tables["trends"]) == 1
    others = with_names(longer, persona="uvwxyz")
    with pytest.raises(ConfigError, match="differ in personas"):
        lines_of(short, others)
    # Different people are welcome on lines of their own.
    assert len(lines_of(short, longer, replace(others, label="other")).tables["fig6"]) == 3


def test_models_with_different_seeds_are_not_paired_by_seed():
    one = synthetic.run("one", synthetic.scores(seeds=2, contexts=3, personas=5))
    other = replace(with_names(one, seed=[10, 11]), label="other")
    for runs, paired in ((Runs((one, replace(one, label="other"))), True), (Runs((one, other)), False)):
        found = tables.paper_tests(runs, runs.samples())
        assert ("paper_paired_tests" in found) == paired
        said = sentences.describe_seeds(stabilities(runs, "rank_order", "zero", 9))
        different = "The models have different seeds (0, 1: one; 10, 11: other), so nothing is paired by seed."
        assert said == (() if paired else (different,))


def test_the_mean_over_pairs_of_contexts_counts_each_once():
    # Two seeds, three contexts, three people, one key. Spearman's rho of 123 with 132 is 1/2, of 123 with 321 -1, and
    # of 132 with 321 -1/2. The first seed has 123, 132, 321: (1/2 - 1 - 1/2) / 3 = -1/3. The second has 123 thrice: 1.
    orders = [[[1, 2, 3], [1, 3, 2], [3, 2, 1]], [[1, 2, 3]] * 3]
    run = replace(
        synthetic.run("m", synthetic.scores(seeds=2, contexts=3, personas=3, keys=1)),
        scores=labelled(np.array(orders)[..., None]),
    )
    figure = FigureConfig(name="fig10", kind="context_pairs", title="Pairs")
    found = compare(Request(figure, Runs((run,)), "rank_order", "zero", resamples=9)).tables["means"].iloc[0]
    assert found["mean"] == pytest.approx((-1 / 3 + 1) / 2)
    # The SD of two numbers is their difference over the square root of 2, its standard error half the difference.
    assert found["se"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["n"] == 2


def test_means_of_one_sample_have_no_error():
    table = tables.means(pd.DataFrame({"label": ["a"], "stability": [0.3]}), ["label"])
    assert table["mean"].tolist() == [0.3]
    assert table["se"].isna().all()
