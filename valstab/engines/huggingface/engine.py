"""Run a model with Hugging Face transformers, in batches.

Messages are sampled for many dialogues at once (`generation`); questions after one dialogue share its beginning
(`scoring`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray

from valstab.config.schema import ModelConfig
from valstab.engines.base import GIB, Cache, ChoiceRequest, EngineError, GenerationRequest, Usage, Window, peak_bytes
from valstab.engines.checkpoint import fingerprint
from valstab.engines.huggingface.causal_lm import CausalLM
from valstab.engines.huggingface.compiled import can_compile, compile_modules
from valstab.engines.huggingface.generation import Generation
from valstab.engines.huggingface.memory import Limits, free_bytes, gpu_peak_bytes
from valstab.engines.huggingface.scoring import Scoring
from valstab.engines.limits import context_window, require_room
from valstab.engines.loading import end_tokens, limit_threads, load, precision, resolved_sampling
from valstab.engines.tokenizer import PromptTokenizer

CACHE_SHARE = {"cpu": 1 / 8, "cuda": 3 / 4}
"""The part of the free memory that key-value caches may take: on a GPU the model is all else there is."""


MAX_ROWS = {"cpu": 128, "cuda": 512}
"""The most dialogues or questions in one forward pass: on a GPU one takes as long for many as for few."""


MAX_TOKENS_AT_ONCE = {"cpu": 8192, "cuda": 32768}
"""The most tokens of questions that are encoded at once: more is not faster."""


class TransformersEngine:
    """A causal language model on the CPU or on GPUs.

    Args:
        model: which, in which precision, and how it samples.
        quantization: one of `valstab.config.QUANTIZATIONS`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        batch_size: the most dialogues or questions in one forward pass; by default `MAX_ROWS`.
        cache_gib: the memory that key-value caches may take, in GiB; by default a part of what is free.
        compiled: whether norms and activations are compiled, where there is a C++ compiler.

    Raises:
        EngineError: if the weights can't be found or loaded.
    """

    def __init__(
        self,
        model: ModelConfig,
        quantization: str,
        *,
        device: str = "auto",
        batch_size: int | None = None,
        cache_gib: float | None = None,
        compiled: bool = False,
    ) -> None:
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if self._device.startswith("cuda") and not torch.cuda.is_available():
            raise EngineError(f"engine.device={device}: there is no GPU that torch can use; allowed: auto, cpu")
        kind = self._device.partition(":")[0]
        limit_threads()
        dtype = precision(model.dtype, self._device)
        source, tokenizer, loaded = load(model, quantization, self._device, dtype)
        compiled = compiled and quantization == "none" and can_compile(kind)
        if compiled:
            compile_modules(loaded)
        if kind == "cuda":
            # cuDNN makes a plan for each new length: while a message is generated, for each token.
            torch.backends.cuda.enable_cudnn_sdp(False)
        sampling = resolved_sampling(model.sampling, loaded.generation_config)
        self.usage = Usage()
        self.tokens = PromptTokenizer(tokenizer, model.template)
        self.causal = causal = CausalLM(loaded)
        with torch.inference_mode():
            cache_bytes = CACHE_SHARE[kind] * free_bytes(self._device) if cache_gib is None else cache_gib * GIB
            # One half is for the batch at work, the other for what is kept between messages.
            token_bytes = causal.token_bytes()
        rows = batch_size or MAX_ROWS[kind]
        peak = gpu_peak_bytes if kind == "cuda" else peak_bytes
        self.cache = Cache(int(cache_bytes / 2 / token_bytes), token_bytes, rows, peak)
        length = context_window(loaded.config)
        self.window = None if length is None else Window(length, lambda prompt: len(self.tokens.encode(prompt)))
        self._scoring = Scoring(causal, Limits(rows, self.cache.tokens), self.usage, tokens=MAX_TOKENS_AT_ONCE[kind])
        self._generation = Generation(
            causal,
            sampling=sampling,
            ends=end_tokens(tokenizer, loaded.generation_config),
            decode=self.tokens.decode,
            limits=Limits(rows, self.cache.tokens),
            usage=self.usage,
        )
        self.identity: Mapping[str, str] = {
            "engine": "transformers",
            "weights": fingerprint(source, getattr(loaded.config, "_commit_hash", None)),
            "dtype": str(dtype).removeprefix("torch."),
            "quantization": quantization,
            "sampling": str(asdict(sampling)),
            "template": self.tokens.template_digest(),
            "compiled": str(compiled).lower(),
        }
        self.properties: Mapping[str, str] = {
            "device": self._device,
            "parameters": str(loaded.num_parameters()),
            "threads": str(torch.get_num_threads()),
        }

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        """Yield each request's index and text as it ends."""
        prompts = self.tokens.encode_all([request.prompt for request in requests])
        for prompt, request in zip(prompts, requests, strict=True):
            require_room(len(prompt) + request.max_new_tokens, self.window)
        yield from self._generation.run(prompts, requests)

    @torch.inference_mode()
    def score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield the log-probabilities of one dialogue's choices after the other."""
        self._generation.forget()
        asked: deque[Sequence[ChoiceRequest]] = deque()

        def encoded() -> Iterator[list[list[int]]]:
            for choices in dialogues:
                asked.append(choices)
                prompts = self.tokens.encode_all([choice.prompt for choice in choices])
                require_room(max(map(len, prompts)) + 1, self.window)
                yield prompts

        for index, distributions in enumerate(self._scoring.run(encoded())):
            letters = [[self.tokens.of_letter(letter) for letter in choice.options] for choice in asked.popleft()]
            columns = sorted({token for each in letters for tokens in each for token in tokens})
            known = torch.stack(distributions)[:, columns].double().cpu().numpy()
            place = {token: column for column, token in enumerate(columns)}
            logprobs = [
                [np.logaddexp.reduce(row[[place[token] for token in tokens]]) for tokens in each]
                for row, each in zip(known, letters, strict=True)
            ]
            yield index, np.array(logprobs)
