"""The data of the authors' leaderboard: posts, pairs of people, the value survey, and the script for posts of a user."""

import csv
import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.composed import compose_run
from valstab.inputs.files import DATA
from valstab.inputs.task import load_task
from valstab.protocol.plan import make_plan

# Schwartz's key of the value survey, 1-based.
KEY = {
    "Conformity": [11, 20, 40, 47],
    "Tradition": [18, 32, 36, 44, 51],
    "Benevolence": [33, 45, 49, 52, 54],
    "Universalism": [1, 17, 24, 26, 29, 30, 35, 38],
    "Self-Direction": [5, 16, 31, 41, 53],
    "Stimulation": [9, 25, 37],
    "Hedonism": [4, 50, 57],
    "Achievement": [34, 39, 43, 55],
    "Power": [3, 12, 27, 46],
    "Security": [8, 13, 15, 22, 56],
}


def rows(name):
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_leaderboard_has_nine_contexts_of_fifty_people():
    contexts = make_plan(compose_run("+experiment=leaderboard", "model=random"))
    survey = make_plan(compose_run("+experiment=leaderboard", "model=random", "part=svs"))
    chunks = [f"chunk_{number}" for number in range(5)]
    assert [each.name for each in contexts.contexts] == ["no_conv", *chunks, "chess", "grammar"]
    assert [each.name for each in survey.contexts] == ["svs_no_conv"]
    assert (contexts.n_messages, contexts.task.name, contexts.seeds) == (3, "pvq", (0,))
    assert contexts.n_questions + survey.n_questions == 50 * (8 * 40 + 57)
    said = {(each.context.name, each.persona.name): each.opening for each in contexts.sessions}
    assert Counter(said.values()) == Counter(
        {None: 50, "1. e4": 50, said["grammar", "Pele"]: 50}
        | dict.fromkeys((said[name, each.name] for name in chunks for each in contexts.personas), 1)
    )
    acting = {each.context.name for each in contexts.sessions if each.interlocutor}
    assert acting & {*chunks, "chess", "grammar"} == {"chess", "grammar"}


def test_posts_are_varied_and_of_a_forum_s_length():
    posts = [row["text"] for row in rows("leaderboard_posts.csv")]
    assert len(set(posts)) == 250
    assert all(30 <= len(post.split()) <= 300 for post in posts)
    # Neither the same beginning nor mostly the same words.
    assert max(Counter(" ".join(post.split()[:4]) for post in posts).values()) <= 2
    bags = [set(post.lower().split()) for post in posts]
    shared = max(len(one & other) / len(one | other) for i, one in enumerate(bags) for other in bags[:i])
    assert shared < 0.4


def test_each_person_has_another_interlocutor():
    pairs = {row["persona"]: row["interlocutor"] for row in rows("real_world_interlocutors.csv")}
    people = [row["name"] for row in rows("real_world_personas.csv")]
    assert list(pairs) == people
    assert sorted(pairs.values()) == sorted(people)
    assert all(one != other for one, other in pairs.items())


def test_the_value_survey_follows_the_key():
    survey = load_task(compose_run("task=svs").task)
    assert {key: [item.number for item in survey.items if item.key == key] for key in survey.keys} == KEY
    assert sum(item.is_filler for item in survey.items) == 57 - 46
    assert survey.scores == (-1, 0, 1, 2, 3, 4, 5, 6, 7)
    assert survey.centring_items == list(range(1, 58))
    assert survey.keys == load_task(compose_run().task).keys


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "examples" / "leaderboard" / "posts.py"
    spec = importlib.util.spec_from_file_location("posts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_posts_of_a_user_s_own_replace_them(script, tmp_path):
    def talk(number, words=40):
        return " ".join(f"w{number}" for _ in range(words))

    records = [
        *({"conversation": [{"role": "user", "content": talk(i)}], "language": "English"} for i in range(4)),
        *({"conversations": [{"from": "human", "value": talk(i)}]} for i in range(4, 8)),
        *({"selftext": talk(i)} for i in range(8, 12)),
        {"conversation": [{"role": "user", "content": talk(90)}], "language": "French"},
        {"conversations": [{"from": "gpt", "value": talk(91)}]},
        {"selftext": talk(92, words=29)},
        {"selftext": talk(0)},
    ]
    source, posts = tmp_path / "collection.jsonl", tmp_path / "posts.jsonl"
    source.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    script.main([str(source), "--to", str(posts), "--chunks", "5", "--people", "2"])
    settings = ("+experiment=leaderboard", "model=random", "population.limit=2", f"topics.posts={posts}")
    plan = make_plan(compose_run(*settings))
    said = [each.opening for each in plan.sessions if each.context.name.startswith("chunk_")]
    assert len(set(said)) == 10
    assert {each.split()[0] for each in said} <= {f"w{i}" for i in range(12)}
    with pytest.raises(SystemExit):
        script.main([str(source), "--to", str(posts), "--people", "3"])
