"""The direction of items in files with `reversed`, or with the signs of a published key."""

import pytest

from tests.support.composed import compose_run
from valstab.errors import ConfigError
from valstab.inputs.task import load_task


def directions(folder, text, key="label"):
    """Return which items of a file are reversed, by number."""
    (folder / "own.csv").write_text(text, encoding="utf-8")
    number = text.count("\n") - 1
    settings = f"task.n_items={number}", f"task.key={key}", "task.keys=null", "task.text=x"
    items = load_task(compose_run(f"task.items={folder / 'own.csv'}", *settings).task).items
    return {item.number: item.reversed for item in items}


@pytest.mark.parametrize(
    "text",
    [
        "item,label,reversed\n1,a,false\n2,a,TRUE\n3,b,\n",
        "label,keyed\na,+1\na,-1\nb,1\n",
        "label,keyed\na,+\na,-\nb,+\n",
        "label,key,text\na,1,x\na,-1,y\nb,1,z\n",
        "label;key;reversed\na;+1;false\na;\N{MINUS SIGN}1;true\nb;1;\n",
        "item,label,keyed\n3,b,1\n2,a,-1\n1,a,1\n",
    ],
)
def test_the_second_of_three_items_is_reversed(text, tmp_path):
    assert directions(tmp_path, text) == {1: False, 2: True, 3: False}


def test_a_column_with_the_scale_has_no_signs(tmp_path):
    assert directions(tmp_path, "key\n1\n-1\n", key="key") == {1: False, 2: False}
    assert directions(tmp_path, "label,key\na,-1\na,see note\n") == {1: False, 2: False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,keyed\na,yes\n", r"item 1 has keyed 'yes'; allowed: \+1, 1, \+, -1, -"),
        ("label,reversed\na,-1\n", "item 1 has reversed '-1'; allowed: true, false"),
        ("label,reversed,keyed\na,false,-1\n", "item 1 is reversed by one of reversed and keyed only"),
    ],
)
def test_a_direction_that_is_unclear(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        directions(tmp_path, text)
