"""Which runs a figure uses, and which pairs it tests."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.support import synthetic
from valstab.analysis.runs import Runs
from valstab.compare.comparison import Request
from valstab.compare.figure_kinds import compare
from valstab.compare.sentences import only_among_these
from valstab.config.compose import compose_comparison
from valstab.errors import ConfigError

FEW_SCORES = {"seeds": 2, "contexts": 3, "personas": 6, "keys": 3}


def compared(figure, *runs):
    config = compose_comparison(f"figure={figure}").figure
    return compare(Request(config, Runs(runs), "rank_order", "zero", 20))


def test_fig15_tests_each_model_against_itself_alone():
    runs = []
    for number, model in enumerate(("llama_7b", "llama_13b", "llama_70b")):
        for way in ("sys", "no_sys"):
            made = synthetic.run(f"{model} {way}", synthetic.scores(random=number, **FEW_SCORES))
            runs.append(replace(made, settings={**made.settings, "model.name": model}))
    found = compared("fig15", *runs)
    asked = [(f"{model} sys", f"{model} no_sys") for model in ("llama_7b", "llama_13b", "llama_70b")]
    for name in ("tests", "paper_tests", "paper_paired_tests"):
        assert list(found.tables[name][["one", "other"]].itertuples(index=False, name=None)) == asked
    assert found.tables["tests"]["difference"].tolist() == [0, 0, 0]
    assert "group" not in found.tables["fig15"]
    assert list(found.pictures) == ["fig15"]
    assert found.sentences[0].startswith("llama_7b sys less llama_7b no_sys: 0.000")
    assert "0 of 3 pairs of models differ" in found.sentences[3]


def test_runs_without_conversation_are_left_out_where_topics_are_compared():
    talked = synthetic.run("model", synthetic.scores(**FEW_SCORES))
    silent = synthetic.run("model", talked.scores.isel(context=[0]), n_messages=0)
    found = compared("lines", silent, talked)
    assert found.tables["lines"]["n_messages"].tolist() == [3]
    assert found.sentences[-1] == (
        "Left out, without a rank-order stability (it needs several personas and two contexts): model (n=0)."
    )
    with pytest.raises(ConfigError, match=r"runs=\(1\): have no rank-order stability: it needs several personas"):
        compared("bars", silent)
    with pytest.raises(ConfigError, match="have no stability: it is between topics, it needs several personas"):
        compared("leaderboard", silent)


def test_another_measure_has_its_own_title_and_none_of_the_human_numbers():
    runs = [synthetic.run(name, synthetic.scores(random=number, **FEW_SCORES)) for number, name in enumerate("ab")]
    for measure, title, n_references in (("rank_order", "Rank-order", 2), ("ipsative", "Ipsative", 0)):
        figure = compose_comparison("figure=fig4a", f"figure.measure={measure}").figure
        request = Request(figure, Runs(tuple(runs)), measure, "zero", 20)
        assert figure.title == f"{title} stability, fictional characters (Fig. 4a)"
        assert len([each for each in compare(request).sentences if each.startswith("Beside the 0.")]) == n_references


@pytest.mark.parametrize(("low", "high", "limited"), [(0.1, 0.5, False), (-0.2, 0.6, True), (np.nan, np.nan, False)])
def test_more_than_chance_is_said_of_those_who_were_asked_where_the_interval_reaches_0(low, high, limited):
    said = only_among_these(pd.Series({"low": low, "high": high}))
    assert said == (
        " among those who were asked (for others nothing is shown: the interval reaches 0)" if limited else ""
    )
