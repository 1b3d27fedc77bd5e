"""What is said of an argument that Hydra can't read: what to type instead, as a shell and Hydra read it."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.support.composed import compose_run
from valstab.config.explain import USER_ERRORS, explain
from valstab.config.quoting import take_verbatim


def answered(argument):
    with pytest.raises(USER_ERRORS) as caught:
        compose_run(argument)
    return explain(caught.value, [argument])


def read_back(line):
    """Return the value of what a line says to type."""
    _, _, typed = line.partition("can't be read without quotes; type ")
    (argument,) = shlex.split(typed)
    override = OverridesParser.create().parse_override(argument)
    return override.key_or_group, override.value()


@pytest.mark.parametrize(
    "text",
    [
        *("a#b", "O'Brien", "a=b", "日本", "Sméagol", "a;b", "f(x)", "{job}", "{name}, a sailor.", "<x>", "x!"),
        *('say "so"', "'x'y", 'it\'s "so"', "$x#'", "http://host/?a=b&c=d"),
    ],
)
def test_a_text_that_needs_quotes_is_shown_in_them(text):
    line = answered(f"model.name={text}")
    assert line.startswith(f"model.name={text}: can't be read without quotes; type ")
    assert read_back(line) == ("model.name", text)


@pytest.mark.parametrize(
    "text",
    ["params.task = 'pvq' and metrics.rank_order > 0.1", 'x LIKE "a,b%"', "a\\", 'a\\"b', "params.`x.y` = '$x'", ""],
)
def test_a_filter_reaches_hydra_as_it_is_typed(text):
    override = OverridesParser.create().parse_override(take_verbatim(f"filter={text}", "filter"))
    assert (override.key_or_group, override.value()) == ("filter", text)


@pytest.mark.parametrize("argument", ["filter=null", """filter="params.task = 'pvq'\"""", "filters=a b", "filter"])
def test_quotes_for_hydra_null_and_other_settings_stay(argument):
    assert take_verbatim(argument, "filter") == argument


def test_texts_of_a_list_get_the_quotes():
    assert read_back(answered('topics.names=[日本, joke,"a, b",é]')) == ("topics.names", ["日本", "joke", "a, b", "é"])
    assert answered("model.name=a#b").endswith("""; type 'model.name="a#b"'""")


@pytest.mark.parametrize(
    ("argument", "mark"),
    [("seeds=[0,1", "["), ('model.name="abc', '"'), ("model.name='tis", "'"), ("model={a: 1", "{")],
)
def test_only_what_was_opened_is_said_to_be_never_closed(argument, mark):
    assert answered(argument) == f"{argument}: {mark} is never closed"


@pytest.mark.parametrize("argument", ["日本=3", "model.template={a: é}", 'model.name=x\\"#'])
def test_other_arguments_get_the_rule(argument):
    assert answered(argument) == (
        f"{argument}: can't be read as KEY=VALUE; a text with special characters needs quotes: 'KEY=\"a (b)\"'"
    )


@pytest.mark.parametrize("argument", ["figure", "model:random"])
def test_what_has_no_value_is_told_so(argument):
    assert answered(argument) == f"{argument}: has no value; settings are KEY=VALUE"


def test_a_secret_is_not_in_the_advice(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", 'secret"#word')
    assert "word" not in answered('model.name=secret"#word')
