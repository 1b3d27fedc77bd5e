"""Openings of a user's own: for everybody, for each persona, dealt out, and contexts without conversation."""

import json

import pytest

from valstab.config.inputs import TopicsConfig
from valstab.errors import ConfigError
from valstab.inputs.population import Persona
from valstab.inputs.topics import load_contexts

PEOPLE = [Persona(name, "M", f"{name}.") for name in ("Gandalf", "Gollum", "Sméagol")]


def contexts(openings="openings.yaml", **settings):
    config = TopicsConfig("mine", str(openings), **settings)
    return {each.name: each for each in load_contexts(config, 3, PEOPLE)}


def told(context):
    return [context.opening_for(name) for name in ("Gandalf", "Gollum", "Sméagol")]


def test_a_mapping_may_have_an_opening_for_each_persona(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "fish:\n  Gollum: Raw?\n  Sméagol: Cooked?\n  Gandalf: Smoked?\n  Sauron: No?\njoke: Tell me one.\n"
    )
    found = contexts(file)
    assert told(found["fish"]) == ["Smoked?", "Raw?", "Cooked?"]
    assert "Sauron" not in found["fish"].own_openings
    assert told(found["joke"]) == ["Tell me one."] * 3
    assert not found["joke"].own_openings


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_a_table_has_rows_for_personas_for_the_others_and_to_be_dealt_out(tmp_path, form):
    rows = [
        ("a", "Gollum", "Hello, Gollum."),
        ("a", "", "Hello."),
        ("b", "", "One."),
        ("b", "Gollum", "Two,\nwith a line break."),
        ("b", "", "Three."),
        ("b", "", "Nobody's."),
    ]
    objects = [dict(zip(("topic", "persona", "text"), row, strict=True)) for row in rows]
    file = tmp_path / f"posts.{form}"
    if form == "csv":
        lines = [",".join(f'"{cell}"' for cell in row) for row in [("topic", "persona", "text"), *rows]]
    else:
        lines = [json.dumps(each) for each in objects]
    file.write_text(json.dumps(objects) if form == "json" else "\n".join(lines), encoding="utf-8")
    found = contexts(file)
    assert told(found["a"]) == ["Hello.", "Hello, Gollum.", "Hello."]
    assert told(found["b"]) == ["One.", "Two,\nwith a line break.", "Three."]


def test_posts_add_topics_or_replace_them(tmp_path):
    file = tmp_path / "posts.jsonl"
    file.write_text('{"topic": "joke", "text": "Ha."}\n{"topic": "mine", "text": "Oh."}\n')
    found = contexts(posts=str(file))
    assert (found["joke"].opening, found["mine"].opening, found["chess"].opening) == ("Ha.", "Oh.", "1. e4")


def test_a_context_without_conversation_stands_among_topics():
    found = contexts(names=["joke"], neutral="straight_away")
    assert list(found) == ["straight_away", "joke"]
    assert told(found["straight_away"]) == [None] * 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "topic,persona,text\na,Gandalf,Hi.\n", "has no opening for Gollum and 1 more"),
        ("a.csv", "topic,text\na,One.\na,Two.\n", "has no opening for Sméagol"),
        ("a.csv", "topic,persona,text\na,Gollum,Hi.\na,Gollum,Ho.\n", "has two openings of Gollum on a"),
        ("a.csv", "topic,text\na,\n", "without a text"),
        ("a.csv", "topic,content\na,Hi.\n", "lacks the column text"),
        ("a.yaml", "a: {}\n", "must map each topic's name"),
        ("a.yaml", "a: {Gollum: [1]}\n", "must map each topic's name"),
    ],
)
def test_openings_that_do_not_fit(tmp_path, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        contexts(tmp_path / name)


def test_the_neutral_context_needs_a_name_of_its_own():
    with pytest.raises(ConfigError, match=r"topics\.neutral=joke: must be another name"):
        contexts(neutral="joke")
