"""The methods of a sweep in words: the first run's, what varied, and what other runs say otherwise."""

import pandas as pd

from valstab.sweeps.methods import study_methods, table_of_runs
from valstab.sweeps.table import METRIC_COLUMNS

BASE = "# Methods\n\nWe measured the model x. It was asked in order.\n\nScores are raw.\n\n# Results\n\nNone.\n\n# Reference\n\nA paper.\n"


def jobs(**settings):
    """Return a table of finished jobs that differ in settings."""
    number = len(next(iter(settings.values())))
    numbers = {name: [0.5] * number for name in METRIC_COLUMNS}
    fixed = {"job": range(number), "name": "run", "status": "FINISHED"}
    return pd.DataFrame({**fixed, **settings, **numbers})


def test_the_first_run_is_described_and_the_others_by_what_differs():
    other = BASE.replace("in order", "at random")
    text = study_methods({0: BASE, 1: other, 2: BASE}, jobs(option_order=["fixed", "random", "fixed"]))
    assert text.split("\n\n") == [
        "# Methods",
        "We measured the model x. It was asked in order.",
        "Scores are raw.",
        "This describes the first of 3 runs. They differ in option_order (fixed, random).",
        "# The other runs",
        "What differs is said of each; the rest is as above.",
        "Of random: It was asked at random.",
        "# Reference",
        "A paper.\n",
    ]


def test_axes_are_one_at_a_time_or_crossed():
    one = jobs(**{"levels.a": ["x", "y", "x"], "levels.b": ["1", "1", "2"], "task": ["pvq", "pvq", "pvq"]})
    said = study_methods({0: BASE}, one)
    assert "2 axes besides the topic: a (x, y); b (1, 2). The first level of each is the base" in said
    assert "run by itself, for each of task (pvq)" in said
    crossed = jobs(**{"levels.a": ["x", "y", "x", "y"], "levels.b": ["1", "1", "2", "2"]})
    assert "All combinations of levels were run." in study_methods({0: BASE}, crossed)


def test_runs_that_did_not_finish_are_counted():
    table = jobs(seeds=["[0]", "[1]"]).assign(status=["FINISHED", "FAILED"])
    assert "the first of 2 runs. 1 of them finished." in study_methods({0: BASE}, table)


def test_the_table_has_what_varied_and_the_stabilities():
    assert table_of_runs(jobs(model=["a_b", "c"])).splitlines()[4].startswith(r"0 & a\_b & $0.500$ & $0.500$")
