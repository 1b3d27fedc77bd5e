"""Tables in the forms that people have them in, and what is said of those that can't be read."""

from pathlib import Path

import pytest

from valstab.errors import ConfigError
from valstab.inputs.tables import read_table

ADA_AND_BO = [{"name": "Ada, of Ely", "age": "34"}, {"name": "Bo", "age": ""}]


def read(folder: Path, name, text, **columns):
    (folder / name).write_text(text, encoding="utf-8")
    return read_table("population.personas", folder / name, **columns)


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("a.csv", 'name,age\n"Ada, of Ely",34\nBo,\n', "CSV with commas"),
        ("a.csv", "Name;age\r\nAda, of Ely;34\r\nBo;\r\n;\r\n", "CSV with semicolons"),
        ("a.tsv", "name\tage\nAda, of Ely\t34\nBo\t\n\n  \n", "CSV with tabs"),
        ("a.csv", ',name,,age,\n0,"Ada, of Ely",,34,\n1,Bo,,,\n,,,,\n', "CSV with commas"),
        ("a.json", '[{"name": "Ada, of Ely", "age": 34}, {"name": "Bo"}]', "JSON objects"),
        ("a.JSON", '\n[{"name": "Ada, of Ely", "age": "34"}, {"name": " Bo ", "age": null}]\n', "JSON objects"),
        ("a.jsonl", '{"name": "Ada, of Ely", "age": 34}\n\n{"age": null, "name": "Bo"}\n', "JSON objects"),
    ],
)
def test_a_table_in_each_form(name, text, form, tmp_path):
    table = read(tmp_path, name, text, optional=("name",))
    assert table.rows == ADA_AND_BO
    assert table.describe() == f"{form}: 2 rows of name, age"


def test_text_is_a_description_on_each_line(tmp_path):
    table = read(tmp_path, "a.txt", "a sailor, retired\n\n  a judge; no more\n")
    assert table.rows == [{"description": "a sailor, retired"}, {"description": "a judge; no more"}]
    assert table.describe() == "lines with a description each: 2 rows of description"


def test_a_header_with_no_known_name_is_cut_where_it_gives_most_columns(tmp_path):
    assert read(tmp_path, "a.csv", "who;how old\nAda;34,5\n").rows == [{"who": "Ada", "how old": "34,5"}]
    assert read(tmp_path, "a.csv", "who\nAda; Bo\n").rows == [{"who": "Ada; Bo"}]


def test_values_of_objects_become_text_as_json_writes_them(tmp_path):
    row = '{"a": true, "b": -1, "c": ["x", "é"], "d": "\\ud83e\\uddd9"}'
    assert read(tmp_path, "a.json", f"[{row}]").rows == [{"a": "true", "b": "-1", "c": '["x", "é"]', "d": "🧙"}]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"name": "Ada"}\n{"name": \n', "line 2 is not valid JSON"),
        ("a.json", '[{"name": "Ada"}, "Bo"]', "must have objects only"),
        ("a.json", '"Ada"', "must have objects only"),
        ("a.json", "[" * 100_000, "is not valid JSON"),
        ("a.json", '[{"name": ' + "9" * 5000 + "}]", "is not valid JSON"),
        ("a.json", '[{"name": "\\ud800"}]', "must be Unicode text"),
        ("a.json", "[]", "has no column with a name; it has none"),
        ("a.json", '[{"Name": "Ada", "name": "Bo"}]', "has the column name twice"),
        ("a.csv", ",,\n1,2,3\n", "has no column with a name; it has none"),
        ("a.csv", "name,age\n,\n", "has no rows"),
        ("a.csv", "name,age\nAda,1,2\n", "line 2 must have 2 cells (name, age); it has 3"),
        ("a.csv", "names,age\nAda,1\n", "has the column names: call it name, or something else if it is not that"),
        ("a.txt", "\n \n", "has no rows"),
    ],
)
def test_a_table_that_can_not_be_read(name, text, message, tmp_path):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, name, text, optional=("name",))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"population.personas={tmp_path}/{name}: ")
