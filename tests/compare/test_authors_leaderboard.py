"""The cardinal and ordinal boards of the authors' leaderboard, from runs of two questionnaires."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from tests.support.composed import compose_run
from valstab.analysis.runs import Run, Runs
from valstab.compare.comparison import Request
from valstab.compare.figure_kinds import compare
from valstab.config.compose import compose_comparison
from valstab.errors import ConfigError
from valstab.inputs.task import load_task
from valstab.statistics.scores import score
from valstab.statistics.structure import value_places

FIGURE = compose_comparison("figure=authors_leaderboard").figure
TASKS = {name: load_task(compose_run(f"task={name}").task) for name in ("pvq", "svs")}


def a_run(label, task="pvq", contexts=("chess", "joke"), *, taste=1.0, people=40, random=0, n_messages=3):
    """Return a run of people whose answers come from their place on the circle of values, times `taste`, and noise."""
    rng = np.random.default_rng([random, len(task)])
    of_task = TASKS[task]
    own = np.random.default_rng(99).normal(size=(people, 2))
    places = np.array([value_places().get(item.key, (0, 0)) for item in of_task.items])
    drawn = taste * own @ places.T + rng.normal(size=(len(contexts), people, len(places)))
    options = np.clip(np.round(drawn + 2.5), 0, len(of_task.scores) - 1).astype(int)
    index = pd.MultiIndex.from_product(
        [[0], contexts, [f"person{i}" for i in range(people)], [item.number for item in of_task.items]],
        names=["seed", "context", "persona", "item"],
    )
    answers = pd.DataFrame({"score": np.array(of_task.scores)[options].ravel()}, index=index).reset_index()
    return Run(
        id=f"{label} {task}",
        label=label,
        settings={"model.name": label},
        task=of_task,
        digest="0",
        n_messages=n_messages,
        without_personas=False,
        scores=score(answers, of_task),
        answers=answers,
    )


def board(*runs):
    return compare(Request(FIGURE, Runs(runs), "rank_order", "zero", 20))


@pytest.fixture(scope="module")
def found():
    """The boards of two models, each with two contexts of the PVQ and one of the SVS."""
    runs = []
    for number, (label, taste) in enumerate({"weak": 0.6, "strong": 1.5}.items()):
        runs += [
            a_run(label, taste=taste, random=number),
            a_run(label, "svs", ("none",), taste=taste, random=number, n_messages=0),
        ]
    return board(*runs)


def test_models_that_keep_their_values_stand_higher(found):
    table = found.tables["authors_leaderboard"]
    assert table["label"].tolist() == ["strong", "weak"]
    assert table["cardinal_rank"].tolist() == table["ordinal_rank"].tolist() == [1, 2]
    assert table["ordinal"].mean() == pytest.approx(0.5)
    assert table["not_fitted"].between(0, 1).all()
    cardinal, ordinal, beside = found.pictures["authors_leaderboard"].axes
    assert [text.get_text() for text in cardinal.get_yticklabels()] == ["strong", "weak"]
    assert ordinal.get_xlabel() == "ordinal board: mean win rate"
    assert len(beside.get_yticklabels()) == 2 + 8


def test_the_columns_are_those_of_the_authors(found):
    columns = found.tables["columns"].pivot_table(index="label", columns="column", values="value")
    contexts = ["chess", "joke", "svs: none"]
    pairs = [f"rank-order ({one}) ({other})" for one, other in combinations(contexts, 2)]
    structure = [f"{name} ({each})" for name in ("CFI", "1 - SRMR", "1 - RMSEA", "1 - stress") for each in contexts]
    assert sorted(columns) == sorted(pairs + structure)
    assert len(pairs) == 3
    table = found.tables["authors_leaderboard"].set_index("label")
    np.testing.assert_allclose(table["cardinal"].sort_index(), columns.mean(axis=1).sort_index())
    one_context = found.tables["structure"].query("label == 'weak' and context == 'joke'").iloc[0]
    assert columns.loc["weak", "1 - SRMR (joke)"] == pytest.approx(1 - one_context["srmr"])


def test_the_rank_order_columns_are_the_stability(found):
    run = a_run("weak", taste=0.6, random=0)
    columns = found.tables["columns"].set_index(["label", "column"])["value"]
    assert columns["weak", "rank-order (chess) (joke)"] == pytest.approx(run.stability("rank_order").mean)


def test_the_findings_say_what_the_boards_rest_on(found):
    text = " ".join(found.sentences)
    assert "15 columns of 2 models in 3 contexts: chess, joke, svs: none." in text
    assert "First on the cardinal board: strong" in text
    assert f"W = {found.numbers['diversity_w']:.2f}" in text
    assert "With 40 people (fewer than 200 people)" in text
    assert "factor models are not fitted, and count as the worst" in text


def test_what_the_authors_published_stands_beside(found):
    published = found.tables["published"].set_index("published by the authors")["rank_order"]
    assert len(published) == 8
    assert published["Llama-3.3-70B, reasoned text"] == 0.81


def test_too_few_people_have_no_structure():
    runs = [a_run(label, people=8, taste=taste) for label, taste in {"one": 1.0, "two": 0.0}.items()]
    found = board(*runs)
    assert found.tables["columns"]["column"].unique().tolist() == ["rank-order (chess) (joke)"]
    assert (
        "without the structure of values: one (chess: 8 people are fewer than the 29 parameters" in found.sentences[-1]
    )
    assert "cfi" not in found.tables["authors_leaderboard"]


def test_what_has_no_board():
    one = a_run("one", people=8)
    with pytest.raises(ConfigError, match="has the context chess in one pvq and in again"):
        board(one, replace(one, id="again"))
    with pytest.raises(ConfigError, match="have fewer than two contexts in common"):
        board(one, a_run("two", contexts=("joke", "chord"), people=8))
    with pytest.raises(ConfigError, match="need one with personas and the values"):
        board(replace(one, without_personas=True))
