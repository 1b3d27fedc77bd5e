"""Studies of any size and with any gaps: every kind of figure has a result or refuses it in one line, without a traceback."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import synthetic
from valstab.analysis.runs import Run, Runs
from valstab.compare.comparison import Request
from valstab.compare.figure_kinds import compare
from valstab.config.comparison import FigureConfig
from valstab.errors import ConfigError
from valstab.results.results import measure
from valstab.statistics.scores import score

KINDS = ("bars", "tests", "lines", "context_pairs", "components", "appraisal", "leaderboard")
LETTERS = "ABCDEF"


def a_run(
    label: str, values: np.ndarray, n_messages: int, *, without_personas: bool = False, task_name: str = "pvq"
) -> Run:
    """Return a run with these options (from 0, NaN: no answer) of one task; shape (seed, context, persona, item)."""
    small = synthetic.scores(seeds=1, contexts=1, personas=2, keys=1)
    task = synthetic.run(label, small, task=task_name).task
    values = values[..., : len(task.items)]
    sizes = values.shape[:3]
    names = [list(range(sizes[0])), [f"t{i}" for i in range(sizes[1])], [f"p{i}" for i in range(sizes[2])]]
    index = pd.MultiIndex.from_product(
        [*names, [item.number for item in task.items]], names=["seed", "context", "persona", "item"]
    )
    answers = index.to_frame(index=False)
    options = values.ravel()
    known = ~np.isnan(options)
    places = np.nan_to_num(options).astype(int)
    answers["letter"] = np.where(known, np.array(list(LETTERS))[places], None)
    answers["letters"] = LETTERS
    answers["score"] = np.where(known, np.array(task.scores, dtype=float)[places], np.nan)
    answers["answer_mass"] = 0.9
    answers["gender"] = answers["persona"].map({name: "FM"[i % 2] for i, name in enumerate(names[2])})
    return Run(
        id=f"{label}{n_messages}{task_name}{without_personas}",
        label=label,
        settings={"model.name": label, "population.name": "people", "max_new_tokens": "100"},
        task=task,
        digest="0",
        n_messages=n_messages,
        without_personas=without_personas,
        scores=score(answers, task),
        answers=answers,
    )


def options(draw, shape, items=40):
    """Draw options of this size (seed, context, persona) that are equal, constant or missing in places."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.integers(0, draw(st.integers(1, 6)), size=(*shape, items)).astype(float)
    values[rng.random(shape) < draw(st.sampled_from([0, 0.3, 1]))] = np.nan
    values[rng.random(values.shape) < draw(st.sampled_from([0, 0.5]))] = np.nan
    values[:, :, rng.random(shape[2]) < draw(st.sampled_from([0, 0.5]))] = draw(st.integers(0, 5))
    return values


def a_shape(draw):
    """Draw the numbers of seeds, contexts and personas."""
    return tuple(draw(st.integers(1, most)) for most in (2, 3, 6))


@st.composite
def studies(draw):
    """Draw runs of one size."""
    shape = a_shape(draw)
    without_personas = draw(st.booleans())
    runs = []
    for number in range(draw(st.integers(1, 2))):
        values = options(draw, shape)
        runs.append(
            a_run("same" if draw(st.booleans()) else f"m{number}", values, number, without_personas=without_personas)
        )
    return Runs(tuple(runs))


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=settings.default.max_examples)
@given(
    studies(), st.sampled_from(KINDS), st.sampled_from(["rank_order", "ipsative"]), st.sampled_from(["zero", "drop"])
)
def test_every_figure_ends_well(tmp_path_factory, runs, kind, name, undefined):
    labels = tmp_path_factory.mktemp("labels") / "labels.csv"
    pd.DataFrame({"name": ["p0", "p1"], "label": ["positive", "negative"]}).to_csv(labels, index=False)
    figure = FigureConfig(name="any", kind=kind, title="Any", labels=str(labels))
    if kind != "lines":
        runs = Runs(tuple(runs)[:1]) if len({run.n_messages for run in runs}) > 1 else runs
    try:
        found = compare(Request(figure, runs, name, undefined, resamples=19))
    except ConfigError:
        return
    assert "nan" not in " ".join(found.sentences)


@st.composite
def combinations(draw):
    """Draw a kind of figure that needs several kinds of run, and such runs, each of its own size."""
    kind = draw(st.sampled_from(["values_and_behaviour", "neutral_profile", "neutral_order"]))
    if kind == "values_and_behaviour":
        pvq = a_run("m", options(draw, a_shape(draw)), 3)
        return kind, Runs((pvq, a_run("m", options(draw, a_shape(draw), 100), 3, task_name="donation")))
    shape = a_shape(draw)
    talked = [a_run("m", options(draw, shape), n_messages) for n_messages in (1, 3)]
    alone = draw(st.integers(1, 2)), 1, draw(st.integers(1, 6)) if kind == "neutral_profile" else shape[2]
    return kind, Runs((*talked, a_run("m", options(draw, alone), 0, without_personas=kind == "neutral_profile")))


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=settings.default.max_examples)
@given(combinations(), st.sampled_from([[], ["Power", "Tradition"]]), st.sampled_from(["zero", "drop"]))
def test_every_figure_of_several_kinds_of_run_ends_well(combination, values, undefined):
    kind, runs = combination
    try:
        found = compare(
            Request(FigureConfig(name="any", kind=kind, title="Any", values=values), runs, "rank_order", undefined, 19)
        )
    except ConfigError:
        return
    assert "nan" not in " ".join(found.sentences)


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=settings.default.max_examples)
@given(studies(), st.sampled_from(["zero", "drop"]))
def test_every_run_has_a_headline(runs, undefined):
    for run in runs:
        results = measure(run.answers, run.task, undefined, without_personas=run.without_personas)
        numbers = results.headline()
        assert not any(number is not None and np.isnan(number) for number in numbers.values())
        for kind in ("rank_order", "ipsative"):
            low, high = numbers[f"{kind}_low"], numbers[f"{kind}_high"]
            assert (low is None) == (high is None)
            assert low is None or low <= numbers[kind] <= high
