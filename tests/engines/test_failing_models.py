"""Models that fail while they are at work: what is said of it, and what a second start makes of it."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from tests.robustness import models
from valstab.config.schema import ModelConfig
from valstab.engines.base import EngineError
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.limits import require_numbers
from valstab.protocol.store import Store

ITEMS = 5


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory) -> ModelConfig:
    """A tiny model with random weights, not yet loaded."""
    return models.tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def nonsense(tiny_model) -> TransformersEngine:
    """A tiny model with random weights, asked after one conversation at a time."""
    return TransformersEngine(tiny_model, "none", device="cpu", batch_size=ITEMS)


@pytest.fixture(scope="module")
def normal(tmp_path_factory, nonsense) -> models.Outcome:
    """What it says and answers. It is asked before the tests, since the first time takes a check of how to ask."""
    return models.gather(models.small_plan(), nonsense, tmp_path_factory.mktemp("first"))


@pytest.mark.parametrize("row", [[0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf]])
def test_what_is_no_distribution_is_refused(row):
    require_numbers(torch.tensor([[0.0, -math.inf], [1.0, 2.0]]))
    with pytest.raises(EngineError, match="not numbers"):
        require_numbers(torch.tensor([[1.0, 2.0], row]))


@pytest.mark.parametrize("number", [12, 30])
@pytest.mark.parametrize("value", models.NO_NUMBERS)
def test_a_run_goes_on_when_weights_that_became_no_numbers_are_repaired(nonsense, normal, tmp_path, value, number):
    assert models.goes_on_after_bad_numbers(nonsense, normal, tmp_path, value, number)


@pytest.mark.parametrize(("number", "messages", "answers"), [(1, 0, 0), (12, 4, 0), (20, 8, 0), (33, 12, 2)])
@pytest.mark.usefixtures("normal")
def test_what_came_before_the_weights_failed_is_in_the_store(nonsense, tmp_path, number, messages, answers):
    # 3 messages of 8 tokens take 27 forward passes, the questions after each conversation 2.
    assert models.ended_by_bad_numbers(nonsense, tmp_path, math.nan, number)
    store = Store(tmp_path, nonsense.identity)
    assert (len(store.log("conversations")), len(store.log("answers"))) == (messages, answers)


@pytest.mark.parametrize("shortage", models.SHORTAGES, ids=lambda error: type(error).__name__)
def test_memory_that_runs_out_now_and_then_changes_nothing(tmp_path, tiny_model, caplog, shortage):
    assert models.goes_on_after_shortages(tiny_model, tmp_path, shortage, every=11)
    # A shortage while it is tried how questions can share their beginning is no reason to share less.
    assert "slower" not in caplog.text


@pytest.mark.usefixtures("normal")
def test_memory_that_is_never_enough_is_said_in_one_line(nonsense, tmp_path):
    def fail(_):
        raise MemoryError

    with models.before_each_pass(nonsense, fail), pytest.raises(EngineError, match="out of memory with a single"):
        models.gather(models.small_plan(), nonsense, tmp_path)


@pytest.mark.parametrize("lives", [7, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 12, 25))])
def test_a_run_goes_on_when_a_server_that_died_is_back(tmp_path, lives):
    assert models.goes_on_after_death(tmp_path, lives)


@pytest.fixture(scope="module")
def undisturbed():
    """A run of the embedded model in float32: batches of up to 64, one thread, at once."""
    return models.in_a_process("--batch-size=64")


@pytest.mark.slow
@pytest.mark.parametrize(("option", "threads"), models.ALIKE)
def test_the_same_run_says_and_answers_the_same_however_it_is_made(undisturbed, option, threads):
    found = models.in_a_process(option, threads=threads)
    assert found.apart(undisturbed).is_rounding
    assert len({text for texts in found.said for text in texts[1:]}) > 6
    # What was made topic by topic came from the store: all conversations and answers. One conversation had ended before
    # the interruption: the next message of a conversation does not wait for the others.
    from_store = {"--topic-by-topic": models.MESSAGES // 3 + models.QUESTIONS, "--interrupted=40": 1}
    assert found.reused == from_store.get(option, 0)


def test_other_letters_are_rounding_only_where_two_were_as_probable():
    def outcome(*logprobs):
        row = {"letter": "AB"[int(np.argmax(logprobs))], "logprob_1": logprobs[0], "logprob_2": logprobs[1]}
        return models.Outcome([("Hi.",)], pd.DataFrame([row]), 0)

    assert outcome(-1.0, -1.0005).apart(outcome(-1.0005, -1.0)).is_rounding
    assert outcome(-1.0, -1.1).apart(outcome(-1.1, -1.0)) == (0, 1, pytest.approx(0.1))
    assert not outcome(-1.0, -1.1).apart(outcome(-1.1, -1.0)).is_rounding
    assert not outcome(-1.0, -1.1).apart(outcome(-1.0, -1.1)._replace(said=[("Ho.",)])).is_rounding
