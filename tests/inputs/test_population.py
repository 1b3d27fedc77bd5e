"""People from grids of columns and from files of descriptions."""

import json

import pytest

from tests.support.composed import compose_run
from tests.support.english import reply_prompt
from valstab.commands.own_files import use_own_files
from valstab.config.inputs import PopulationConfig
from valstab.errors import ConfigError
from valstab.inputs.population import Persona, load_population
from valstab.protocol.prompts import ChatFormat

GRID = {"age": [25, 65], "gender": ["woman", "man", "X"], "country": ["Kenya"]}


def people(grid, introduction="{age} {country} {gender}.", **settings):
    return load_population(PopulationConfig(name="grid", grid=grid, introduction=introduction, **settings))


def test_a_grid_is_all_combinations_of_its_columns():
    found = people(GRID, "a {gender} of {age} from {country}.")
    assert found[:3] == (
        Persona("25, woman, Kenya", "F", "a woman of 25 from Kenya.", is_named=False),
        Persona("25, man, Kenya", "M", "a man of 25 from Kenya.", is_named=False),
        Persona("25, X, Kenya", "X", "a X of 25 from Kenya.", is_named=False),
    )
    assert [person.name[:2] for person in found] == ["25"] * 3 + ["65"] * 3


def test_a_column_of_gender_may_select_the_wording_alone():
    assert [(each.gender, each.introduction) for each in people(GRID, "aged {age}, from {country}.")][1:4] == [
        ("M", "aged 25, from Kenya."),
        ("X", "aged 25, from Kenya."),
        ("F", "aged 65, from Kenya."),
    ]


def test_labels_of_a_grid_are_in_no_prompt():
    (first, *_) = load_population(compose_run("population=demographics").population)
    for texts, speaker in (["Tell me a joke."], "tested model"), (["Tell me a joke.", "No."], "interlocutor"):
        instruction = reply_prompt(ChatFormat.SYSTEM, first, texts).messages[0].text
        assert "a 25-year-old woman from Chile" in instruction, speaker
        assert first.name not in instruction, speaker


@pytest.mark.parametrize(
    ("grid", "introduction", "message"),
    [
        ({"age": [25, "25"]}, "{age}.", r"population\.grid\.age=\[25, '25'\]: must have each value only once"),
        ({"married": [True, False]}, "{married}.", 'write "yes" and "no" in quotes'),
        ({"age": [[1]]}, "{age}.", "needs texts or numbers"),
        ({"age": []}, "{age}.", "needs a column with values"),
        ({"age": [1, 2], "job": ["nurse"]}, "{age}.", r"must have \{job\}, or people who differ in it are the same"),
        ({"age": [1, 2]}, None, "needs a template such as"),
        ({"age": [1], "gender": ["neither"]}, "{age}.", "1, neither has gender 'neither'"),
    ],
)
def test_a_grid_that_is_no_population(grid, introduction, message):
    with pytest.raises(ConfigError, match=message):
        people(grid, introduction)


def test_a_grid_and_a_file_exclude_each_other():
    with pytest.raises(ConfigError, match=r"must be null with population\.grid"):
        people(GRID, personas="fictional_characters.csv")


def test_a_column_without_values_is_left_out():
    assert [each.name for each in people({"age": [1, 2], "country": []}, "{age}.")] == ["1", "2"]


def test_a_grid_on_the_command_line_replaces_the_characters():
    overrides = ["+population.grid.age=[1,2]", "population.introduction='{age}.'"]
    config = compose_run(*overrides)
    use_own_files(config, overrides, {"population": "fictional_characters"}, [])
    assert config.population.name == "grid"
    assert [each.introduction for each in load_population(config.population)] == ["1.", "2."]


@pytest.mark.parametrize("column", ["description", "persona"])
@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_files_of_descriptions_are_read_as_they_are(tmp_path, column, ending):
    told = ['a "sailor", 61,\nof few words', "eine Bäckerin"]
    objects = [json.dumps({column: text}, ensure_ascii=False) for text in told]
    quoted = ['"' + text.replace('"', '""') + '"' for text in told]
    texts = {"csv": "\n".join([column, *quoted]), "json": f"[{','.join(objects)}]", "jsonl": "\n".join(objects)}
    file = tmp_path / f"people.{ending}"
    file.write_text(texts[ending], encoding="utf-8")
    found = load_population(PopulationConfig(name="people", personas=str(file)))
    assert [each.introduction for each in found] == told
    assert [each.name for each in found] == ["persona_1", "persona_2"]
    assert not any(each.is_named for each in found)
