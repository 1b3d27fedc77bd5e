"""Wordings for people who are neither he nor she, and files that name genders in other words."""

import re

import pytest

from tests.support.composed import compose_run
from valstab.config.inputs import PopulationConfig
from valstab.errors import ConfigError
from valstab.inputs.genders import agree, read_gender, without_they
from valstab.inputs.population import load_population
from valstab.inputs.task import load_task
from valstab.protocol.ask import answers_key
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import make_plan

OWN = ("task.n_items=1", "task.key=trait", "task.keys=null", "task.text='{text}'", "task.description=null")


def own_task(folder, text, *settings, header="item,trait,text", before="1,a"):
    (folder / "own.csv").write_text(f'{header}\n{before},"{text}"\n', encoding="utf-8")
    return load_task(compose_run(f"task.items={folder / 'own.csv'}", *OWN, *settings).task)


def people(folder, text, introduction="{name}.", file="people.csv"):
    (folder / file).write_text(text, encoding="utf-8")
    return load_population(PopulationConfig(name="mine", personas=str(folder / file), introduction=introduction))


def test_people_of_any_gender(tmp_path):
    cells = {
        "F": "F",
        "f": "F",
        "Female": "F",
        "woman": "F",
        "m": "M",
        "MALE": "M",
        "X": "X",
        "Non-binary": "X",
        "": "X",
    }
    rows = "".join(f"{number},{cell}\n" for number, cell in enumerate(cells))
    for column in ("gender", "Sex"):
        assert [one.gender for one in people(tmp_path, f"name,{column}\n{rows}")] == list(cells.values())
    assert [one.gender for one in people(tmp_path, "name\nAda\nBo\n")] == ["X", "X"]
    assert read_gender("femal") is None


def test_people_without_names_are_labelled_by_row(tmp_path):
    lines = "".join(f"a sailor of {age}.\n" for age in range(30, 40))
    sailors = people(tmp_path, lines, None, "people.txt")
    assert [one.name for one in sailors] == [f"persona_{number:02}" for number in range(1, 11)]
    assert sailors[9].introduction == "a sailor of 39."
    assert not any(one.is_named for one in sailors)
    (judge,) = people(tmp_path, '{"persona": "a judge"}\n', "{persona}, retired.", "people.jsonl")
    assert (judge.name, judge.introduction, judge.is_named) == ("persona_1", "a judge, retired.", False)


@pytest.mark.parametrize("settings", [(), ("task=pvq_short", "task.items=portraits_short_paraphrased.csv")])
def test_portraits_with_they(settings):
    """No verb after they is in the form of he and she, and nothing else differs from the wording with he."""
    for item in load_task(compose_run(*settings).task).items:
        they, he = item.text["X"], item.text["M"]
        assert not re.search(r"\b(he|him|his|himself|she|her|herself)\b", they, re.IGNORECASE)
        assert not re.search(r"\bthey (is|has|was|does|\w+[^s\W]s)\b", they, re.IGNORECASE)
        to_he = {"they": "he", "them": "him", "their": "his", "themselves": "himself"}
        differing = {
            (a.lower(), b.lower())
            for a, b in zip(re.findall(r"\w+", they), re.findall(r"\w+", he), strict=True)
            if a != b
        }
        for new, old in differing:
            irregular = (new, old) in {("are", "is"), ("have", "has"), ("carry", "carries")}
            assert to_he.get(new) == old or old in {f"{new}s", f"{new}es"} or irregular
    portraits = load_task(compose_run().task).items
    assert portraits[7].text["X"] == (
        "They pick up litter on the beach and take the train to spare the climate. Every species, they feel, deserves "
        "clean water and room to live."
    )


@pytest.mark.parametrize(
    ("template", "place"),
    [
        ("{He} wants more.", "{He} wants"),
        ("{He} mustard.", "{He} mustard"),
        ("More than {he}.", "{he}"),
        ("{He}'s tall.", "{He}'s"),
        ("{He} {wants|want} what {he} never had.", "{he} never"),
        ("{He} {never wants|never want} it.", None),
        ("{He}{'s|'re} tall, and {he}'ll grow.", None),
        ("{He} would; {he} can’t; {he} cannot; {he} won't; {he} had to.", None),
        ("It suits {him} and {his} dog.", None),
    ],
)
def test_a_verb_without_a_form_for_they_is_found(template, place):
    assert without_they(["It rains.", template]) == place


def test_verbs_agree():
    assert [agree("{He} {is|are} as {he} {does|do}.", one) for one in ("F", "X")] == [
        "{He} is as {he} does.",
        "{He} are as {he} do.",
    ]


def test_a_wording_with_he_and_she_only_is_refused_for_others(tmp_path):
    own_task(tmp_path, "{He} wants more.")
    (tmp_path / "people.csv").write_text("name,gender\nAda,F\nBo,\n", encoding="utf-8")
    people, items = (
        f"{key}={tmp_path / file}" for key, file in (("population.personas", "people.csv"), ("task.items", "own.csv"))
    )
    settings = ("population.introduction='{name}.'", people, items, *OWN, "model=random")
    with pytest.raises(
        ConfigError, match=r"worded with he and she only, but Bo is neither F nor M.*item 1.*He wants more"
    ):
        make_plan(compose_run(*settings))
    assert len(make_plan(compose_run(*settings, "population.limit=1")).personas) == 1
    own_task(tmp_path, "I want more.")
    assert make_plan(compose_run(*settings)).task.items[0].text["X"] == "I want more."


def test_an_item_about_somebody_has_that_person_s_pronouns(tmp_path):
    header = "item,trait,gender,text"
    task = own_task(tmp_path, "{He} {asks|ask} for {his} coat.", header=header, before="1,a,x")
    assert set(task.items[0].text.values()) == {"They ask for their coat."}
    task = own_task(tmp_path, "{He} asks.", header=header, before="1,a,female")
    assert set(task.items[0].text.values()) == {"She asks."}
    task = own_task(tmp_path, "{He} {asks|ask}.", header=header, before="1,a,")
    assert task.items[0].text == {"F": "She asks.", "M": "He asks.", "X": "They ask."}
    with pytest.raises(ConfigError, match=r"item 1 has gender x, but \{He\} asks has no form for they"):
        own_task(tmp_path, "{He} asks.", header=header, before="1,a,x")


def test_answers_with_they_are_stored_under_that_wording(tmp_path):
    def keys(text, gender):
        own_task(tmp_path, text)
        (tmp_path / "people.csv").write_text(f"name,gender\nAda,{gender}\n", encoding="utf-8")
        files = f"population.personas={tmp_path / 'people.csv'}", f"task.items={tmp_path / 'own.csv'}"
        plan = make_plan(compose_run("population.introduction='{name}.'", *files, *OWN, "conversation=none"))
        return answers_key(plan, Conversation(plan.sessions[0], ()))

    assert keys("{He} {asks|ask}.", "F") == keys("{He} {asks|beg}.", "F") != keys("{He} {asks|ask}.", "X")
    assert keys("{He} {asks|ask}.", "X") != keys("{He} {asks|beg}.", "X")


def test_braces_in_a_column_that_no_text_uses_are_no_fields(tmp_path):
    task = own_task(tmp_path, "I wait.", header="item,trait,note,text", before="1,a,{see p. 3}")
    assert task.items[0].text["F"] == "I wait."
