"""Judges of the same answers, and what a model does beside what it says of itself."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.support import synthetic
from valstab.analysis.run_labels import with_unique_labels
from valstab.analysis.runs import Runs
from valstab.compare.comparison import Request
from valstab.compare.figure_kinds import compare
from valstab.compare.judges import weighted_kappa
from valstab.config.compose import compose_comparison
from valstab.errors import ConfigError

SIZES = {"seed": 1, "context": 3, "persona": 12, "item": 10}
SHAPE = tuple(SIZES.values())


def compared(figure, *runs):
    config = compose_comparison(f"figure={figure}").figure
    return compare(Request(config, Runs(tuple(with_unique_labels(runs))), "rank_order", "zero", 20))


def judged(name, ratings, said="answer"):
    """Return a run whose answers a judge has rated."""
    labels = pd.MultiIndex.from_product([range(size) for size in SIZES.values()], names=list(SIZES))
    answers = pd.DataFrame({"score": ratings.ravel()}, index=labels).reset_index()
    answers["item"] += 1
    answers["open_answer"] = [f"{said} {number}" for number in range(len(answers))]
    values = synthetic.scores(seeds=1, contexts=3, personas=12, keys=10)
    run = synthetic.run("m", values, task="dilemmas")
    settings = {**run.settings, "judge.name": name, "task.rubric": "dilemmas_rubric.yaml"}
    return replace(run, id=name, settings=settings, answers=answers)


@pytest.fixture(scope="module")
def ratings():
    return np.random.default_rng(0).integers(1, 6, SHAPE).astype(float)


def test_judges_agree_wholly_partly_and_by_chance(ratings):
    rng = np.random.default_rng(1)
    some = np.where(rng.random(SHAPE) < 0.7, ratings, rng.integers(1, 6, SHAPE))
    dice = rng.integers(1, 6, SHAPE).astype(float)
    judges = {"first": ratings, "same": ratings, "some": some, "dice": dice}
    found = compared("judges", *(judged(name, each) for name, each in judges.items()))
    table = found.tables["judges"].set_index("label")
    whole, partly, chance = (
        table.loc[f"m judged by first and m judged by {name}"] for name in ("same", "some", "dice")
    )
    assert (whole["mean"], whole["kappa"], whole["same"], whole["difference"]) == (1, 1, 1, 0)
    assert partly["low"] < 0.7 < partly["high"]
    assert partly["same"] == pytest.approx((ratings == some).mean())
    assert partly["difference"] == pytest.approx((some - ratings).mean())
    assert partly["p_adjusted"] < 0.001
    assert chance["low"] < 0 < chance["high"]
    assert abs(chance["mean"]) < 3 / np.sqrt(ratings.size)
    assert "all 4 judges of m" in table.index
    assert len(table) == 7
    assert (table["n"] == ratings.size).all()
    assert len(found.tables["keys"]) == 6 * 10
    assert found.sentences[0] == (
        "m judged by first and m judged by same: alpha 1.000; 100% of 360 ratings are equal, kappa 1.00."
    )


def test_kappa_by_hand():
    # Squares: 0, 1, 0, 1. Those of each of 1, 1, 2, 3 with all of 1, 2, 2, 2: 3, 3, 1, 7, a quarter of which is expected.
    assert weighted_kappa(np.array([[1.0, 1, 2, 3], [1, 2, 2, 2]])) == pytest.approx(1 - 2 / (14 / 4))


def test_runs_that_no_other_judge_has_rated_are_left_out(ratings):
    pvq = synthetic.run("m", synthetic.scores(seeds=1, contexts=3, personas=12, keys=10))
    alone = replace(judged("third", ratings), digest="another rubric")
    found = compared("judges", pvq, judged("one", ratings), alone, judged("other", ratings))
    assert found.tables["judges"]["label"].tolist() == ["m judged by one and m judged by other"]


def test_only_judges_of_the_same_answers_are_compared(ratings):
    with pytest.raises(ConfigError, match="need two judges of the same answers"):
        compared("judges", judged("one", ratings), judged("other", ratings, "another answer"))
    with pytest.raises(ConfigError, match="need two judges of the same answers"):
        compared("judges", synthetic.run("m", synthetic.scores(seeds=1, contexts=3, personas=12)))


def test_unread_ratings_are_left_out(ratings):
    unread = ratings.copy()
    unread[0, 0, :3] = np.nan
    row = compared("judges", judged("one", ratings), judged("other", unread)).tables["judges"].iloc[0]
    assert (row["mean"], row["same"], row["n"]) == (1, 1, ratings.size)


def test_each_value_is_set_beside_what_is_done_on_it():
    says = synthetic.scores(persona=0, noise=1, seeds=2, personas=12, contexts=3)
    does = says.copy(data=np.where(np.arange(10) < 5, says, -says))
    pvq, dilemmas = synthetic.run("m", says), synthetic.run("m", does, task="dilemmas")
    table = compared("says_and_does", pvq, replace(dilemmas, scores=dilemmas.scores.isel(key=slice(None, None, -1))))
    means = table.tables["says_and_does"].set_index("value")["mean"]
    assert means.tolist() == pytest.approx([1] * 5 + [-1] * 5)
    assert list(means.index) == list(pvq.task.keys)
    assert "expected to go with giving" not in table.sentences[-1]


def test_each_judge_s_ratings_are_set_beside_the_one_questionnaire(ratings):
    pvq = synthetic.run("m", synthetic.scores(seeds=1, contexts=3, personas=12, keys=10))
    found = compared("says_and_does", pvq, judged("one", ratings), judged("other", ratings))
    assert set(found.tables["says_and_does"]["label"]) == {"m judged by one", "m judged by other"}
