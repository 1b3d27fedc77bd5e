"""Run a model with vLLM in this process: what prompts share is found in its prefix cache.

vLLM has an environment of its own (docs/engines.md): it needs its own versions of torch and transformers.
"""

import atexit
import itertools
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, GenerationConfig

from valstab.config.schema import ModelConfig
from valstab.engines.base import Cache, ChoiceRequest, EngineError, GenerationRequest, Usage, Window
from valstab.engines.checkpoint import fingerprint, locate_checkpoint
from valstab.engines.limits import require_numbers, require_room
from valstab.engines.loading import precision, resolved_sampling
from valstab.engines.tokenizer import PromptTokenizer

DIALOGUES_AT_ONCE = 64
"""Dialogues whose questions are handed over at a time."""


CPU_BLOCK_TOKENS = 32
"""Tokens of a cache block on the CPU, where vLLM's own choice of 128 shares less."""


CPU_SETTINGS = {"VLLM_CPU_NUM_OF_RESERVED_CPU": "0", "VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_LOGGING_LEVEL": "WARNING"}


class VllmEngine:
    """A causal language model run by vLLM.

    Args:
        model: which, in which precision, and how it samples.
        quantization: `none`, or `4bit` by bitsandbytes as the weights are loaded.
        tensor_parallel: GPUs that share each layer.
        pipeline_parallel: groups of GPUs, or nodes, that each have some of the layers.
        data_parallel: copies of the model.
        backend: `mp` for one node, `ray` for several; None leaves it to vLLM.
        memory: the part of each GPU's memory that vLLM takes.
        max_length: of a prompt with its answer, in tokens.
        block_size: tokens of a block of the cache.
        eager: whether to do without compilation and CUDA graphs.
        more: any other arguments of `vllm.LLM`.

    Raises:
        EngineError: if vLLM is not installed here, or the model can't be loaded.
    """

    def __init__(
        self,
        model: ModelConfig,
        quantization: str,
        *,
        tensor_parallel: int = 1,
        pipeline_parallel: int = 1,
        data_parallel: int = 1,
        backend: str | None = None,
        memory: float = 0.9,
        max_length: int | None = None,
        block_size: int | None = None,
        eager: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        if model.path is None:
            raise EngineError(f"model={model.name} has no weights; give model.path, or use engine=random")
        if quantization == "8bit":
            raise EngineError("quantization=8bit: vLLM can't quantise to 8 bits as it loads; allowed: none, 4bit")
        on_gpu = torch.cuda.is_available()
        for name, value in ({} if on_gpu else {**CPU_SETTINGS, "VLLM_CPU_OMP_THREADS_BIND": _cores()}).items():
            os.environ.setdefault(name, value)
        try:
            from vllm import LLM, SamplingParams
        except ImportError as error:
            raise EngineError(
                f"engine=vllm: vLLM can't be imported here ({error}); docs/engines.md says how to make its environment"
            ) from error
        dtype = precision(model.dtype, "cuda" if on_gpu else "cpu")
        source = locate_checkpoint(model.path)
        parallel = {"tensor": tensor_parallel, "pipeline": pipeline_parallel, "data": data_parallel}
        optional = {
            "distributed_executor_backend": backend,
            "max_model_len": max_length,
            "block_size": block_size or (None if on_gpu else CPU_BLOCK_TOKENS),
            # vLLM's CPU sampler fails where a prompt with a seed is encoded in pieces.
            "enable_chunked_prefill": None if on_gpu else False,
            "quantization": "bitsandbytes" if quantization == "4bit" else None,
            "gpu_memory_utilization": memory if on_gpu else None,
            **{f"{name}_parallel_size": size if size > 1 else None for name, size in parallel.items()},
        }
        try:
            self._llm = LLM(
                model=source,
                dtype=str(dtype).removeprefix("torch."),
                enable_prefix_caching=True,
                generation_config="vllm",
                trust_remote_code=model.trust_remote_code,
                load_format="bitsandbytes" if quantization == "4bit" else "safetensors",
                enforce_eager=eager,
                disable_log_stats=True,
                **{name: value for name, value in optional.items() if value is not None},
                **dict(more or {}),
            )
        except (OSError, ValueError, RuntimeError, ImportError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise EngineError(f"model={model.name}: vLLM can't load {model.path}: {reason}") from error
        # Else Python waits at its end for vLLM's processes, which wait for it.
        atexit.register(_shut_down, weakref.ref(self._llm))
        self._params = SamplingParams
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=model.trust_remote_code)
        self.tokens = PromptTokenizer(tokenizer, model.template)
        length = self._llm.llm_engine.model_config.max_model_len
        self.window = Window(length, lambda prompt: len(self.tokens.encode(prompt)))
        self._sampling = resolved_sampling(model.sampling, _generation_config(source))
        self.usage = Usage()
        self.cache = Cache()
        self.identity: Mapping[str, str] = {
            "engine": "vllm",
            "weights": fingerprint(source, getattr(self._llm.llm_engine.model_config.hf_config, "_commit_hash", None)),
            "dtype": str(dtype).removeprefix("torch."),
            "quantization": quantization,
            "sampling": str(asdict(self._sampling)),
            "template": self.tokens.template_digest(),
        }
        self.properties: Mapping[str, str] = {
            "device": "cuda" if on_gpu else "cpu",
            **{f"{name}_parallel": str(size) for name, size in parallel.items()},
        }

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        """Yield each request's index and text."""
        prompts = self.tokens.encode_all([request.prompt for request in requests])
        params = [
            self._params(
                **asdict(self._sampling), seed=request.seed, max_tokens=request.max_new_tokens, detokenize=False
            )
            for request in requests
        ]
        for index, output in enumerate(self._generate(prompts, params)):
            yield index, requests[index].cut(self.tokens.decode(output.token_ids))

    def score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield the log-probabilities of one dialogue's choices after the other."""
        numbered = enumerate(dialogues)
        while some := list(itertools.islice(numbered, DIALOGUES_AT_ONCE)):
            choices = [choice for _, dialogue in some for choice in dialogue]
            prompts = self.tokens.encode_all([choice.prompt for choice in choices])
            letters = [[self.tokens.of_letter(option) for option in choice.options] for choice in choices]
            params = [
                self._params(
                    max_tokens=1, temperature=0, detokenize=False, logprob_token_ids=sorted({*itertools.chain(*tokens)})
                )
                for tokens in letters
            ]
            found = (
                [np.logaddexp.reduce([output.logprobs[0][token].logprob for token in letter]) for letter in tokens]
                for output, tokens in zip(self._generate(prompts, params), letters, strict=True)
            )
            for number, dialogue in some:
                logprobs = np.array(list(itertools.islice(found, len(dialogue))))
                require_numbers(torch.from_numpy(logprobs))
                yield number, logprobs

    def _generate(self, prompts: Sequence[list[int]], params: Sequence[Any]) -> Iterator[Any]:
        """Give each prompt's completion, in order."""
        for prompt, each in zip(prompts, params, strict=True):
            require_room(len(prompt) + each.max_tokens, self.window)
        given = [{"prompt_token_ids": prompt} for prompt in prompts]
        for prompt, output in zip(prompts, self._llm.generate(given, list(params), use_tqdm=False), strict=True):
            (completion,) = output.outputs
            self.usage.encoded_tokens += len(prompt) - (output.num_cached_tokens or 0)
            self.usage.generated_tokens += len(completion.token_ids)
            yield completion


def _shut_down(reference: Callable[[], Any]) -> None:
    llm = reference()
    if llm is not None:
        llm.llm_engine.engine_core.shutdown()


def _cores() -> str:
    """Name the cores that this process may use: vLLM by itself may leave some out."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


def _generation_config(source: str) -> GenerationConfig:
    try:
        return GenerationConfig.from_pretrained(source)
    except OSError:
        return GenerationConfig()
