"""Any file or setting leads to a result, or to an error of one line that names it."""

import os
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from tests.robustness.inputs import LOADERS, tried, violation
from tests.support.composed import compose_run
from valstab.analysis.read import read_run
from valstab.commands.rescore import rescore
from valstab.config.explain import USER_ERRORS
from valstab.config.schema import RescoreConfig
from valstab.errors import ConfigError, one_line
from valstab.protocol.plan import make_plan

PAST_FAILURES = {
    "population": [
        "name,gender\n" + "a" * 200_000 + ",F\n",
        "name" + "x" * 200_000 + ",gender\nAda,F\n",
        'na"me,"gender\nAda,F\n',
        "name,name,gender\nAda,Bob,F\n",
        "name,gender\nA\0da,F\n",
        "\x1b[2J,\u202e\nAda,F\n",
    ],
    "items": ["item,religion,activity\n" + "9" * 5000 + ",a,b\n", "item,religion,activity\n\u00b2,a,b\n"],
    "topics": [
        "[" * 1_000,
        "joke: 2020-99-99\n",
        'joke: "\\ud800"\n',
        'joke: "\\0"\n',
        "joke: Hi\njoke: Ho\n",
        "'': Hi\n",
        "joke: ' '\n",
        "=: =\n",
        "? [a]\n: b\n",
        "a: &a [*a]\n",
    ],
    "published results": [
        '{"args": {"permute_options_seed": 1}, "simulated_population": ["A"], "per_simulated_participant_metrics": [{}],'
        ' "answers": [{"q": [["A", Infinity]]}]}',
        "[" * 100_000,
        '{"args": {"permute_options_seed": 1}, "simulated_population": ["A"], "per_simulated_participant_metrics": [],'
        ' "answers": [{"q": []}]}',
        '{"args": {"permute_options_seed": 1}, "simulated_population": [["A"]], "per_simulated_participant_metrics": [],'
        ' "answers": [{"q": [["A", 1.7], ["A", 1], ["A", 1], ["A", 1], ["A", 1]]}]}',
    ],
    "run: stability.json": ["[" * 100_000, "{}", "null", "NaN"],
    "run: config.yaml": ["a: [", "a: ${b", "- 1", ""],
    "command line": ["task=" + "t" * 300, "seeds=[" + "9" * 5000 + "]", "population.name=\udcff", "=", "+x=1"],
}
"""Inputs that once led to another outcome."""


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in PAST_FAILURES.items() for text in texts])
def test_past_failures(name, text, tmp_path):
    content = text.encode("utf-8", "surrogateescape")
    with pytest.raises((*USER_ERRORS, ValueError)):  # none of them is accepted silently
        LOADERS[name].load(tmp_path, content)
    assert violation(LOADERS[name], content) is None


@pytest.mark.parametrize("name", LOADERS)
def test_valid_input_is_read(name, tmp_path):
    for content in LOADERS[name].valid:
        LOADERS[name].load(tmp_path, content)


@pytest.mark.hypothesis  # so that CI tries more
@pytest.mark.parametrize("name", LOADERS)
def test_mutated_input(name):
    examples = settings.default.max_examples
    count, found = tried(LOADERS[name], examples)
    assert count >= examples
    assert found == {}


def test_the_search_sees_what_breaks_the_promise():
    class Broken:
        def load(self, folder, content):
            if b"name" not in content:
                raise LookupError("not told in one line")

    count, found = tried(LOADERS["population"]._replace(load=Broken().load), 100)
    assert count >= 100
    assert list(found) == ["LookupError: not told in one line"]


def test_a_pipe_or_a_device_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path / "pipe", "/dev/zero", "~nobody-of-this-name/x", "x" * 5000, "x\0y"):
        config = compose_run("model=random")
        config.population.personas = str(name)
        with pytest.raises(ConfigError, match=r"^population\.personas="):
            make_plan(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=[9223372036854775808]", "each must fit in 64 bits"),
        ("n_messages=1000000001", "must be at most 1,000,000"),
        ("engine.timeout=inf", "must be above 0"),
        ("engine.url='http://[::1'", "must be an address"),
        ("engine.url=http://localhost:port/v1", "must be an address"),
        ("task.scores=[1,2,3,4,5,1e300]", "must be finite numbers, of 1e+09 at most"),
        ("task.keys=[Power,Power]", "needs at least one key, each only once"),
    ],
)
def test_settings_that_no_run_survives(override, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_plan(compose_run("model=random", "engine=openai", override))


def answers(**columns):
    places = [(s, c, p, i) for s in (0, 1) for c in ("a", "b") for p in ("x", "y", "z") for i in range(1, 6)]
    table = pd.DataFrame(places, columns=["seed", "context", "persona", "item"])
    return table.assign(**{"score": np.arange(len(table)) % 6 + 1.0, **columns})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (answers(persona=[["x"]] * 60), "has list<element: string> in the column persona, which must be text"),
        (answers(score="1"), "in the column score, which must be numbers"),
        (answers(item=1.5), "in the column item, which must be whole numbers"),
        (answers(score=1e300), "of 1e+09 at most"),
        (answers(score=np.inf), "of 1e+09 at most"),
        (answers(seed=range(60), persona=[str(i) for i in range(60)]), "has 60 of the 36,000 answers"),
        (answers().drop(columns="item"), "lacks the column item"),
    ],
)
def test_saved_answers_that_are_of_another_kind(table, message, tmp_path):
    table.to_parquet(tmp_path / "a.parquet", index=False)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        rescore(RescoreConfig(answers=str(tmp_path / "a.parquet"), task=compose_run("task=religion").task))
    assert str(caught.value).startswith("answers=")


def test_a_run_s_folder_that_is_damaged_is_named(tmp_path):
    with pytest.raises(ConfigError, match=f"^folders={re.escape(str(tmp_path))}: is not the results of a run"):
        read_run(tmp_path)


def test_messages_can_be_printed_anywhere():
    assert one_line("a\n  b \x1b[2J \ud800 \u202e") == "a b \\x1b[2J \\ud800 \\u202e"
    assert len(one_line("x" * 10_000)) < 2_100
