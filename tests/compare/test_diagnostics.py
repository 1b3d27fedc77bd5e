"""Diagnostics of runs whose truth is known by construction: wordings of two genders, with and without personas."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from tests.support import synthetic
from tests.support.score_arrays import labelled
from valstab.analysis.runs import Runs
from valstab.compare.diagnostic_sentences import describe_diagnostics
from valstab.compare.diagnostics import diagnose
from valstab.statistics.stability import rank_order


def worded(scores, genders, **how):
    """A run with these scores, whose personas were asked with these wordings."""
    run = synthetic.run("m", scores, **how)
    answers = run.scores.assign_coords(key=range(1, run.scores.sizes["key"] + 1)).rename(key="item")
    table = answers.to_series().rename("score").reset_index()
    if genders is not None:
        table["gender"] = table["persona"].map(dict(zip(run.personas, genders, strict=True)))
    return replace(run, answers=table)


def repetitions(random, *, wording=1.0, noise=1.0, personas=20, contexts=4):
    """Scores without personas: a profile, another one for each gender, and noise. Topics do nothing."""
    rng = np.random.default_rng(random)
    profile = rng.normal(size=10) + np.sqrt(wording) * rng.normal(size=(2, 10))
    of_each = np.resize(profile, (personas, 10))
    return labelled(of_each + np.sqrt(noise) * rng.normal(size=(1, contexts, personas, 10)))


@pytest.mark.slow
def test_without_personas_only_equal_wordings_are_repetitions_of_each_other():
    genders = ["M", "F"] * 10
    rows = [
        diagnose(
            Runs((worded(repetitions(random), genders, population="none"),)), "ipsative", resamples=1
        ).stability.iloc[0]
        for random in range(12)
    ]
    corrected = np.array([row["corrected"] for row in rows])
    assert corrected.mean() == pytest.approx(1, abs=4 * corrected.std() / np.sqrt(12))
    assert corrected.std() < 0.1


@pytest.mark.parametrize("genders", [["M", "F", "M"], ["M", "M", "M"], None])
def test_a_wording_asked_once_has_no_repetition(genders):
    scores = repetitions(0, personas=3)
    run = worded(scores, genders, population="none")
    (ceiling,) = diagnose(Runs((run,)), "ipsative", resamples=1).stability["ceiling"]
    pairs = [(0, 2)] if genders == ["M", "F", "M"] else [(0, 1), (0, 2), (1, 2)]
    rank = rankdata(scores.isel(seed=0), axis=-1)
    expected = [np.corrcoef(rank[c, a], rank[c, b])[0, 1] for c in range(4) for a, b in pairs]
    assert ceiling == pytest.approx(np.mean(expected))


@pytest.mark.slow
def test_an_order_of_genders_alone_is_no_order_of_people():
    rng = np.random.default_rng(0)
    gender = np.array(["F"] * 5 + ["M"] * 10)
    shift = np.where(gender == "F", 4.0, 0.0)[:, None]
    scores = labelled(shift + rng.normal(size=(2, 3, 15, 10)))
    known, unknown = (
        diagnose(Runs((run,)), "rank_order", resamples=99) for run in (worded(scores, gender), worded(scores, None))
    )
    row = known.stability.iloc[0]
    within = [rank_order(scores.isel(persona=gender == one)).mean for one in "FM"]
    assert row["within_gender"] == pytest.approx((4 * within[0] + 9 * within[1]) / 13)
    assert row["p"] > 0.05 > unknown.stability["p"].item()
    said = describe_diagnostics(known, "rank-order stability")
    assert any(f"the same wording (he, she or they) it is {row['within_gender']:.3f}" in sentence for sentence in said)
    assert "within_gender" not in unknown.stability
