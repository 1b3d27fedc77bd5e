"""Inventories that come with valstab: a person's answers, scored by hand from the published keys."""

import csv
import re

import pandas as pd
import pytest

from tests.support.composed import compose_run
from valstab.errors import ConfigError
from valstab.inputs.files import DATA
from valstab.inputs.task import load_task
from valstab.statistics.scores import score


def load(*overrides):
    return load_task(compose_run(*overrides).task)


def scored(task, chosen):
    """Return the scores of a person who chooses option `chosen(item)`, counted from 1, of each item."""
    rows = [(0, "joke", "Ada", item.number, task.scores_of(item)[chosen(item.number) - 1] * 1.0) for item in task.items]
    answers = pd.DataFrame(rows, columns=["seed", "context", "persona", "item", "score"])
    found = score(answers, task).isel(seed=0, context=0, persona=0)
    return dict(zip(found["key"].to_numpy().tolist(), found.to_numpy().tolist(), strict=True))


def in_quarters(item):
    """Choose 5, 4, 2 and 1 in the four rounds of 30 items, each of which has every facet of IPIP-NEO-120 once."""
    return (5, 4, 2, 1)[(item - 1) // 30]


@pytest.mark.parametrize("language", ["", "_german", "_swedish"])
def test_a_person_s_domains_of_ipip_neo_120(language):
    # The six facets of each domain, by hand, are in the next test: their means are the domains.
    found = scored(load(f"task=ipip_neo_120{language}"), in_quarters)
    assert found == {
        "Neuroticism": pytest.approx((3 + 4 + 4 + 4 + 4 + 4) / 6),
        "Extraversion": pytest.approx((4.5 + 4.5 + 4 + 4 + 3 + 3) / 6),
        "Openness": pytest.approx((3 + 4.5 + 4.5 + 4 + 4 + 4.5) / 6),
        "Agreeableness": pytest.approx((4 + 3 + 4.5 + 3 + 3 + 4.5) / 6),
        "Conscientiousness": pytest.approx((3 + 4 + 4.5 + 4.5 + 4.5 + 3) / 6),
    }


def test_a_person_s_facets_of_ipip_neo_120():
    # Johnson's reversed items by facet, and what their options 5, 4, 2, 1 count: none is (5 + 4 + 2 + 1) / 4 = 3; the
    # fourth, (5 + 4 + 2 + 5) / 4 = 4; the third and the fourth, (5 + 4 + 4 + 5) / 4 = 4.5; all but the first,
    # (5 + 2 + 4 + 5) / 4 = 4; all, (1 + 2 + 4 + 5) / 4 = 3.
    found = scored(load("task=ipip_neo_120_facets"), in_quarters)
    assert found == {
        "Anxiety": 3,
        "Anger": 4,
        "Depression": 4,
        "Self-Consciousness": 4,
        "Immoderation": 4,
        "Vulnerability": 4,
        "Friendliness": 4.5,
        "Gregariousness": 4.5,
        "Assertiveness": 4,
        "Activity Level": 4,
        "Excitement-Seeking": 3,
        "Cheerfulness": 3,
        "Imagination": 3,
        "Artistic Interests": 4.5,
        "Emotionality": 4.5,
        "Adventurousness": 4,
        "Intellect": 4,
        "Liberalism": 4.5,
        "Trust": 4,
        "Morality": 3,
        "Altruism": 4.5,
        "Cooperation": 3,
        "Modesty": 3,
        "Sympathy": 4.5,
        "Self-Efficacy": 3,
        "Orderliness": 4,
        "Dutifulness": 4.5,
        "Achievement-Striving": 4.5,
        "Self-Discipline": 4.5,
        "Cautiousness": 3,
    }


def test_a_person_s_big_five_of_ipip_50():
    # Ten rounds of five items, one of each scale; options 5, 1, 4, 2, 5, 1, 4, 2, 5, 1. Reversed are, of Extraversion,
    # rounds 2, 4, 6, 8, 10; Agreeableness 1, 3, 5, 7; Conscientiousness 2, 4, 6, 8; Emotional Stability all but 2 and 4;
    # Intellect 2, 4, 6.
    found = scored(load("task=ipip_50"), lambda item: (5, 1, 4, 2, 5, 1, 4, 2, 5, 1)[(item - 1) // 5])
    assert found == {
        "Extraversion": (5 + 5 + 4 + 4 + 5 + 5 + 4 + 4 + 5 + 5) / 10,
        "Agreeableness": (1 + 1 + 2 + 2 + 1 + 1 + 2 + 2 + 5 + 1) / 10,
        "Conscientiousness": (5 + 5 + 4 + 4 + 5 + 5 + 4 + 4 + 5 + 1) / 10,
        "Emotional Stability": (1 + 1 + 2 + 2 + 1 + 5 + 2 + 4 + 1 + 5) / 10,
        "Intellect": (5 + 5 + 4 + 4 + 5 + 5 + 4 + 2 + 5 + 1) / 10,
    }


@pytest.mark.parametrize("language", ["german", "swedish"])
def test_translated_items_have_the_english_key_and_no_english(language):
    tables = []
    for name in ("ipip_neo_120", f"ipip_neo_120_{language}"):
        with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    english, translated = ([row.pop("text") for row in table] for table in tables)
    assert tables[0] == tables[1]
    assert len(set(translated)) == 120
    assert not set(english) & set(translated)


def test_an_item_is_asked_as_published():
    worry = load("task=ipip_neo_120").items[0]
    assert worry.text["X"] == "Worry about things."
    assert worry.options["X"] == (
        "Very Inaccurate",
        "Moderately Inaccurate",
        "Neither Accurate Nor Inaccurate",
        "Moderately Accurate",
        "Very Accurate",
    )


def texts(folder, number):
    file = folder / "texts.txt"
    file.write_text("".join(f"{{He}} {{likes|like}} number {i}.\n" for i in range(1, number + 1)), encoding="utf-8")
    return f"task.texts={file}"


def test_a_person_s_values_of_pvq_21(tmp_path):
    # Items 1 to 7 get 6, 8 to 14 get 3, 15 to 21 get 1: the mean over all is 10 / 3. Two items of each value, three of
    # Universalism (3, 8, 19).
    found = scored(load("task=pvq_21", texts(tmp_path, 21)), lambda item: (6, 3, 1)[(item - 1) // 7])
    assert found == {
        value: pytest.approx(mean - 10 / 3)
        for value, mean in {
            "Conformity": (6 + 1) / 2,
            "Tradition": (3 + 1) / 2,
            "Benevolence": (3 + 1) / 2,
            "Universalism": (6 + 3 + 1) / 3,
            "Self-Direction": (6 + 3) / 2,
            "Stimulation": (6 + 1) / 2,
            "Hedonism": (3 + 1) / 2,
            "Achievement": (6 + 3) / 2,
            "Power": (6 + 1) / 2,
            "Security": (6 + 3) / 2,
        }.items()
    }


def test_a_person_s_values_of_pvq_rr(tmp_path):
    # Items 1 to 10 get 6, 11 to 20 get 4, the other 37 get 1: the mean over all is 137 / 57. Three items of each value.
    found = scored(load("task=pvq_rr", texts(tmp_path, 57)), lambda item: 6 if item <= 10 else 4 if item <= 20 else 1)
    one_of_each = {"Power Resources": (4 + 4 + 1) / 3}
    begins_high = {"Self-Direction Thought", "Stimulation", "Hedonism", "Power Dominance", "Face", "Security Societal"}
    begins_high |= {"Conformity Interpersonal", "Humility", "Universalism Nature", "Universalism Concern"}
    for value, number in found.items():
        mean = one_of_each.get(value, (6 + 1 + 1) / 3 if value in begins_high else (4 + 1 + 1) / 3)
        assert number == pytest.approx(mean - 137 / 57), value
    assert len(found) == 19


def test_texts_of_the_value_survey_may_be_one_s_own(tmp_path):
    own = load("task=svs", texts(tmp_path, 57))
    assert own.items[56].text["F"].endswith("in your life: She likes number 57.?")
    assert [item.key for item in own.items] == [item.key for item in load("task=svs").items]
    assert own.wording == "texts"


def test_a_key_without_texts_is_not_asked():
    with pytest.raises(ConfigError, match=r"^task\.texts=None: must be a file with the texts"):
        load("task=pvq_rr")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item,text\n1,a\n2,b\n", "must have a text for each of the 21 items, and no others"),
        ("item,text\n" + "1,a\n" * 21, "must have a text for each of the 21 items"),
        ("item,wording\n1,a\n", "lacks the column text; it has item, wording"),
        ("item,text\none,a\n", "item 'one' must be a whole number"),
    ],
)
def test_a_file_of_texts_that_does_not_fit(tmp_path, content, message):
    file = tmp_path / "texts.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"^task\.texts=.*{re.escape(message)}"):
        load("task=pvq_21", f"task.texts={file}")
