"""Run a model with vLLM in this process. vLLM's prefix cache holds what prompts share.

vLLM needs its own versions of torch and transformers, so it has an environment of its own (docs/engines.md).
"""

import atexit
import itertools
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, GenerationConfig

from valstab.config.schema import ModelConfig
from valstab.engines.adapter import adapter_identity, adapter_rank, find_adapter, require_fit
from valstab.engines.base import (
    Cache,
    ChoiceRequest,
    EngineError,
    GenerationRequest,
    SampleRequest,
    ThoughtfulChoice,
    Usage,
    Window,
)
from valstab.engines.checkpoint import explain_load_error, locate_checkpoint, one_line_errors, require_path
from valstab.engines.fingerprint import fingerprint
from valstab.engines.labels import padded
from valstab.engines.limits import require_numbers, require_room
from valstab.engines.loading import precision, resolved_sampling, unused_sampling
from valstab.engines.prompts.thoughts import prompts_after, reply_after, think_then_score, thoughts_of
from valstab.engines.prompts.tokenizer import PromptTokenizer
from valstab.engines.written_answer import sample_by_writing

DIALOGUES_AT_ONCE = 64
"""Number of dialogues whose questions are passed to vLLM in one call."""


CPU_BLOCK_TOKENS = 32
"""Tokens of a cache block on the CPU. vLLM's own 128 would share less between prompts."""


CPU_ENVIRONMENT = {
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "VLLM_CPU_KVCACHE_SPACE": "4",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""Defaults of vLLM's environment variables on the CPU; VLLM_CPU_KVCACHE_SPACE is in GiB."""


LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values of vLLM's `max_lora_rank`."""


PARALLEL_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
"""Names of the settings for several GPUs."""


class VllmEngine:
    """A causal language model run by vLLM.

    Args:
        model: path, precision and sampling of the model.
        quantization: `none`, or `4bit`: bitsandbytes quantises the weights as they are loaded.
        vllm_args: any other arguments of `vllm.LLM`.
        settings: the other settings of `valstab.config.engines.VllmConfig`, which are arguments of `vllm.LLM` too.

    Raises:
        EngineError: if vLLM is not installed, or the model can't be loaded.
    """

    def __init__(
        self, model: ModelConfig, quantization: str, *, vllm_args: Mapping[str, Any] | None = None, **settings: Any
    ) -> None:
        path, adapter = require_path(model), find_adapter(model, merges=False)
        if quantization in {"8bit", "int8"}:
            raise EngineError(
                f"model.quantization={quantization}: vLLM can't quantise to 8 bits as it loads; allowed: none, 4bit"
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with _environment({} if device == "cuda" else {**CPU_ENVIRONMENT, "VLLM_CPU_OMP_THREADS_BIND": _cores()}):
            vllm = _import_vllm()
            dtype = str(precision(model.dtype, device)).removeprefix("torch.")
            with one_line_errors(f"model={model.name}: {path}"):
                source = locate_checkpoint(path)
            if adapter is not None:
                require_fit(adapter, source, trust_remote_code=model.trust_remote_code)
            arguments = {"model": source, "dtype": dtype, "trust_remote_code": model.trust_remote_code}
            arguments |= _quantized(quantization) | _on_device(settings, device) | _adapted(adapter)
            try:
                self._llm = vllm.LLM(**arguments, **dict(vllm_args or {}))
                self._adapter = None if adapter is None else _added(self._llm, adapter)
            except (OSError, ValueError, RuntimeError, ImportError, TypeError) as error:
                raise EngineError(
                    f"model={model.name}: vLLM can't load {model.path}: {explain_load_error(error)}"
                ) from error
        # vLLM's processes wait for this one to shut them down, and this one would wait for them at its end.
        atexit.register(_shut_down, weakref.ref(self._llm))
        self._params = vllm.SamplingParams
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=model.trust_remote_code)
        self.tokens = PromptTokenizer(tokenizer, model.template)
        model_config = self._llm.llm_engine.model_config
        self.window = Window(model_config.max_model_len, lambda prompt: len(self.tokens.encode(prompt)))
        generation_config = _generation_config(source)
        self._sampling = resolved_sampling(model.sampling, generation_config)
        self.usage = Usage()
        self.cache = Cache()
        self.identity: Mapping[str, str] = {
            "engine": "vllm",
            "weights": fingerprint(source, model_config.revision),
            "dtype": dtype,
            "quantization": quantization,
            "sampling": self._sampling.identity,
            "template": self.tokens.template_digest(),
            **adapter_identity(adapter),
        }
        sizes = {name.removesuffix("_size"): str(settings.get(name, 1)) for name in PARALLEL_SIZES}
        self.properties: Mapping[str, str] = {"device": device, **sizes, **unused_sampling(generation_config)}

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        """Yield each request's index and text, in order."""
        thoughts = thoughts_of(self._think, requests)
        prompts = self.tokens.encode_all(prompts_after(thoughts, requests))
        for index, output in enumerate(self._generate(prompts, [self._sampled(each) for each in requests])):
            text = requests[index].cut(self.tokens.decode(output.token_ids))
            yield index, reply_after(thoughts, index, text)

    def think_options(
        self, dialogues: Iterable[Sequence[ThoughtfulChoice]]
    ) -> Iterator[tuple[int, list[str], NDArray[np.float64]]]:
        """Yield each dialogue's index, thoughts and log-probabilities (nats); see `Engine.think_options`."""
        return think_then_score(self._think, self.score_options, dialogues)

    def _think(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        prompts = self.tokens.encode_before_thoughts([request.prompt for request in requests])
        form, end = self.tokens.thoughts, self.tokens.thought_end
        ends = {"stop": [form.end], "detokenize": True} if end is None else {"stop_token_ids": [end]}
        params = [self._sampled(request, **ends) for request in requests]
        for index, output in enumerate(self._generate(prompts, params)):
            yield index, form.cut(self.tokens.decode(output.token_ids))

    def _sampled(self, request: GenerationRequest, **more: Any) -> Any:
        settings = {"seed": request.seed, "max_tokens": request.max_new_tokens, "detokenize": False, **more}
        return self._params(**asdict(self._sampling), **settings)

    def score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield each dialogue's index and log-probabilities (nats), in order; see `Engine.score_options`."""
        numbered = enumerate(dialogues)
        while batch := list(itertools.islice(numbered, DIALOGUES_AT_ONCE)):
            choices = [choice for _, dialogue in batch for choice in dialogue]
            prompts = self.tokens.encode_all([choice.prompt for choice in choices])
            letters = [[self.tokens.of_letter(option) for option in choice.options] for choice in choices]
            params = [
                self._params(
                    max_tokens=1, temperature=0, detokenize=False, logprob_token_ids=sorted({*itertools.chain(*tokens)})
                )
                for tokens in letters
            ]
            logprobs = (
                [np.logaddexp.reduce([output.logprobs[0][token].logprob for token in letter]) for letter in tokens]
                for output, tokens in zip(self._generate(prompts, params), letters, strict=True)
            )
            for number, dialogue in batch:
                rows = list(itertools.islice(logprobs, len(dialogue)))
                require_numbers(torch.tensor(list(itertools.chain(*rows))))
                yield number, padded(rows)

    def sample_options(self, dialogues: Iterable[Sequence[SampleRequest]]) -> Iterator[tuple[int, list[list[str]]]]:
        """Yield each dialogue's index and sampled answers; see `Engine.sample_options`."""
        return sample_by_writing(self.generate, dialogues)

    def _generate(self, prompts: Sequence[list[int]], params: Sequence[Any]) -> Iterator[Any]:
        """Yield each prompt's completion, in order, and count its tokens."""
        for prompt, each in zip(prompts, params, strict=True):
            require_room(len(prompt) + each.max_tokens, self.window)
        lora = {} if self._adapter is None else {"lora_request": self._adapter}
        outputs = self._llm.generate(
            [{"prompt_token_ids": prompt} for prompt in prompts], list(params), use_tqdm=False, **lora
        )
        for prompt, output in zip(prompts, outputs, strict=True):
            (completion,) = output.outputs
            self.usage.encoded_tokens += len(prompt) - (output.num_cached_tokens or 0)
            self.usage.generated_tokens += len(completion.token_ids)
            yield completion


def _import_vllm() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise EngineError(
            f"engine=vllm: vLLM can't be imported here ({error}); docs/engines.md says how to make its environment"
        ) from error
    return vllm


def _quantized(quantization: str) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM` for loading the weights."""
    if quantization == "4bit":
        return {"load_format": "bitsandbytes", "quantization": "bitsandbytes"}
    return {"load_format": "safetensors"}


def _adapted(adapter: Path | None) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM` for an adapter; none without one."""
    if adapter is None:
        return {}
    rank = adapter_rank(adapter)
    return {"enable_lora": True, "max_lora_rank": next((each for each in LORA_RANKS if each >= rank), rank)}


def _added(llm: Any, adapter: Path) -> Any:
    """Return the request for an adapter that vLLM has read, so that what it can't use ends the run now."""
    from vllm.lora.request import LoRARequest

    request = LoRARequest("adapter", 1, str(adapter.resolve()))
    llm.llm_engine.add_lora(request)
    return request


def _on_device(settings: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM` for these settings on `cpu` or `cuda`, without those left to vLLM."""
    fixed = {"enable_prefix_caching": True, "generation_config": "vllm", "disable_log_stats": True}
    chosen = dict(settings)
    chosen |= {name: None for name in PARALLEL_SIZES if chosen.get(name) == 1}
    if device == "cpu":
        chosen["block_size"] = chosen.get("block_size") or CPU_BLOCK_TOKENS
        chosen["gpu_memory_utilization"] = None
        # vLLM's CPU sampler fails where a prompt with a seed is encoded in pieces.
        chosen["enable_chunked_prefill"] = False
    return fixed | {name: value for name, value in chosen.items() if value is not None}


@contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set the environment variables that are not set yet, and remove them afterwards."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _shut_down(reference: Callable[[], Any]) -> None:
    llm = reference()
    if llm is not None:
        llm.llm_engine.engine_core.shutdown()


def _cores() -> str:
    """Return the cores that this process may use, with commas between. vLLM by itself may leave some out."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


def _generation_config(source: str) -> GenerationConfig:
    try:
        return GenerationConfig.from_pretrained(source)
    except OSError:
        return GenerationConfig()
