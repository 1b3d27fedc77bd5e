"""Run a model with Hugging Face transformers, in batches.

Messages are sampled for many dialogues at once (`generation`). Questions after one dialogue share its encoding
(`scoring`).
"""

import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from valstab.config.schema import ModelConfig
from valstab.engines.adapter import adapter_identity, find_adapter
from valstab.engines.base import (
    GIB,
    UNREAD,
    Cache,
    ChoiceRequest,
    EngineError,
    GenerationRequest,
    SampleRequest,
    ThoughtfulChoice,
    Usage,
    Waiting,
    Window,
    peak_bytes,
)
from valstab.engines.checkpoint import one_line_errors
from valstab.engines.fingerprint import fingerprint
from valstab.engines.huggingface.causal_lm import CausalLM
from valstab.engines.huggingface.compiled import can_compile, compile_model
from valstab.engines.huggingface.generation import Generation, draw, filtered
from valstab.engines.huggingface.int8 import quantise, require_int8
from valstab.engines.huggingface.memory import Limits, free_bytes, gpu_peak_bytes
from valstab.engines.huggingface.packed import can_pack, pack
from valstab.engines.huggingface.process_settings import ProcessSettings
from valstab.engines.huggingface.scoring import Scoring
from valstab.engines.labels import LabelWays, are_whole, label_logprobs, nodes, padded, read_tokens
from valstab.engines.limits import context_window, require_room
from valstab.engines.loading import end_tokens, load, precision, resolved_sampling, unused_sampling
from valstab.engines.prompts.thoughts import prompts_after, reply_after, think_then_score, thoughts_of
from valstab.engines.prompts.tokenizer import PromptTokenizer
from valstab.engines.written_answer import sample_by_writing

Choice = TypeVar("Choice", ChoiceRequest, SampleRequest)


CACHE_SHARE = {"cpu": 1 / 8, "cuda": 3 / 4}
"""Share of the free memory that key-value caches may take: on a GPU little else but the model needs any."""


MAX_ROWS = {"cpu": 128, "cuda": 512}
"""Default number of dialogues or questions in one forward pass: on a GPU many take as long as few."""


MIN_ROWS = 32
"""Number of messages below which batches do not shrink, however slow: fewer take nearly as long."""


MAX_TOKENS_AT_ONCE = {"cpu": 8192, "cuda": 32768}
"""Number of question tokens that are encoded at once: more is not faster."""


class TransformersEngine:
    """A causal language model on the CPU or on GPUs.

    Args:
        model: the weights, their precision, and how messages are sampled.
        quantization: one of `valstab.config.schema.QUANTIZATIONS`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        batch_size: the most dialogues or questions in one forward pass; `MAX_ROWS` by default.
        cache_gib: the memory that key-value caches may take, in GiB; by default `CACHE_SHARE` of what is free.
        compiled: whether norms and activations are compiled, if there is a C++ compiler.

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
        self._device = _resolve_device(device)
        self._has_fixed_rows = batch_size is not None
        device_type = self._device.partition(":")[0]
        if quantization == "int8":
            require_int8(device_type)
        compiled = compiled and quantization == "none" and can_compile(device_type)
        self.process_settings = ProcessSettings()
        with self.process_settings.applied(), one_line_errors(f"model={model.name}: {model.path}"):
            dtype = precision(model.dtype, self._device)
            source, tokenizer, loaded = load(model, quantization, self._device, dtype)
            n_parameters = loaded.num_parameters()
            if quantization == "int8":
                quantise(loaded)
            elif device_type == "cpu" and quantization == "none" and not compiled and can_pack(loaded):
                pack(loaded)
            self.process_settings.replacements = compile_model(loaded) if compiled else ()
            self.usage = Usage()
            self.tokens = PromptTokenizer(tokenizer, model.template)
            self.causal = CausalLM(loaded)
            self.cache = self._measure_cache(device_type, batch_size or MAX_ROWS[device_type], cache_gib)
            threads = torch.get_num_threads()
            length = context_window(loaded.config)
        self.window = None if length is None else Window(length, lambda prompt: len(self.tokens.encode(prompt)))
        self._sampling = resolved_sampling(model.sampling, loaded.generation_config)
        self.scoring = Scoring(self.causal, self._limits(1), self.usage, tokens=MAX_TOKENS_AT_ONCE[device_type])
        self.generation = Generation(
            self.causal,
            sampling=self._sampling,
            ends=end_tokens(tokenizer, loaded.generation_config),
            decode=self.tokens.decode,
            limits=self._limits(MIN_ROWS),
            usage=self.usage,
        )
        self.identity: Mapping[str, str] = {
            "engine": "transformers",
            "weights": fingerprint(source),
            "dtype": str(dtype).removeprefix("torch."),
            "quantization": quantization,
            "sampling": self._sampling.identity,
            "template": self.tokens.template_digest(),
            "compiled": str(compiled).lower(),
            **adapter_identity(find_adapter(model)),
        }
        self.properties: Mapping[str, str] = {
            "device": self._device,
            "parameters": str(n_parameters),
            "threads": str(threads),
            **unused_sampling(loaded.generation_config),
        }

    @torch.inference_mode()
    def _measure_cache(self, device_type: str, rows: int, cache_gib: float | None) -> Cache:
        """Return the cache's size: half of its memory is for the current batch, half is kept between messages."""
        cache_bytes = CACHE_SHARE[device_type] * free_bytes(self._device) if cache_gib is None else cache_gib * GIB
        token_bytes = self.causal.token_bytes()
        peak = gpu_peak_bytes if device_type == "cuda" else peak_bytes
        return Cache(int(cache_bytes / 2 / token_bytes), token_bytes, rows, peak)

    def _limits(self, min_rows: int) -> Limits:
        return Limits(self.cache.rows, self.cache.tokens, None if self._has_fixed_rows else min_rows)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        """Yield each request's index and text as it ends."""
        return self.process_settings.applied_to(self._generate(requests))

    def score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield each dialogue's index and log-probabilities (nats): (choices, options)."""
        return self.process_settings.applied_to(self._score_options(dialogues))

    def sample_options(self, dialogues: Iterable[Sequence[SampleRequest]]) -> Iterator[tuple[int, list[list[str]]]]:
        """Yield each dialogue's index and sampled answers; see `Engine.sample_options`.

        The token after the prompt is drawn; it is an answer if it decodes to exactly a letter. A repetition penalty,
        and labels of several characters, need whole messages.
        """
        asked = iter(dialogues)
        first = list(itertools.islice(asked, 1))
        dialogues = itertools.chain(first, asked)
        is_whole = any(are_whole(choice.options) for choices in first for choice in choices)
        if self._sampling.repetition_penalty != 1 or is_whole:
            return sample_by_writing(self.generate, dialogues)
        return self.process_settings.applied_to(self._sample_options(dialogues))

    def think_options(
        self, dialogues: Iterable[Sequence[ThoughtfulChoice]]
    ) -> Iterator[tuple[int, list[str], NDArray[np.float64]]]:
        """Yield each dialogue's index, thoughts and log-probabilities (nats); see `Engine.think_options`."""
        return think_then_score(self._think, self.score_options, dialogues)

    @torch.inference_mode()
    def _generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        if all(each.max_thought_tokens is None for each in requests):
            yield from self.generation.run(map(self._encoded, Waiting(requests)))
            return
        thoughts = thoughts_of(self._think, requests)
        prompts = prompts_after(thoughts, requests)
        encoded = [self._encoded(replace(each, prompt=prompt)) for each, prompt in zip(requests, prompts, strict=True)]
        for index, text in self.generation.run(iter(encoded)):
            yield index, reply_after(thoughts, index, text)

    def _encoded(self, request: GenerationRequest) -> tuple[list[int], GenerationRequest]:
        """Return the tokens of a request's prompt, and the request."""
        tokens = self.tokens.encode(request.prompt)
        require_room(len(tokens) + request.max_new_tokens, self.window)
        return tokens, request

    def _think(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        return self.process_settings.applied_to(self._generate_thoughts(requests))

    @torch.inference_mode()
    def _generate_thoughts(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        prompts = self.tokens.encode_before_thoughts([request.prompt for request in requests])
        for prompt, request in zip(prompts, requests, strict=True):
            require_room(len(prompt) + request.max_new_tokens, self.window)
        form, end = self.tokens.thoughts, self.tokens.thought_end
        requests = [replace(request, stop=re.escape(form.end) if end is None else None) for request in requests]
        waiting = zip(prompts, requests, strict=True)
        for index, text in self.generation.run(waiting, [] if end is None else [end]):
            yield index, form.cut(text)

    @torch.inference_mode()
    def _score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        for index, (choices, distributions) in enumerate(self._distributions(dialogues)):
            yield index, self._sum_labels(distributions, [self.tokens.of_labels(choice.options) for choice in choices])

    @torch.inference_mode()
    def _sample_options(self, dialogues: Iterable[Sequence[SampleRequest]]) -> Iterator[tuple[int, list[list[str]]]]:
        for index, (choices, distributions) in enumerate(self._distributions(dialogues)):
            tokens, candidates = filtered(torch.stack(list(distributions)).float(), self._sampling)
            answers: list[list[str]] = []
            for choice, allowed, logits in zip(choices, tokens, candidates, strict=True):
                uniform = torch.tensor([np.random.default_rng(seed).random() for seed in choice.seeds])
                drawn = allowed[draw(logits.expand(len(uniform), -1), uniform.to(logits.device))].tolist()
                letter_of = {token: letter for letter in choice.options for token in self.tokens.of_letter(letter)}
                answers.append([letter_of.get(token, UNREAD) for token in drawn])
            yield index, answers

    def _distributions(
        self, dialogues: Iterable[Sequence[Choice]]
    ) -> Iterator[tuple[Sequence[Choice], Sequence[Tensor]]]:
        """Yield each dialogue's requests, and the log-probabilities (nats) of the next token.

        These are after each request's prompt; for labels of several characters, also after their tokens, in the order
        of `valstab.engines.labels.nodes`.
        """
        self.generation.forget()
        asked: deque[Sequence[Choice]] = deque()

        def encoded() -> Iterator[list[list[int]]]:
            for choices in dialogues:
                asked.append(choices)
                prompts = self.tokens.encode_all([choice.prompt for choice in choices])
                continuations = [nodes(self.tokens.of_labels(choice.options)) for choice in choices]
                rows = [
                    prompt + list(node) for prompt, some in zip(prompts, continuations, strict=True) for node in some
                ]
                require_room(max(map(len, rows)) + 1, self.window)
                yield rows

        for distributions in self.scoring.run(encoded()):
            yield asked.popleft(), distributions

    def _sum_labels(
        self, distributions: Sequence[Tensor], labels: Sequence[Sequence[LabelWays]]
    ) -> NDArray[np.float64]:
        """Return the log-probability of each label of each question: (choices, options)."""
        columns = sorted({token for each in labels for token in read_tokens(each)})
        column_of = {token: column for column, token in enumerate(columns)}
        rows = iter(torch.stack(list(distributions))[:, columns].double().cpu().numpy())
        return padded(
            [label_logprobs(each, list(itertools.islice(rows, len(nodes(each)))), column_of) for each in labels]
        )


def _resolve_device(device: str) -> str:
    """Return the device, where `auto` is a GPU if there is one.

    Raises:
        EngineError: if a GPU is asked for and there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise EngineError(f"engine.device={device}: there is no GPU that torch can use; allowed: auto, cpu")
    return device
