"""Data files that come with valstab, and users' own files of the same kind."""

import csv
import json
import re

import pytest

from tests.support.composed import compose_run
from valstab.config.inputs import PopulationConfig, TopicsConfig
from valstab.errors import ConfigError
from valstab.inputs.files import DATA
from valstab.inputs.population import Persona, load_population
from valstab.inputs.task import load_task
from valstab.inputs.topics import NEUTRAL, load_contexts

# docs/protocol.md, Scores.
KEY = {
    "Conformity": [7, 16, 28, 36],
    "Tradition": [9, 20, 25, 38],
    "Benevolence": [12, 18, 27, 33],
    "Universalism": [3, 8, 19, 23, 29, 40],
    "Self-Direction": [1, 11, 22, 34],
    "Stimulation": [6, 15, 30],
    "Hedonism": [10, 26, 37],
    "Achievement": [4, 13, 24, 32],
    "Power": [2, 17, 39],
    "Security": [5, 14, 21, 31, 35],
}
LIKE_ME = ["Not like me at all", "Not like me", "A little like me", "Somewhat like me", "Like me", "Very much like me"]


def task(*overrides):
    return load_task(compose_run(*overrides).task)


def test_portraits_follow_the_scoring_key():
    pvq = task()
    assert {key: [item.number for item in pvq.items if item.key == key] for key in pvq.keys} == KEY
    assert pvq.scores == (1, 2, 3, 4, 5, 6)


def test_the_short_questionnaire_has_one_portrait_of_each_value():
    pvq, short = task(), task("task=pvq_short")
    known = {(item.key, item.text["F"], item.text["M"]) for item in pvq.items}
    assert {(item.key, item.text["F"], item.text["M"]) for item in short.items} <= known
    assert sorted(item.key for item in short.items) == sorted(pvq.keys)
    assert (short.keys, short.scores) == (pvq.keys, pvq.scores)
    assert [item.options for item in short.items] == [pvq.items[0].options] * 10
    assert pvq.centred


def words(text):
    return re.findall(r"\w+", text.lower())


@pytest.mark.parametrize(
    "settings",
    [
        ("task=pvq_short", "task.items=portraits_short_paraphrased.csv"),
        ("task=pvq_short_german",),
    ],
)
def test_other_wordings_of_the_short_questionnaire_measure_the_same_values(settings):
    short, other = task("task=pvq_short"), task(*settings)
    assert [(item.number, item.key) for item in other.items] == [(item.number, item.key) for item in short.items]
    assert (other.name, other.keys, other.scores, other.centred) == (short.name, short.keys, short.scores, True)
    assert other.digest != short.digest
    for one, same in zip(other.items, short.items, strict=True):
        assert len(set(one.text.values())) == 3
        triples = [
            set(zip(said, said[1:], said[2:], strict=False)) for said in (words(one.text["M"]), words(same.text["M"]))
        ]
        assert not triples[0] & triples[1]  # in other words
        assert all(len(re.findall(r"[.!?](?=\s|$)", text)) == 2 for text in one.text.values())


def test_german_portraits_have_pronouns_for_everybody():
    german = task("task=pvq_short_german")
    assert german.items[8].text == {
        "F": "Sie hat einen Beruf gewählt, in dem niemand ihr Arbeitszeit und Arbeitsweise vorschreibt. Den Lebensweg von "
        "anderen bestimmt zu bekommen wäre für sie wie ein Käfig.",
        "M": "Er hat einen Beruf gewählt, in dem niemand ihm Arbeitszeit und Arbeitsweise vorschreibt. Den Lebensweg von "
        "anderen bestimmt zu bekommen wäre für ihn wie ein Käfig.",
        "X": "Diese Person hat einen Beruf gewählt, in dem niemand ihr Arbeitszeit und Arbeitsweise vorschreibt. Den "
        "Lebensweg von anderen bestimmt zu bekommen wäre für sie wie ein Käfig.",
    }
    for item in german.items:
        assert re.search(r"\b(er|ihm|ihn|seine|seinen)\b", item.text["M"], re.IGNORECASE)
        for gender in ("F", "X"):
            assert not re.search(r"\b(er|ihm|ihn|seine|seinen)\b", item.text[gender], re.IGNORECASE)
        assert ["Person" in item.text[gender] for gender in "FMX"] == [False, False, True]
        assert len(set(item.options["F"])) == 6


@pytest.mark.parametrize("settings", [(), ("task=pvq_short", "task.items=portraits_short_paraphrased.csv")])
def test_portraits_are_two_sentences_in_both_genders(settings):
    for item in task(*settings).items:
        male, female = item.text["M"], item.text["F"]
        for text in (male, female):
            assert len(re.findall(r"[.!?](?=\s|$)", text)) == 2
            assert not set(text) & set("{}")
            assert list(item.options["F"]) == LIKE_ME
        assert re.search(r"\b(he|him|his)\b", male, re.IGNORECASE)
        assert not re.search(r"\b(she|her|herself)\b", male, re.IGNORECASE)
        assert re.search(r"\b(she|her)\b", female, re.IGNORECASE)
        assert not re.search(r"\b(he|him|his|himself)\b", female, re.IGNORECASE)


def test_donation_is_worded_as_in_the_paper():
    donation = task("task=donation")
    assert [key for key in donation.keys for item in donation.items if item.key == key] == [
        race for race in ("elf", "dwarf", "orc", "human", "hobbit") for _ in range(20)
    ]
    mirabella = donation.items[99]
    # The recipient's pronouns, not the persona's.
    assert set(mirabella.text.values()) == {
        "There is a poor hungry hobbit called Mirabella next to you. She asks you for some coins so that she can "
        "feed herself and her family. You have 10 silver coins in your pouch. How much do you give her?"
    }
    assert dict(zip(mirabella.options["M"], donation.scores, strict=True)) == {
        f"{coins} coins": coins for coins in (0, 2, 4, 6, 8, 10)
    }
    assert not donation.centred


def test_stealing_is_worded_as_in_the_paper():
    stealing = task("task=stealing")
    balcmeg = stealing.items[41]
    assert balcmeg.text["F"] == (
        "You have been on journey for one month, and have around a month left to reach your destination. You stop at "
        "a local inn and take a room. You find a lost bag under your bed. Upon inspecting the bag you see that it's "
        "filled with gold. You also find a name tag with the name of the forgetful orc called Balcmeg and him "
        "address. What do you do?"
    )
    assert balcmeg.options["F"] == (
        "Take all the gold for myself.",
        "Take the bag to the bartender, but take some of the gold for yourself.",
        "Take the bag to the bartender without taking anything out.",
        "If you can go to the the orc's address in less than a day, you take the bag there yourself. "
        "Otherwise you give it to the bartender.",
        "If you can go to the the orc's address in less than a week, you take the bag there yourself. "
        "Otherwise you give it to the bartender.",
        "If you can go to the the orc's address in less than a month, you take the bag there yourself. "
        "Otherwise you give it to the bartender.",
    )
    assert stealing.scores == (1, 2, 3, 4, 5, 6)


def test_religion_is_worded_as_in_the_paper():
    religion = task("task=religion")
    assert len(religion.items) == 5
    assert religion.items[3].text["M"] == (
        "You are creating your schedule, how much time do you choose to devote to reading holy texts?"
    )
    assert religion.items[0].options["M"] == (
        "None",
        "a few hours per year",
        "a few hours per month",
        "a few hours per week",
        "a few hours per day",
    )


def test_populations():
    fictional = load_population(compose_run().population)
    assert len(fictional) == 60
    assert fictional[0] == Persona("Gandalf", "M", "Gandalf from J. R. R. Tolkien's Middle-earth legendarium.")
    assert sum(persona.gender == "F" for persona in fictional) == 12
    real = load_population(compose_run("population=real_world_personas").population)
    assert len(real) == 50
    assert real[0] == Persona("Marilyn Monroe", "F", "Marilyn Monroe (1926 – 1962) American actress, singer, model.")
    nobody = load_population(compose_run("population=none").population)
    assert [persona.gender for persona in nobody].count("F") == 25
    assert {persona.introduction for persona in nobody} == {None}
    assert len({persona.name for persona in nobody}) == 50


def test_population_limit_takes_the_first():
    assert [p.name for p in load_population(compose_run("population.limit=3").population)] == [
        "Gandalf",
        "Gollum",
        "Sméagol",
    ]


def test_names_of_any_script_and_with_any_punctuation(tmp_path):
    names = ["Ωmega, the “last”", 'a "quoted" name', "O'Neil/Smith", "שלמה", "two\nlines", "Müller"]
    file = tmp_path / "people.csv"
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([["name", "gender"], *([name, "F"] for name in names)])
    people = load_population(PopulationConfig(name="mine", personas=str(file), introduction="{name}."))
    assert [person.name for person in people] == names


def test_an_introduction_with_an_unknown_field():
    with pytest.raises(ConfigError, match=r"\{job\} is unknown; allowed: name, gender"):
        load_population(compose_run("population.introduction='{name}, {job}.'").population)


def test_topics():
    five = load_contexts(compose_run().topics, 3)
    assert {context.name: context.opening for context in five} == {
        "poem": "Hello, let's write a poem together. You start by the first verse I'll add the second one, and so on.",
        "joke": "Tell me a joke.",
        "history": "What is the significance of the battle of Hastings. Answer in two sentences.",
        "chess": "1. e4",
        "grammar": "Can you check this sentence for grammar?\n"
        "Whilst Jane was waiting to meet hers friend their nose started bleeding.",
    }
    lengths = {c.name: len(c.opening or "") for c in load_contexts(compose_run("topics=extended").topics, 3)}
    assert len(lengths) == 14
    for name, length in (("year", 42), ("santa", 65), ("bicycle", 101), ("chord", 110)):
        assert lengths[name] == length
    for name, length in (("cooking", 880), ("weather", 1740), ("code", 3410), ("britney", 3510), ("bjj", 6800)):
        assert lengths[name] == pytest.approx(length, rel=0.02)


def test_without_messages_there_is_one_neutral_context():
    assert load_contexts(compose_run().topics, 0) == (NEUTRAL,)
    assert load_contexts(TopicsConfig(name="none"), 0) == (NEUTRAL,)


def published(folder, *, items=40, values=None):
    """Write a questionnaire in the layout of the published one, with other sentences."""
    (folder / "raw").mkdir(parents=True)
    (folder / "test").mkdir()
    for gender, pronoun in (("male", "He"), ("female", "She")):
        with (folder / "test" / f"pvq_{gender}_test.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [[f'{pronoun} likes the number {i + 1}, "truly".', *LIKE_ME, "undef"] for i in range(items)]
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    (folder / "raw" / "values.json").write_text(json.dumps({"_comment": "1-based", **(values or KEY)}))
    return folder


def test_the_published_wording_is_read_from_its_folder(tmp_path):
    pvq = task(f"task.items={published(tmp_path / 'data_pvq')}")
    assert {key: [item.number for item in pvq.items if item.key == key] for key in pvq.keys} == KEY
    assert pvq.items[6].text == {"M": 'He likes the number 7, "truly".', "F": 'She likes the number 7, "truly".'}
    assert list(pvq.items[6].options["M"]) == LIKE_ME
    assert pvq.wording == "data_pvq"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": 39}, "pvq_female_test.csv: has 39 items; allowed: 40"),
        ({"values": {**KEY, "Powr": KEY["Power"], "Power": []}}, "item 2 has unknown value Powr; did you mean Power?"),
        ({"values": {"Power": 3}}, "must map each value to item numbers"),
        ({"values": {**KEY, "Power": [2, 17]}}, r"item 39 has unknown value \(none\)"),
    ],
)
def test_a_published_folder_that_does_not_fit(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        task(f"task.items={published(tmp_path / 'data_pvq', **change)}")


def test_the_digest_tells_wordings_apart_but_not_files(tmp_path):
    own = task()
    again = tmp_path / "copy.csv"
    shipped = (DATA / "portraits.csv").read_text("utf-8")
    again.write_text(shipped.replace("\n", "\r\n"), encoding="utf-8")
    assert task(f"task.items={again}").digest == own.digest
    again.write_text(shipped.replace("thrills", "scares"), encoding="utf-8")
    assert task(f"task.items={again}").digest != own.digest


def test_headers_are_read_as_cells_are(tmp_path):
    rows = [f"{item}, b ,{'TRUE' if item == 2 else ''},M\n" for item in (1, 2)]
    file = tmp_path / "mine.csv"
    file.write_text("Item , trait,REVERSED,Gender\n" + "".join(rows), encoding="utf-8")
    settings = ("task.n_items=2", "task.key=Trait", "task.keys=null", "task.text='{he} is {Trait}'")
    read = task(f"task.items={file}", *settings)
    assert [item.reversed for item in read.items] == [False, True]
    assert [item.text["F"] for item in read.items] == ["he is b"] * 2
    assert read.keys == ("b",)


def test_a_blank_option_and_a_field_in_the_description_never_reach_a_model(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("item,trait,third\n1,a,Yes\n2,a, \n", encoding="utf-8")
    asked = task(
        f"task.items={file}",
        *("task.n_items=2", "task.key=trait", "task.keys=null", "task.text=x"),
        *("task.options=[No,Perhaps,'{third}']", "task.scores=[0,1,2]"),
    )
    assert [item.options["F"] for item in asked.items] == [("No", "Perhaps", "Yes"), ("No", "Perhaps")]
    settings = (f"task.items={file}", "task.n_items=2", "task.key=trait", "task.keys=null", "task.text=x")
    options = ("task.options=[No,'{third}',Perhaps]", "task.scores=[0,1,2]")
    with pytest.raises(ConfigError, match="item 2 has an option without a text"):
        task(*settings, *options)
    with pytest.raises(ConfigError, match=r"task\.description=\{him\}: is the same for everybody"):
        task("task.description='What is {him}?'")
