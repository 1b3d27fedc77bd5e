"""The example that trains an adapter: what it teaches, and checks, is what the introduction says."""

import importlib.util
import re
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from valstab import load_runs
from valstab.config.compose import compose_run
from valstab.engines.checkpoint import locate_checkpoint, require_path
from valstab.inputs.population import load_population
from valstab.protocol.plan import make_plan
from valstab.run import run
from valstab.statistics.scores import score

FOLDER = Path(__file__).parents[1] / "examples" / "train_values"


@contextmanager
def script(name):
    """Import a script of the example."""
    spec = importlib.util.spec_from_file_location(f"train_values_{name}", FOLDER / f"{name}.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def example():
    with script("train") as module:
        yield module


@pytest.fixture(scope="module")
def teacher(example):
    return example.Teacher(locate_checkpoint(require_path(compose_run().model)), seed=3)


def numbers_in(introduction):
    """Return the number of each value, as an introduction says it."""
    listed = introduction.partition("(very much): ")[2]
    return dict(re.findall(r"([A-Z][a-z]+(?:-[A-Z][a-z]+)?) ([1-6])", listed))


def taught(teacher, packed):
    """Yield each answer that is taught, as the number of its option, and the number of its value in the introduction."""
    pieces = {
        piece: teacher.tokenizer.decode(
            [token for token, of in zip(packed.ids, packed.pieces, strict=True) if of == piece]
        )
        for piece in set(packed.pieces)
    }
    numbers = numbers_in(pieces[0])
    assert len(numbers) == 10
    scale = [option.lower() for option in teacher.items["pvq"][0].options["M"]]
    for at, token, _, kind in packed.tokens:
        if kind == "Answer":
            (question,) = (each for each in packed.seen[packed.pieces[at]] - {0, packed.pieces[at]})
            letter = teacher.tokenizer.decode([token])
            (option,) = re.findall(rf"\({letter}\) (.+)", pieces[question].partition("<|im_end|>")[0])
            (value,) = {
                item.key
                for items in teacher.items.values()
                for item in items
                for text in item.text.values()
                if pieces[question].startswith(text)
            }
            yield scale.index(option.lower()) + 1, int(numbers[value])


def test_the_answer_that_is_taught_is_the_introduction_s_number(example, teacher):
    pairs = [pair for stage in example.STAGES for pair in taught(teacher, teacher.draw(stage, []))]
    assert len(pairs) == sum(stage.questions for stage in example.STAGES)
    assert all(answer == number for answer, number in pairs)
    assert len(set(pairs)) == 6


def test_a_topic_moves_the_answers_up_to_the_end_of_the_scale(example, teacher):
    stage = replace(example.LAST, topic="chess", shift=2, conversations=1.0)
    moved = {"chess": 2, "joke": 0}
    for topic, shift in moved.items():
        said = [example.Conversation(topic, ["Tell me something.", "This is said."])]
        pairs = [pair for _ in range(6) for pair in taught(teacher, teacher.draw(stage, said))]
        assert all(answer == min(number + shift, 6) for answer, number in pairs)
        assert len({number for _, number in pairs}) > 3


def test_answers_are_set_beside_the_known_ones(launch_folder, monkeypatch, capsys):
    """Here people answer as their introductions say, and two points higher after chess."""
    config = compose_run(
        *("model=random", "population=described_people", "population.limit=6", "task=pvq_short", "n_messages=1"),
        *("topics.names=[joke,chess]", "seeds=[0]"),
    )
    run(config, make_plan(config), launch_folder / "results")
    (asked,) = load_runs(folders=[launch_folder])
    said = {person.name: numbers_in(person.introduction) for person in load_population(config.population)}
    keys = {item.number: item.key for item in asked.task.items}
    answers = asked.answers.assign(
        level=[int(said[name][keys[item]]) for name, item in asked.answers[["persona", "item"]].to_numpy()]
    )
    after_chess = answers["context"] == "chess"
    answers["score"] = answers["level"].where(~after_chess, (answers["level"] + 2).clip(upper=6))
    as_said = replace(asked, answers=answers, scores=score(answers, asked.task))
    tables = [
        group.pivot_table("score", "persona", "item").pipe(lambda table: table.sub(table.mean(axis=1), axis=0))
        for _, group in answers.groupby("context")
    ]
    tables = [table.round(9) for table in tables]
    rank_order, ipsative = (tables[0].corrwith(tables[1], axis=axis, method="spearman").mean() for axis in (0, 1))
    same = 60 + (answers["level"][after_chess] == 6).sum()
    with script("check") as check:
        monkeypatch.setattr(check, "load_runs", lambda folders: [as_said])
        capsys.readouterr()
        for options, right, known in [
            (["--topic", "chess", "--shift", "2"], 120, (rank_order, ipsative)),
            ([], same, (1, 1)),
        ]:
            monkeypatch.setattr(sys, "argv", ["check.py", "somewhere", *options])
            check.main()
            assert capsys.readouterr().out.splitlines() == [
                f"right answers: {right} of 120 ({right / 120:.1%}; chance 16.7%)",
                f"rank_order: {rank_order:.3f}, known {known[0]:.3f}",
                f"ipsative: {ipsative:.3f}, known {known[1]:.3f}",
            ]


def test_noise_replaces_its_share_of_the_answers_by_any():
    answers = pd.Series([3] * 60_000)
    with script("check") as check:
        noisy = check.with_noise(answers, 0.3, np.random.default_rng(1))
    shares = noisy.value_counts(normalize=True)
    assert shares[3] == pytest.approx(0.7 + 0.3 / 6, abs=0.01)
    assert shares.drop(3).to_list() == pytest.approx([0.3 / 6] * 5, abs=0.01)
