"""The vllm engine with a stand-in for vLLM: what it passes on, and what it reads. test_other_engines runs vLLM itself."""

import math
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.support.adapters import write_adapter
from tests.support.embedded import SMOLLM2
from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.base import ChoiceRequest, EngineError, GenerationRequest, Prompt
from valstab.engines.checkpoint import locate_checkpoint
from valstab.engines.vllm import VllmEngine

VARIABLES = (
    "VLLM_CPU_KVCACHE_SPACE",
    "VLLM_CPU_NUM_OF_RESERVED_CPU",
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_LOGGING_LEVEL",
)


class FakeLLM:
    """Records its arguments and environment, gives every token log(1/2) and repeats the prompt's first two tokens."""

    def __init__(self, **arguments):
        if arguments.get("swap_space") == 0:
            raise ValueError("swap_space\nmust be above 0")
        self.arguments = arguments
        self.adapters = []
        self.environment = {name: os.environ.get(name) for name in VARIABLES}
        self.llm_engine = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=100, revision=None),
            engine_core=SimpleNamespace(shutdown=lambda: None),
            add_lora=self.adapters.append,
        )
        self.params = []
        type(self).last = self

    def generate(self, prompts, params, *, use_tqdm, lora_request=None):
        self.params.extend(params)
        self.lora_request = lora_request
        for prompt, each in zip(prompts, params, strict=True):
            logprobs = [{token: SimpleNamespace(logprob=math.log(0.5)) for token in each.wanted("logprob_token_ids")}]
            output = SimpleNamespace(token_ids=prompt["prompt_token_ids"][:2], logprobs=logprobs)
            yield SimpleNamespace(outputs=[output], num_cached_tokens=1)


class FakeParams:
    """Stands for `vllm.SamplingParams`."""

    def __init__(self, **settings):
        self.settings, self.max_tokens = settings, settings["max_tokens"]

    def wanted(self, name):
        return self.settings.get(name, [])


@pytest.fixture
def load(monkeypatch):
    """Return a function that makes a VllmEngine with settings, as on a machine with or without a GPU."""
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=FakeLLM, SamplingParams=FakeParams))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def make(quantization="none", *, gpu=False, adapter=None, **settings):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        model = ModelConfig(
            name="m", path=SMOLLM2, dtype="float32", sampling=SamplingConfig(temperature=0.2), adapter=adapter
        )
        return VllmEngine(model, quantization, **settings)

    return make


SETTINGS = {
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 1,
    "data_parallel_size": 1,
    "distributed_executor_backend": None,
    "gpu_memory_utilization": 0.8,
    "max_model_len": 2048,
    "block_size": None,
    "enforce_eager": True,
}
FIXED = {
    "trust_remote_code": False,
    "dtype": "float32",
    "enable_prefix_caching": True,
    "generation_config": "vllm",
    "disable_log_stats": True,
}


def test_an_adapter_is_read_at_once_and_goes_with_every_request(load, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "vllm.lora.request", SimpleNamespace(LoRARequest=lambda *given: given))
    write_adapter(tmp_path, {"model.layers.0.self_attn.q_proj": (torch.zeros(9, 576), torch.zeros(576, 9))})
    adapted = load(gpu=True, adapter=str(tmp_path), **SETTINGS)
    request = ("adapter", 1, str(tmp_path.resolve()))
    assert FakeLLM.last.adapters == [request]
    assert {name: FakeLLM.last.arguments[name] for name in ("enable_lora", "max_lora_rank")} == {
        "enable_lora": True,
        "max_lora_rank": 16,
    }
    list(adapted.score_options([[ChoiceRequest(Prompt((), "Answer: ("), "AB", 0)]]))
    assert FakeLLM.last.lora_request == request
    plain = load(gpu=True, **SETTINGS)
    list(plain.score_options([[ChoiceRequest(Prompt((), "Answer: ("), "AB", 0)]]))
    assert (FakeLLM.last.adapters, FakeLLM.last.lora_request) == ([], None)
    assert not {"enable_lora", "max_lora_rank"} & set(FakeLLM.last.arguments)
    assert adapted.identity == {**plain.identity, "adapter": adapted.identity["adapter"]}


def test_settings_reach_vllm_by_their_names(load):
    engine = load(gpu=True, **SETTINGS, vllm_args={"swap_space": 8})
    assert FakeLLM.last.arguments == {
        **FIXED,
        "model": locate_checkpoint(SMOLLM2),
        "load_format": "safetensors",
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.8,
        "max_model_len": 2048,
        "enforce_eager": True,
        "swap_space": 8,
    }
    assert engine.properties == {
        "device": "cuda",
        "tensor_parallel": "2",
        "pipeline_parallel": "1",
        "data_parallel": "1",
    }
    assert set(FakeLLM.last.environment.values()) == {None}
    load("4bit", gpu=True, **SETTINGS)
    arguments = FakeLLM.last.arguments
    assert (arguments["load_format"], arguments["quantization"]) == ("bitsandbytes", "bitsandbytes")


def test_the_cpu_has_its_own_arguments_and_an_environment_that_ends_with_the_loading(load, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "9")
    load(**SETTINGS)
    arguments = FakeLLM.last.arguments
    assert (arguments["block_size"], arguments["enable_chunked_prefill"]) == (32, False)
    assert "gpu_memory_utilization" not in arguments
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    assert FakeLLM.last.environment == dict(zip(VARIABLES, ("9", "0", cores, "WARNING"), strict=True))
    assert [os.environ.get(name) for name in VARIABLES] == ["9", None, None, None]


def test_the_identity_says_what_determines_answers(load):
    engine = load(**SETTINGS)
    assert set(engine.identity) == {"engine", "weights", "dtype", "quantization", "sampling", "template"}
    assert engine.identity == load(gpu=True, **{**SETTINGS, "tensor_parallel_size": 4}).identity
    assert engine.window.tokens == 100


def test_messages_and_letters_are_read_from_what_vllm_returns(load):
    engine = load()
    prompts = [Prompt((), "Well then, how are you?"), Prompt((), "Once upon a time")]
    requests = [GenerationRequest(prompt, seed, 10) for seed, prompt in enumerate(prompts)]
    assert dict(engine.generate(requests)) == {0: "Well then", 1: "Once upon"}
    assert [(each.settings["seed"], each.settings["temperature"]) for each in FakeLLM.last.params] == [
        (0, 0.2),
        (1, 0.2),
    ]
    read = sum(len(engine.tokens.encode(prompt)) - 1 for prompt in prompts)
    assert (engine.usage.encoded_tokens, engine.usage.generated_tokens) == (read, 4)
    choices = [ChoiceRequest(prompt, "AB", 0) for prompt in prompts]
    ((first, logprobs), (second, _)) = engine.score_options([choices, choices[:1]])
    assert (first, second, logprobs.shape) == (0, 1, (2, 2))
    letters = [engine.tokens.of_letter(letter) for letter in "AB"]
    np.testing.assert_allclose(np.exp(logprobs), [[len(letter) / 2 for letter in letters]] * 2)
    with pytest.raises(EngineError):
        list(engine.generate([GenerationRequest(prompts[0], 0, 100)]))


@pytest.mark.parametrize(
    ("quantization", "settings", "message"),
    [
        ("8bit", {}, "model.quantization=8bit: vLLM can't quantise to 8 bits as it loads; allowed: none, 4bit"),
        ("none", {"vllm_args": {"swap_space": 0}}, "vLLM can't load .*: swap_space must be above 0"),
        ("none", {"vllm_args": {"dtype": "bfloat16"}}, "vLLM can't load .*: .*multiple values .*dtype"),
    ],
)
def test_what_vllm_refuses_is_one_line(load, quantization, settings, message):
    with pytest.raises(EngineError, match=message):
        load(quantization, **settings)


def test_without_vllm_the_page_that_helps_is_named(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EngineError, match=r"engine=vllm: vLLM can't be imported here .* docs/engines\.md says how"):
        load()
