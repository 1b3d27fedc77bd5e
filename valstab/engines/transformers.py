"""Run a model with Hugging Face transformers, in batches.

Messages are sampled for many dialogues at once (`generation`); questions after one dialogue share its beginning
(`scoring`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray

from valstab.config import Model
from valstab.engine import Cache, Choice, Continuation, EngineError, Usage, Window
from valstab.engines import fused
from valstab.engines.causal import Causal
from valstab.engines.context import context_window, require_room
from valstab.engines.generation import Generation
from valstab.engines.loading import end_tokens, load, precision, resolved_sampling, use_own_cores
from valstab.engines.memory import GIB, Limits, free_bytes
from valstab.engines.scoring import Scoring
from valstab.engines.tokens import Tokens
from valstab.engines.weights import fingerprint

SHARE = {"cpu": 1 / 8, "cuda": 3 / 4}
"""The part of the free memory that key-value caches may take: on a GPU the model is all else there is."""


class TransformersEngine:
    """A causal language model on the CPU or on GPUs.

    Args:
        model: which, in which precision, and how it samples.
        quantization: one of `valstab.config.QUANTIZATIONS`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        batch_size: the most dialogues or questions in one forward pass.
        cache_gib: the memory that key-value caches may take, in GiB; by default a part of what is free.
        compiled: whether norms and activations are compiled, on a CPU with a C++ compiler.

    Raises:
        EngineError: if the weights can't be found or loaded.
    """

    def __init__(
        self,
        model: Model,
        quantization: str,
        *,
        device: str = "auto",
        batch_size: int = 128,
        cache_gib: float | None = None,
        compiled: bool = False,
    ) -> None:
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if self._device.startswith("cuda") and not torch.cuda.is_available():
            raise EngineError(f"engine.device={device}: there is no GPU that torch can use; allowed: auto, cpu")
        use_own_cores()
        dtype = precision(model.dtype, self._device)
        source, tokenizer, loaded = load(model, quantization, self._device, dtype)
        compiled = compiled and self._device == "cpu" and quantization == "none" and fused.can_compile()
        if compiled:
            fused.fuse(loaded)
        sampling = resolved_sampling(model.sampling, loaded.generation_config)
        self.usage = Usage()
        self.tokens = Tokens(tokenizer, model.template)
        self.causal = causal = Causal(loaded)
        with torch.inference_mode():
            cache_bytes = SHARE[self._device[:4]] * free_bytes(self._device) if cache_gib is None else cache_gib * GIB
            # One half is for the batch at work, the other for what is kept between messages.
            token_bytes = causal.token_bytes()
        self.cache = Cache(int(cache_bytes / 2 / token_bytes), token_bytes)
        length = context_window(loaded.config)
        self.window = None if length is None else Window(length, lambda prompt: len(self.tokens.encode(prompt)))
        self._scoring = Scoring(causal, Limits(batch_size, self.cache.tokens), self.usage)
        self._generation = Generation(
            causal,
            sampling=sampling,
            ends=end_tokens(tokenizer, loaded.generation_config),
            decode=self.tokens.decode,
            limits=Limits(batch_size, self.cache.tokens),
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
    def continue_dialogues(self, requests: Sequence[Continuation]) -> Iterator[tuple[int, str]]:
        """Yield each request's index and text as it ends."""
        prompts = [self.tokens.encode(request.prompt) for request in requests]
        for prompt, request in zip(prompts, requests, strict=True):
            require_room(len(prompt) + request.max_new_tokens, self.window)
        yield from self._generation.run(prompts, requests)

    @torch.inference_mode()
    def choose(self, dialogues: Iterable[Sequence[Choice]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield the log-probabilities of one dialogue's choices after the other."""
        self._generation.forget()
        for index, choices in enumerate(dialogues):
            logprobs = np.empty((len(choices), len(choices[0].options)))
            prompts = [self.tokens.encode(choice.prompt) for choice in choices]
            require_room(max(map(len, prompts)) + 1, self.window)
            for row, distribution in self._scoring.run(prompts):
                letters = [distribution[self.tokens.of_letter(letter)] for letter in choices[row].options]
                logprobs[row] = torch.stack([torch.logsumexp(letter, 0) for letter in letters]).cpu().numpy()
            yield index, logprobs
