"""The example that trains an adapter: what it teaches is what the introduction says."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from valstab.config.compose import compose_run
from valstab.engines.checkpoint import locate_checkpoint, require_path

SCRIPT = Path(__file__).parents[1] / "examples" / "train_values" / "train.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("train_values", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_values"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["train_values"]


@pytest.fixture(scope="module")
def teacher(example):
    return example.Teacher(locate_checkpoint(require_path(compose_run().model)), seed=3)


def taught(teacher, packed):
    """Yield each answer that is taught, as the number of its option, and the number of its value in the introduction."""
    pieces = {
        piece: teacher.tokenizer.decode(
            [token for token, of in zip(packed.ids, packed.pieces, strict=True) if of == piece]
        )
        for piece in set(packed.pieces)
    }
    numbers = dict(re.findall(r"([A-Z][a-z]+(?:-[A-Z][a-z]+)?) ([1-6])", pieces[0].partition("(very much): ")[2]))
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
