"""The transformers engine, on tiny models of the paper's architectures and on the embedded model."""

import itertools
import logging
import math
import re
import shutil
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn
from transformers import models as architectures

from tests.support.embedded import SMOLLM2
from tests.support.tiny_models import SETTINGS, write_tiny
from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.base import ChoiceRequest, EngineError, GenerationRequest, Message, Prompt, Usage
from valstab.engines.checkpoint import locate_checkpoint
from valstab.engines.huggingface import generation, memory, scoring, shared_prefix
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.huggingface.generation import draw, filtered
from valstab.engines.huggingface.memory import Limits
from valstab.engines.huggingface.packed import PackedLinear
from valstab.engines.huggingface.scoring import COPIES, SHARED, WHOLE, Scoring
from valstab.engines.loading import ResolvedSampling, precision, warn_of_offloading

LONG = "Whilst Jane was waiting to meet her friend, her nose started bleeding. " * 3


def question(number: int, *, base: bool = False) -> Prompt:
    """One of several questions of different lengths after the same conversation."""
    text = f"{LONG}\nQuestion {number}: {'how ' * number}are you?\n(A) Well\n(B) Ill\n(C) So-so"
    if base:
        return Prompt((), f"USER:{text}\nCHATBOT:Answer: (")
    return Prompt((Message("system", "You are Gandalf."), Message("user", text)), "Answer: (")


def plain(engine: TransformersEngine, prompt: Prompt, letters: str) -> np.ndarray:
    """Score one prompt at a time, the whole of it, in the simplest way."""
    with torch.inference_mode():
        logits = engine.causal.model(torch.tensor([engine.tokens.encode(prompt)])).logits[0, -1].double()
    probabilities = logits.softmax(-1)
    vocabulary = [engine.tokens.tokenizer.decode([token]) for token in range(len(engine.tokens.tokenizer))]
    return np.log([sum(float(probabilities[i]) for i, t in enumerate(vocabulary) if t == letter) for letter in letters])


def scoring_of(
    engine: TransformersEngine,
    *,
    rows: int = 128,
    min_rows: int | None = None,
    ways: tuple[str, ...] = (SHARED, COPIES, WHOLE),
) -> Scoring:
    """Make another scoring of the same model, with limits and ways of its own."""
    return Scoring(engine.causal, Limits(rows, 100_000, min_rows), Usage(), tokens=8192, ways=ways)


def replies(engine: TransformersEngine, requests) -> dict[int, str]:
    return dict(engine.generate(requests))


def test_choices_that_share_a_prefix_agree_with_plain_scoring(engine):
    prompts = [question(number) for number in range(5)]
    scored = list(engine.score_options([[ChoiceRequest(prompt, "ABC", 0) for prompt in prompts]]))
    assert [index for index, _ in scored] == [0]
    expected = [plain(engine, prompt, "ABC") for prompt in prompts]
    np.testing.assert_allclose(scored[0][1], expected, atol=1e-3)
    assert engine.scoring.way == SHARED


@pytest.mark.parametrize(
    ("capability", "has_tiles", "function", "scores_at_once"),
    [
        ("AVX2", False, "attend_split", 1 << 21),
        ("AVX512", True, "attend_split", 1 << 21),
        ("AVX512", False, "attend_joint", 1 << 21),
        ("AVX512", False, "attend_joint", 1),
    ],
)
def test_both_ways_to_attend_to_a_prefix_agree_with_attention_to_all(
    monkeypatch, capability, has_tiles, function, scores_at_once
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(shared_prefix, "has_matrix_tiles", lambda: has_tiles)
    monkeypatch.setattr(shared_prefix, "SCORES_AT_ONCE", scores_at_once)
    called = Mock(side_effect=getattr(shared_prefix, function))
    monkeypatch.setattr(shared_prefix, function, called)
    generator = torch.Generator().manual_seed(0)
    rows, heads, groups, tokens, size, shared = 3, 6, 2, 5, 8, 7
    query, key, value = (torch.randn(rows, n, tokens, size, generator=generator) for n in (heads, groups, groups))
    prefix_key, prefix_value = (torch.randn(2, groups, shared, size, generator=generator) for _ in range(2))
    cache = Mock(layers=[Mock(keys=prefix_key, values=prefix_value)])
    # Two rows continue the second prefix, of which two tokens are padding, and one the first.
    batch = shared_prefix.PrefixBatch(
        [(shared_prefix.SharedPrefix(cache, 1, shared - 2), 2), (shared_prefix.SharedPrefix(cache, 0, shared), 1)]
    )
    found, _ = shared_prefix.attend(Mock(layer_idx=0), query, key, value, None, prefix_batch=batch, scaling=0.3)
    for row, place, length in ((0, 1, shared - 2), (1, 1, shared - 2), (2, 0, shared)):
        whole_key, whole_value = (
            torch.cat([far[place, :, :length], own[row]], dim=1).repeat_interleave(heads // groups, 0)
            for far, own in ((prefix_key, key), (prefix_value, value))
        )
        sees = torch.ones(tokens, length + tokens, dtype=torch.bool).tril(length)
        expected = torch.nn.functional.scaled_dot_product_attention(
            query[row], whole_key, whole_value, attn_mask=sees, scale=0.3
        )
        torch.testing.assert_close(found[row], expected.transpose(0, 1), atol=1e-5, rtol=1e-5)
    assert called.call_count == 1


def test_packed_weights_are_the_checkpoints(tmp_path):
    model = write_tiny(tmp_path, architectures.LlamaConfig(**SETTINGS, attention_bias=True))
    engine, tokens = TransformersEngine(model, "none", device="cpu"), torch.tensor([[5, 3, 8, 9]])
    layers = [type(module) for module in engine.causal.model.modules() if isinstance(module, (nn.Linear, PackedLinear))]
    assert layers == [PackedLinear] * 7 * engine.causal.model.config.num_hidden_layers + [nn.Linear]
    with torch.inference_mode():
        plain = architectures.LlamaForCausalLM.from_pretrained(model.path, dtype=torch.float32)
        expected = plain(tokens).logits[:, -1]
        torch.testing.assert_close(engine.causal.forward(tokens, torch.ones_like(tokens), None), expected)
    assert engine.properties["parameters"] == str(plain.num_parameters())


def test_one_more_token_is_encoded_as_in_the_whole_text(engine):
    prompts = engine.tokens.encode_all([question(number) for number in range(3)])
    tokens, mask = engine.causal.pad(prompts, left=True)
    with torch.inference_mode():
        whole = engine.causal.forward(tokens, mask, None)
        cache = engine.causal.empty_cache()
        engine.causal.forward(tokens[:, :-1], mask[:, :-1], cache)
        torch.testing.assert_close(engine.causal.forward(tokens[:, -1:], mask, cache), whole, atol=1e-3, rtol=1e-3)


def test_choices_in_small_batches_and_alone_are_the_same(engine, monkeypatch):
    choices = [ChoiceRequest(question(number), "ABC", 0) for number in range(5)]
    ((_, together),) = engine.score_options([choices])
    monkeypatch.setattr(engine, "scoring", scoring_of(engine, rows=2))
    ((_, in_twos),) = engine.score_options([choices])
    alone = [logprobs[0] for _, logprobs in engine.score_options([[choice] for choice in choices])]
    np.testing.assert_allclose(in_twos, together, atol=1e-3)
    np.testing.assert_allclose(alone, together, atol=1e-3)


def test_questions_after_several_dialogues_are_scored_together(engine, monkeypatch):
    dialogues = [
        [ChoiceRequest(each._replace(text=f"{said}{each.text}"), "ABC", 0) for each in map(question, range(number))]
        for number, said in ((2, ""), (3, "To think: "), (1, "So it is. " * 5), (4, "I see. "))
    ]
    alone = [logprobs for dialogue in dialogues for _, logprobs in engine.score_options([dialogue])]
    encode = Mock(side_effect=shared_prefix.encode_suffixes)
    monkeypatch.setattr(shared_prefix, "encode_suffixes", encode)
    for rows, batches in ((128, [10]), (5, [5, 5]), (3, [2, 3, 1, 3, 1])):
        monkeypatch.setattr(engine.scoring.limits, "rows", rows)
        encode.reset_mock()
        together = dict(engine.score_options(dialogues))
        assert sorted(together) == [0, 1, 2, 3]
        for index, expected in enumerate(alone):
            np.testing.assert_allclose(together[index], expected, atol=1e-3)
        assert [len(call.args[1]) for call in encode.call_args_list] == batches


def test_what_is_sampled_depends_on_prompt_and_seed_alone(engine, monkeypatch):
    texts = ("Tell me a joke.", "1. e4", LONG, "Hello, let's write a poem together.")
    requests = [
        GenerationRequest(Prompt((Message("user", text),), ""), seed=seed, max_new_tokens=25)
        for seed, text in enumerate(texts)
    ]
    together = replies(engine, requests)
    assert together == replies(engine, requests)
    reverse = replies(engine, requests[::-1])
    assert [reverse[3 - i] for i in range(4)] == [together[i] for i in range(4)]
    monkeypatch.setattr(engine.generation.limits, "rows", 1)
    assert replies(engine, requests) == together


@pytest.mark.parametrize(("seconds", "min_rows", "batches"), [(0.1, 1, [8]), (40, 1, [2] * 4), (40, None, [8])])
def test_a_slow_model_is_asked_after_few_dialogues_at_a_time(tiny_llama, monkeypatch, seconds, min_rows, batches):
    dialogues = [[ChoiceRequest(question(number), "ABC", 0) for number in range(2)]] * 4
    monkeypatch.setattr(tiny_llama, "scoring", scoring_of(tiny_llama, min_rows=min_rows))
    monkeypatch.setattr(scoring, "time", Mock(monotonic=Mock(side_effect=itertools.count(0, seconds))))
    encode = Mock(side_effect=shared_prefix.encode_suffixes)
    monkeypatch.setattr(shared_prefix, "encode_suffixes", encode)
    list(tiny_llama.score_options(dialogues))
    assert [len(call.args[1]) for call in encode.call_args_list[1:]] == batches  # the first call is a trial


def test_requests_join_as_others_end(engine, monkeypatch):
    def request(seed, max_new_tokens):
        text = LONG if seed % 3 == 0 else f"Count to {seed}."
        return GenerationRequest(Prompt((Message("user", text),), ""), seed=seed, max_new_tokens=max_new_tokens)

    requests = [request(seed, 3 + 7 * (seed % 4)) for seed in range(12)]
    alone = [replies(engine, [each])[0] for each in requests]
    monkeypatch.setattr(engine.generation.limits, "rows", 4)
    rows = Mock(side_effect=engine.causal.forward)
    monkeypatch.setattr(engine.causal, "forward", rows)
    growing, found = requests[:5], {}
    for index, text in engine.generate(growing):
        found[index] = text
        growing += requests[len(growing) :][:2]
    assert found == dict(enumerate(alone))
    steps = [len(call.args[0]) for call in rows.call_args_list if call.args[0].shape[1] == 1]
    # In four rounds of four and fewer, each would take as long as its longest message.
    assert max(steps) == 4
    assert np.mean(steps) > 3


def test_prompts_that_are_encoded_piece_by_piece_are_continued_alike(engine, monkeypatch):
    requests = [
        GenerationRequest(Prompt((Message("user", text),), ""), seed=seed, max_new_tokens=25)
        for seed, text in enumerate((LONG, "Tell me a joke.", "1. e4"))
    ]
    at_once = replies(engine, requests)
    engine.generation.forget()
    widths = Mock(side_effect=engine.causal.forward)
    monkeypatch.setattr(generation, "TOKENS_AT_ONCE", 3 * 16)
    monkeypatch.setattr(engine.causal, "forward", widths)
    assert replies(engine, requests) == at_once
    assert max(call.args[0].shape[1] for call in widths.call_args_list) == 16


def test_prompts_are_encoded_together_as_alone(embedded):
    chat, base = Prompt((Message("user", "Tell me a joke."),), "Answer: ("), Prompt((), "USER:Tell me a joke.\nBOT:")
    tokenizer = embedded.tokens.tokenizer
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Tell me a joke."}], tokenize=False, add_generation_prompt=True
    )
    of_chat = tokenizer(f"{text}Answer: (", add_special_tokens=False).input_ids
    assert embedded.tokens.encode_all([chat, base, base, chat]) == [
        of_chat,
        *[tokenizer(base.text).input_ids] * 2,
        of_chat,
    ]
    assert embedded.tokens.encode(chat) == of_chat


def test_other_seeds_say_other_things(engine):
    prompt = Prompt((Message("user", "Tell me a story about a dog."),), "")
    said = replies(engine, [GenerationRequest(prompt, seed=seed, max_new_tokens=40) for seed in range(6)])
    assert len(set(said.values())) > 1


@pytest.mark.slow
def test_messages_end_at_the_end_of_turn(embedded):
    prompt = Prompt((Message("user", "What is the capital of France? Answer in one word."),), "")
    (short,) = replies(embedded, [GenerationRequest(prompt, seed=0, max_new_tokens=100)]).values()
    assert "Paris" in short
    assert "<|im_end|>" not in short


def test_messages_end_at_the_limit(engine):
    story = Prompt((Message("user", "Write a long story."),), "")
    before = engine.usage.generated_tokens
    (cut,) = replies(engine, [GenerationRequest(story, seed=0, max_new_tokens=7)]).values()
    assert engine.usage.generated_tokens == before + 7
    (longer,) = replies(engine, [GenerationRequest(story, seed=0, max_new_tokens=9)]).values()
    assert longer.startswith(cut.rstrip("\ufffd"))


def test_messages_are_cut_at_the_stop_pattern(engine):
    prompt = Prompt((), "USER:a\nBOT:b\nUSER:a\nBOT:b\nUSER:a\nBOT:b\nUSER:a\nBOT:")
    request = GenerationRequest(prompt, seed=0, max_new_tokens=20)
    (whole,) = replies(engine, [request]).values()
    # What comes late in the message, in the other case: a pattern matches in any.
    late = re.escape(whole[-6:-3].swapcase())
    before = engine.usage.generated_tokens
    (cut,) = replies(engine, [GenerationRequest(prompt, seed=0, max_new_tokens=20, stop=late)]).values()
    assert cut == whole[: re.search(late, whole, re.IGNORECASE).start()]
    assert engine.usage.generated_tokens - before < 20


def test_drawing_inverts_the_cumulative_distribution():
    logits = torch.log(torch.tensor([[0.2, 0.0, 0.5, 0.3]])).repeat(5, 1)
    uniform = torch.tensor([0.0, 0.19, 0.21, 0.71, 0.999999], dtype=torch.float64)
    assert draw(logits, uniform).tolist() == [0, 0, 2, 3, 3]


def test_a_draw_never_takes_a_token_that_was_ruled_out():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]]).repeat(1000, 1)
    drawn = draw(logits, torch.from_numpy(np.random.default_rng(0).random(1000)))
    assert 400 < int((drawn == 1).sum()) < 600
    assert set(drawn.tolist()) == {1, 3}


def test_letters_that_several_tokens_decode_to_are_added_up(engine, monkeypatch):
    choice = [ChoiceRequest(question(1), "AB", 0)]
    ((_, before),) = engine.score_options([choice])
    tokens = {letter: engine.tokens.of_letter(letter) for letter in "AB"}
    assert [len(each) for each in tokens.values()] == [1, 1]
    # As if the token of B decoded to A as well.
    tokens["A"] = tokens["A"] + tokens["B"]
    monkeypatch.setattr(engine.tokens, "of_letter", tokens.get)
    ((_, after),) = engine.score_options([choice])
    assert np.exp(after[0, 0]) == pytest.approx(np.exp(before[0]).sum())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Make a tiny random model of an architecture."""

    def make(config) -> TransformersEngine:
        folder = tmp_path_factory.mktemp(type(config).__name__)
        return TransformersEngine(write_tiny(folder, config), "none", device="cpu")

    return make


@pytest.mark.parametrize(
    "config",
    [
        architectures.LlamaConfig(**SETTINGS),
        architectures.MistralConfig(**SETTINGS, sliding_window=64),
        architectures.MixtralConfig(**SETTINGS, num_local_experts=4),
        architectures.PhiConfig(**SETTINGS),
        architectures.Qwen2Config(**SETTINGS),
        architectures.GPTNeoXConfig(**SETTINGS),
        architectures.Gemma3TextConfig(**SETTINGS, head_dim=8, sliding_window=2048),
        architectures.OPTConfig(**SETTINGS, ffn_dim=48, word_embed_proj_dim=32),
    ],
    ids=lambda config: config.model_type,
)
def test_other_architectures_agree_with_plain_scoring(tiny, monkeypatch, config):
    engine = tiny(config)
    prompts = [question(number, base=number % 2 == 0) for number in range(4)]
    for group in (prompts[::2], prompts[1::2]):
        expected = [plain(engine, prompt, "ABC") for prompt in group]
        for ways in ((SHARED, COPIES, WHOLE), (COPIES, WHOLE), (WHOLE,)):
            monkeypatch.setattr(engine, "scoring", scoring_of(engine, ways=ways))
            ((_, logprobs),) = engine.score_options([[ChoiceRequest(prompt, "ABC", 0) for prompt in group]])
            np.testing.assert_allclose(logprobs, expected, atol=1e-4)
            assert engine.scoring.way == ways[0]
    (text,) = replies(engine, [GenerationRequest(prompts[0], seed=1, max_new_tokens=5)]).values()
    assert text


def test_a_sliding_window_shares_copies(tiny, monkeypatch):
    engine = tiny(architectures.MistralConfig(**SETTINGS, sliding_window=64))
    monkeypatch.setattr(shared_prefix, "encode_suffixes", None)  # would fail
    assert len(list(engine.score_options([[ChoiceRequest(question(number), "ABC", 0) for number in range(3)]]))) == 1
    assert engine.scoring.way == SHARED  # for shorter ones


STATES = {name: value for name, value in SETTINGS.items() if name in {"vocab_size", "hidden_size", "num_hidden_layers"}}
STATES |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}


@pytest.mark.parametrize(
    ("config", "way", "warning"),
    [
        (
            architectures.FalconConfig(**STATES, num_attention_heads=4),
            COPIES,
            "FalconForCausalLM: questions share copies of their common prefix; slower",
        ),
        (
            architectures.MambaConfig(**STATES, state_size=4),
            WHOLE,
            "MambaForCausalLM: questions can't share their common prefix; slower",
        ),
    ],
    ids=["falcon", "mamba"],
)
def test_an_architecture_of_its_own_kind_falls_back_with_one_warning(tiny, caplog, config, way, warning):
    engine = tiny(config)
    prompts = [question(number, base=True) for number in range(4)]
    for _ in range(2):
        ((_, logprobs),) = engine.score_options([[ChoiceRequest(prompt, "ABC", 0) for prompt in prompts]])
        np.testing.assert_allclose(logprobs, [plain(engine, prompt, "ABC") for prompt in prompts], atol=1e-4)
    assert engine.scoring.way == way
    assert [record.message for record in caplog.records if record.name.startswith("valstab")] == [warning]
    requests = [GenerationRequest(prompt, seed=seed, max_new_tokens=9) for seed, prompt in enumerate(prompts)]
    together = replies(engine, requests)
    assert together == {i: replies(engine, [request])[0] for i, request in enumerate(requests)}


def dialogue_of(engine, rounds: int, *, forgets: bool) -> tuple[list[str], int]:
    """Hold two dialogues in which two speakers take turns, and count the tokens encoded for it."""
    engine.generation.forget()
    before = engine.usage.encoded_tokens
    texts = [["Tell me about your garden."], ["What do you think of chess, and why?"]]
    for number in range(rounds):
        if forgets:
            engine.generation.forget()
        requests = []
        for row, said in enumerate(texts):
            speakers = ("user", "assistant") if number % 2 == 0 else ("assistant", "user")
            messages = [Message(speakers[i % 2], text) for i, text in enumerate(said)]
            filler = [] if number % 2 == 0 else [Message("user", "")]
            prompt = Prompt((Message("system", f"You are {number % 2}."), *filler, *messages), "")
            requests.append(GenerationRequest(prompt, seed=10 * number + row, max_new_tokens=20))
        for row, text in engine.generate(requests):
            texts[row].append(text)
    return [text for said in texts for text in said], engine.usage.encoded_tokens - before


def test_a_dialogue_goes_on_without_encoding_its_past_again(engine):
    texts, encoded = dialogue_of(engine, 6, forgets=False)
    expected, encoded_again = dialogue_of(engine, 6, forgets=True)
    assert texts == expected
    assert encoded < 0.6 * encoded_again


def test_what_no_longer_fits_in_memory_goes_on_in_halves(engine, monkeypatch):
    requests = [
        GenerationRequest(Prompt((Message("user", f"Count to {seed}."),), ""), seed=seed, max_new_tokens=8)
        for seed in range(5)
    ]
    choices = [ChoiceRequest(question(number), "ABC", 0) for number in range(5)]
    expected, ((_, scored),) = replies(engine, requests), engine.score_options([choices])
    forward, rows = engine.causal.forward, []

    def small(tokens, mask, cache, **options):
        rows.append(len(tokens))
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(tokens, mask, cache, **options)

    monkeypatch.setattr(engine.generation, "limits", Limits(128, 100_000))
    monkeypatch.setattr(engine, "scoring", scoring_of(engine, ways=(WHOLE,)))
    monkeypatch.setattr(engine.causal, "forward", small)
    assert replies(engine, requests) == expected
    ((_, halved),) = engine.score_options([choices])
    np.testing.assert_allclose(halved, scored, atol=1e-3)
    assert engine.scoring.limits.rows == 2
    assert rows[0] == 5
    assert engine.generation.limits.rows == 2
    monkeypatch.setattr(engine.causal, "forward", Mock(side_effect=MemoryError))
    with pytest.raises(EngineError, match="out of memory with a single dialogue"):
        replies(engine, requests[:1])


@pytest.mark.slow
def test_a_compiled_model_answers_as_the_plain_one(embedded):
    model = ModelConfig(
        name="small", path=SMOLLM2, dtype="float32", sampling=SamplingConfig(temperature=0.2, top_p=0.9, top_k=50)
    )
    engine = TransformersEngine(model, "none", device="cpu", compiled=True)
    choices = [ChoiceRequest(question(number), "ABC", 0) for number in range(5)]
    ((_, expected),), ((_, logprobs),) = embedded.score_options([choices]), engine.score_options([choices])
    np.testing.assert_allclose(logprobs, expected, atol=1e-3)
    assert engine.identity["compiled"] == "true"
    norm = engine.causal.model.model.layers[0].input_layernorm
    assert norm._compiled_call_impl is not None  # noqa: SLF001  (of torch, which has no public one)


def is_quantised(engine: TransformersEngine) -> bool:
    return bool({type(module).__name__ for module in engine.causal.model.modules()} & {"Linear4bit", "Linear8bitLt"})


# bitsandbytes compiles what unpacks 4 bits on a CPU, which takes longer than all else here.
@pytest.mark.parametrize("quantization", [pytest.param("4bit", marks=pytest.mark.slow), "8bit"])
def test_a_quantised_model_really_is_and_still_shares(tmp_path, quantization, caplog):
    model = write_tiny(tmp_path, architectures.LlamaConfig(**SETTINGS | {"hidden_size": 64, "intermediate_size": 128}))
    engine = TransformersEngine(model, quantization, device="cpu")
    assert is_quantised(engine)
    prompts = [question(number) for number in range(5)]
    ((_, logprobs),) = engine.score_options([[ChoiceRequest(prompt, "ABC", 0) for prompt in prompts]])
    assert [record.name for record in caplog.records if record.name.startswith("bitsandbytes")] == []
    assert engine.scoring.way == SHARED
    np.testing.assert_allclose(np.exp(logprobs), np.exp([plain(engine, each, "ABC") for each in prompts]), atol=0.1)
    assert engine.identity["quantization"] == quantization


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_the_quantised_embedded_model_still_answers(quantization):
    engine = TransformersEngine(ModelConfig(name="small", path=SMOLLM2, dtype="float32"), quantization, device="cpu")
    assert is_quantised(engine)
    ((_, logprobs),) = engine.score_options([[ChoiceRequest(question(number), "ABC", 0) for number in range(5)]])
    assert engine.scoring.way == SHARED
    assert all(0.2 < mass <= 1 for mass in np.exp(logprobs).sum(1))


def state_of_the_process() -> dict[str, object]:
    return {
        "threads": torch.get_num_threads(),
        "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),
        "merge": shared_prefix.merge,
        "rotary": architectures.llama.modeling_llama.apply_rotary_pos_emb,
        **{name: logging.getLogger(name).level for name in ("bitsandbytes", "transformers")},
    }


def test_an_engine_leaves_the_process_as_it_was(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda **_: 1)
    monkeypatch.setattr("valstab.engines.huggingface.engine.can_compile", lambda _: True)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)  # really compiled in a slow test
    monkeypatch.setattr(torch, "compile", lambda function, **_: partial(function))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before, seen = state_of_the_process(), []
        model = write_tiny(tmp_path, architectures.LlamaConfig(**SETTINGS))
        engine = TransformersEngine(model, "none", device="cpu", compiled=True)
        assert state_of_the_process() == before
        assert engine.properties["threads"] == "1"
        engine.causal.model.register_forward_pre_hook(lambda *_: seen.append(state_of_the_process()))
        requests = [GenerationRequest(question(seed), seed=seed, max_new_tokens=2) for seed in range(2)]
        for results in (
            engine.generate(requests),
            engine.score_options([[ChoiceRequest(question(number), "ABC", 0)] for number in range(2)]),
        ):
            next(results)
            assert state_of_the_process() == before
            list(results)
            assert state_of_the_process() == before
        assert all(state[name] != value for state in seen for name, value in before.items())
    finally:
        torch.set_num_threads(threads)


def test_sampling_is_the_users_then_the_checkpoints_then_the_librarys(tmp_path):
    model = write_tiny(tmp_path, architectures.LlamaConfig(**SETTINGS))
    model.sampling = SamplingConfig(temperature=0.3)
    engine = TransformersEngine(model, "none", device="cpu")
    assert engine.identity["sampling"] == str(
        {"temperature": 0.3, "top_p": 1.0, "top_k": 50, "repetition_penalty": 1.0}
    )
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2, "do_sample": true, "temperature": 0.6}')
    model.sampling = SamplingConfig()
    engine = TransformersEngine(model, "none", device="cpu")
    assert "'temperature': 0.6" in engine.identity["sampling"]
    assert "unused_sampling" not in engine.properties


def test_min_p_of_a_checkpoint_is_used_and_what_is_not_is_named(tmp_path, capsys):
    model = write_tiny(tmp_path, architectures.LlamaConfig(**SETTINGS))
    settings = '{"eos_token_id": 2, "do_sample": true, "min_p": 0.1, "typical_p": 0.9, "no_repeat_ngram_size": 3}'
    (tmp_path / "generation_config.json").write_text(settings)
    model.sampling = SamplingConfig()
    engine = TransformersEngine(model, "none", device="cpu")
    assert "'min_p': 0.1" in engine.identity["sampling"]
    assert engine.properties["unused_sampling"] == "typical_p=0.9, no_repeat_ngram_size=3"
    assert "typical_p=0.9, no_repeat_ngram_size=3, which valstab does not use" in capsys.readouterr().err


def test_a_temperature_of_0_leaves_the_most_probable_token(engine, monkeypatch):
    tokens, candidates = filtered(torch.tensor([[0.5, 2.0, 1.9], [3.0, 0.0, -1.0]]), ResolvedSampling(temperature=0))
    assert tokens.tolist() == [[1], [0]]
    assert draw(candidates, torch.tensor([0.0, 0.999])).tolist() == [0, 0]
    monkeypatch.setattr(engine.generation, "_sampling", ResolvedSampling(temperature=0, top_p=0.5))
    prompt = Prompt((Message("user", "1. e4"),), "")
    requests = [GenerationRequest(prompt, seed=seed, max_new_tokens=12) for seed in (1, 2)]
    encoded = torch.tensor([engine.tokens.encode(prompt)])
    with torch.inference_mode():
        greedy = engine.causal.model.generate(encoded, do_sample=False, max_new_tokens=12)[0, encoded.shape[1] :]
    text = engine.tokens.tokenizer.decode(greedy, skip_special_tokens=True)
    assert text
    assert replies(engine, requests) == {0: text, 1: text}


def test_min_p_leaves_out_what_is_too_improbable_beside_the_most_probable():
    logits = torch.tensor([[0.5, 0.2, 0.1, 0.06, 0.04, 0.1]]).log()
    # 0.1 is a fifth of 0.5.
    tokens, fewer = filtered(logits, ResolvedSampling(min_p=0.21, top_k=0))
    _, more = filtered(logits, ResolvedSampling(min_p=0.19, top_k=0))
    assert tokens.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert fewer.isfinite().tolist() == [[True, True, False, False, False, False]]
    assert more.isfinite().tolist() == [[True, True, True, False, False, True]]


@pytest.mark.parametrize(
    ("device", "has_tiles", "vendor", "knows_bfloat16", "dtype"),
    [
        ("cpu", True, "GenuineIntel", False, torch.bfloat16),
        ("cpu", False, "GenuineIntel", True, torch.float32),
        ("cpu", False, "AuthenticAMD", True, torch.bfloat16),
        ("cpu", False, "AuthenticAMD", False, torch.float32),
        ("cpu", False, "", True, torch.float32),
        ("cuda:1", False, "AuthenticAMD", True, torch.bfloat16),
        ("cuda", True, "GenuineIntel", False, torch.float16),
    ],
)
def test_the_precision_is_what_the_hardware_is_fast_in(
    monkeypatch, capsys, device, has_tiles, vendor, knows_bfloat16, dtype
):
    monkeypatch.setattr("valstab.engines.loading.has_bfloat16_products", lambda: knows_bfloat16)
    monkeypatch.setattr("valstab.engines.loading._cpu_vendor", lambda: vendor)
    monkeypatch.setattr("valstab.engines.loading.has_matrix_tiles", lambda: has_tiles)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: knows_bfloat16)
    assert precision("auto", device) is dtype
    (said,) = capsys.readouterr().err.splitlines()
    other = "bfloat16" if dtype is torch.float32 else "float32"
    assert said.startswith(f"valstab: computing in {dtype}, the fastest here; ".replace("torch.", ""))
    assert f"model.dtype={other}" in said
    assert "% of letters" in said
    assert precision("float16", device) is torch.float16
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nobody/no-such-model", "hf download nobody/no-such-model"),
        ("/no/such/model.gguf", "no such file"),
        ("package:no_such_package/model.gguf", "not installed"),
        (None, "no weights"),
    ],
)
def test_missing_weights_are_named_in_one_line(path, message):
    with pytest.raises(EngineError, match=message) as caught:
        TransformersEngine(ModelConfig(name="lost", path=path), "none", device="cpu")
    assert "\n" not in str(caught.value)


def test_no_pickle_is_loaded(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(locate_checkpoint(SMOLLM2), folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(EngineError, match="safetensors"):
        TransformersEngine(ModelConfig(name="pickled", path=str(folder)), "none", device="cpu")


@pytest.mark.parametrize(
    ("seconds_per_row", "min_rows", "sizes"),
    [(1.0, 8, [64, 32, 16, 16, 2]), (0.2, 8, [64, 64, 2]), (1.0, 24, [64, 32, 24, 10]), (1.0, None, [64, 64, 2])],
)
def test_slow_batches_are_followed_by_smaller_ones(monkeypatch, seconds_per_row, min_rows, sizes):
    now = [0.0]
    monkeypatch.setattr(memory, "time", Mock(monotonic=lambda: now[0]))
    limits, found = memory.Limits(64, 100_000, min_rows), []
    for batch in memory.batches(dict.fromkeys(range(130), 10), limits):
        found.append(len(batch))
        now[0] += seconds_per_row * len(batch)
    assert found == sizes


def test_what_is_said_does_not_depend_on_how_slow_batches_are(engine, monkeypatch):
    requests = [
        GenerationRequest(Prompt((Message("user", f"Count to {seed}."),), ""), seed=seed, max_new_tokens=8)
        for seed in range(7)
    ]
    expected = replies(engine, requests)
    now = [0.0]

    def later():
        now[0] += 100.0
        return now[0]

    monkeypatch.setattr(generation, "time", Mock(monotonic=later))
    monkeypatch.setattr(engine.generation, "limits", Limits(4, 100_000, 1))
    assert replies(engine, requests) == expected
    assert engine.generation.limits.rows == 1


def test_parts_of_a_model_that_the_gpu_has_no_room_for_are_said(capsys):
    warn_of_offloading({"model.embed_tokens": 0, "model.layers.0": 1, "lm_head": 0})
    assert capsys.readouterr().err == ""
    warn_of_offloading({"model.embed_tokens": 0, "model.layers.0": "cpu", "model.norm": "cpu", "lm_head": "disk"})
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("valstab: 3 of the 4 parts of the model do not fit in the free memory of the GPU")
    assert "kept on the cpu and the disk: many times slower" in said
