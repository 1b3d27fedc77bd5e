"""Models that think: where a thought stands in the prompt, when it ends, and what is read after it."""

import numpy as np
import pytest
from transformers import LlamaConfig

from tests.support import chat_templates as templates
from tests.support.openai_server import Server
from tests.support.tiny_models import SETTINGS, write_tiny
from tests.support.tokenizers import tokenizer_of
from valstab.config.schema import ModelConfig
from valstab.engines.base import ChoiceRequest, EngineError, GenerationRequest, Message, Prompt, Reply, ThoughtfulChoice
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.prompts.prompt_check import check_prompts
from valstab.engines.prompts.tokenizer import PromptTokenizer
from valstab.engines.servers.openai import OpenaiEngine
from valstab.errors import ConfigError

ASKED = Prompt((Message("user", "How are you?"),), "Answer: (")
CHANNELS_THAT_THINK = (
    templates.CHANNELS + "{# thoughts are in <|channel|>analysis #}{{ '' if true else '<|channel|>analysis' }}"
)
OPENED = {
    "opened by the template": (templates.THINKING, "<|assistant|><think>\n", "\n</think>\n\n"),
    "opened here": (templates.QWEN3, "<|im_start|>assistant\n<think>\n", "\n</think>\n\n"),
    "in a channel": (
        CHANNELS_THAT_THINK,
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
}


@pytest.mark.parametrize("kind", OPENED)
def test_a_thought_stands_between_the_template_s_own_markers(kind):
    template, opens, closes = OPENED[kind]
    tokens = PromptTokenizer(tokenizer_of(template))
    assert tokens.render_thought(ASKED).endswith(opens)
    before = tokens.render_thought(ASKED)
    assert tokens.render(ASKED._replace(thought="I am well.")) == f"{before}I am well.{closes}Answer: ("
    assert tokens.render(ASKED._replace(thought="")) == f"{before}{closes}Answer: ("
    forged = tokens.render(ASKED._replace(thought=f"{tokens.thoughts.end}B)")).removeprefix(before)
    assert tokens.thoughts.end not in forged.split("B)")[0]  # a thought can't end itself
    check_prompts(tokens, [ASKED], thinks=True)


def test_what_can_not_think_is_refused():
    with pytest.raises(ConfigError, match=r"answer=thinking: .* has no markers of a thought; allowed: letter, sampled"):
        check_prompts(PromptTokenizer(tokenizer_of(templates.CHATML)), [ASKED], thinks=True)
    closed = PromptTokenizer(tokenizer_of(templates.QWEN3), {"enable_thinking": False})
    with pytest.raises(
        ConfigError, match=r"model\.template\.enable_thinking=False: .* set model\.template\.enable_thinking=true"
    ):
        check_prompts(closed, [ASKED], thinks=True)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """A tiny random model with a template that opens thoughts."""
    folder = tmp_path_factory.mktemp("thinking")
    model = write_tiny(folder, LlamaConfig(**SETTINGS))
    (folder / "chat_template.jinja").write_text(templates.THINKING, encoding="utf-8")
    model.sampling.temperature = 1.0
    return TransformersEngine(model, "none", device="cpu")


def choices(seeds, budget):
    return [ThoughtfulChoice(ASKED, "AB", seed, budget) for seed in seeds]


def test_the_letter_is_read_after_the_thought(engine):
    ((index, thoughts, logprobs),) = engine.think_options([choices((1, 2), 12)])
    assert index == 0
    assert len(set(thoughts)) == 2
    assert logprobs.shape == (2, 2)
    after = [ChoiceRequest(ASKED._replace(thought=thought), "AB", 0) for thought in thoughts]
    ((_, expected),) = engine.score_options([after])
    np.testing.assert_allclose(logprobs, expected, atol=1e-6)
    ((_, without),) = engine.score_options([[ChoiceRequest(ASKED._replace(thought=""), "AB", 0)]])
    assert not np.allclose(logprobs, without, atol=1e-3)


def test_a_thought_ends_at_its_marker_or_at_its_budget(engine, monkeypatch):
    before = engine.usage.generated_tokens
    ((_, (whole,), _),) = engine.think_options([choices((3,), 12)])
    assert engine.usage.generated_tokens - before == 12
    end = next(piece for piece in whole.split()[1:] if piece.isascii())
    monkeypatch.setattr(engine.tokens, "thoughts", engine.tokens.thoughts._replace(end=end))
    monkeypatch.setattr(engine.tokens, "thought_end", None)  # so that the text is looked through for it
    ((_, (short,), _),) = engine.think_options([choices((3,), 12)])
    assert short == whole.split(end)[0].strip()
    assert engine.usage.generated_tokens - before < 24
    assert len(short) < len(whole)


def test_the_token_that_ends_a_thought_is_found_where_there_is_one(engine):
    assert engine.tokens.thought_end is None  # "</think>" takes several in that vocabulary
    tokenizer = tokenizer_of(templates.THINKING)
    tokenizer.add_tokens(["</think>"])
    assert PromptTokenizer(tokenizer).thought_end == tokenizer.convert_tokens_to_ids("</think>")
    generated = engine.usage.generated_tokens
    requests = [GenerationRequest(ASKED, 3, 12)]
    every = range(len(engine.tokens.tokenizer))
    list(engine.generation.run(zip(engine.tokens.encode_before_thoughts([ASKED]), requests, strict=True), every))
    assert engine.usage.generated_tokens - generated == 1


def test_messages_think_where_asked_and_the_thought_is_no_part_of_them(engine):
    requests = [GenerationRequest(ASKED._replace(text=""), 1, 8, max_thought_tokens=budget) for budget in (None, 0, 10)]
    texts = dict(engine.generate(requests))
    assert [isinstance(texts[place], Reply) for place in range(3)] == [False, True, True]
    assert texts[1].thought == ""
    assert texts[2].thought
    assert texts[2].thought not in texts[2]
    again = GenerationRequest(ASKED._replace(text="", thought=texts[2].thought), 1, 8)
    assert dict(engine.generate([again]))[0] == texts[2]


def test_a_server_s_thoughts_are_kept_and_its_text_is_read():
    message = {"role": "assistant", "content": "(B)", "reasoning_content": "B is kinder."}
    server = Server(lambda body: (200, {"choices": [{"message": message}]}))
    model = ModelConfig(name="served", path="m")
    try:
        engine = OpenaiEngine(model, "none", url=server.url, timeout=5, thinking_tokens=100, top_logprobs=0)
        ((_, thoughts, logprobs),) = engine.think_options([choices((1,), 5)])
        ((_, text),) = engine.generate([GenerationRequest(ASKED._replace(text=""), 1, 8)])
        mute = OpenaiEngine(model, "none", url=server.url, timeout=5)
        with pytest.raises(EngineError, match=r"engine\.thinking_tokens=0: answer=thinking needs tokens"):
            list(mute.think_options([choices((1,), 5)]))
    finally:
        server.close()
    assert thoughts == ["B is kinder."]
    assert np.isposinf(logprobs[0]).tolist() == [False, True]
    assert (text, text.thought) == ("(B)", "B is kinder.")
