"""The transformers engine on a GPU: what it says and answers, and going on where memory runs out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.embedded import SMOLLM2
from tests.support.questions import CHOICES, TALKS
from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.huggingface.scoring import SHARED

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
MARGIN = 160 << 20
"""Bytes that suffice for some questions and messages, but not for all of them at once."""


def load(dtype: str, quantization: str = "none") -> TransformersEngine:
    model = ModelConfig(
        name="small", path=SMOLLM2, dtype=dtype, sampling=SamplingConfig(temperature=0.2, top_p=0.9, top_k=50)
    )
    return TransformersEngine(model, quantization, device="cuda")


@pytest.fixture(scope="module")
def exact() -> TransformersEngine:
    return load("float32")


def answers(engine: TransformersEngine) -> np.ndarray:
    return np.concatenate([logprobs for _, logprobs in engine.score_options(CHOICES)])


def test_answers_are_those_of_one_whole_prompt_at_a_time(exact):
    found = answers(exact)
    assert exact.scoring.way == SHARED
    expected = []
    for choice in (choice for choices in CHOICES for choice in choices):
        with torch.inference_mode():
            tokens = torch.tensor([exact.tokens.encode(choice.prompt)], device="cuda")
            logprobs = exact.causal.model(tokens).logits[0, -1].double().log_softmax(-1)
        expected.append([float(logprobs[exact.tokens.of_letter(letter)].logsumexp(0)) for letter in choice.options])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_array_equal(found.argmax(1), np.argmax(expected, 1))


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "8bit", "4bit"])
def test_lower_precisions_share_and_answer_alike(exact, precision):
    engine = load("auto", precision) if "bit" in precision else load(precision)
    found = np.exp(answers(engine))
    assert engine.scoring.way == SHARED
    assert found.sum(1).mean() > 0.9
    assert abs(found - np.exp(answers(exact))).mean() < 0.1


def test_by_default_it_runs_on_the_gpu_in_bfloat16_if_that_knows_it():
    engine = TransformersEngine(ModelConfig(name="small", path=SMOLLM2), "none")
    assert engine.properties["device"] == "cuda"
    assert engine.cache.rows == 512
    assert engine.cache.peak_bytes() > 2 * int(engine.properties["parameters"])
    knows = torch.cuda.is_bf16_supported(including_emulation=False)
    assert engine.identity["dtype"] == ("bfloat16" if knows else "float16")


def test_messages_alone_and_together_are_the_same(exact):
    together = dict(exact.generate(TALKS))
    alone = [text for talk in TALKS for _, text in exact.generate([talk])]
    assert [together[index] for index in range(len(TALKS))] == alone


def test_where_memory_runs_out_it_goes_on_in_halves(exact):
    talks = [replace(talk, seed=seed) for seed in range(16) for talk in TALKS]
    said, answered = dict(exact.generate(talks)), answers(exact)
    exact.generation.forget()
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + MARGIN) / total)
    try:
        assert dict(exact.generate(talks)) == said
        np.testing.assert_allclose(answers(exact), answered, atol=1e-3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert exact.generation.limits.rows < len(talks)
    assert exact.scoring.limits.rows < 128
