"""Models that fail while they are at work: what is said of it, and what a second start makes of it."""

import math

import pytest
import torch

from benchmarks.robustness import models
from valstab.engine import EngineError
from valstab.engines.distribution import require_numbers
from valstab.engines.transformers import TransformersEngine
from valstab.store import Store


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory) -> TransformersEngine:
    """A tiny model with random weights, which was asked before: the first time takes a check of how to ask."""
    engine = TransformersEngine(models.tiny(tmp_path_factory.mktemp("tiny")), "none", device="cpu")
    models.gather(models.small_plan(), engine, tmp_path_factory.mktemp("first"))
    return engine


@pytest.mark.parametrize("row", [[0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf]])
def test_what_is_no_distribution_is_refused(row):
    require_numbers(torch.tensor([[0.0, -math.inf], [1.0, 2.0]]))
    with pytest.raises(EngineError, match="not numbers"):
        require_numbers(torch.tensor([[1.0, 2.0], row]))


@pytest.mark.parametrize("number", [12, 30])
@pytest.mark.parametrize("value", models.NO_NUMBERS)
def test_a_run_goes_on_when_weights_that_became_no_numbers_are_repaired(nonsense, tmp_path, value, number):
    assert models.goes_on_after_bad_numbers(nonsense, tmp_path, value, number)


@pytest.mark.parametrize(("number", "messages", "answers"), [(1, 0, 0), (12, 4, 0), (20, 8, 0), (30, 12, 2)])
def test_what_came_before_the_weights_failed_is_in_the_store(nonsense, tmp_path, number, messages, answers):
    # 3 messages of 8 tokens take 24 forward passes, the questions after each conversation 2.
    assert models.ended_by_bad_numbers(nonsense, tmp_path, math.nan, number)
    store = Store(tmp_path, nonsense.identity)
    assert (len(store.shelf("conversations")), len(store.shelf("answers"))) == (messages, answers)
