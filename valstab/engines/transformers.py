"""Run a model with Hugging Face transformers, in batches.

Messages are sampled for many dialogues at once, each from a random stream of its own. Questions after
one dialogue share its beginning: it is encoded once, and each question only for its own tokens.
"""

import copy
import inspect
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    DynamicCache,
    RepetitionPenaltyLogitsProcessor,
    TopPLogitsWarper,
)

from valstab.config import Model, Sampling
from valstab.engine import Choice, Continuation, EngineError, Prompt, Usage
from valstab.engines import trunk
from valstab.engines.weights import checkpoint, fingerprint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResolvedSampling:
    """How messages are sampled; the defaults are what transformers does where nobody says otherwise."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 50
    repetition_penalty: float = 1.0


TRUNK_CHECKS = 4
TRUNK_TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far a probability may be off in the check of a few questions: rounding, not another attention."""


class TransformersEngine:
    """A causal language model on the CPU or on GPUs.

    Raises:
        EngineError: if the weights can't be found or loaded.
    """

    def __init__(
        self,
        model: Model,
        quantization: str,
        device: str = "auto",
        batch_size: int = 128,
        batch_tokens: int = 65_536,
    ) -> None:
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if self._device.startswith("cuda") and not torch.cuda.is_available():
            raise EngineError(f"engine.device={device}: there is no GPU that torch can use; allowed: auto, cpu")
        self._dtype = _dtype(model.dtype, self._device)
        source, self._tokenizer, self._model = _load(model, quantization, self._device, self._dtype)
        self._letters: dict[str, list[int]] = {}
        self._has_trunk = trunk.install(self._model)
        self._trunk_is_checked = False
        self._sampling = _sampling(model.sampling, self._model.generation_config)
        self._ends = _end_tokens(self._tokenizer, self._model.generation_config)
        self._accepts = inspect.signature(self._model.forward).parameters
        self.usage = Usage()
        self.identity: Mapping[str, str] = {
            "engine": "transformers",
            "weights": fingerprint(source, getattr(self._model.config, "_commit_hash", None)),
            "dtype": str(self._dtype).removeprefix("torch."),
            "quantization": quantization,
            "sampling": str(asdict(self._sampling)),
        }
        self.properties: Mapping[str, str] = {
            "device": self._device,
            "parameters": str(self._model.num_parameters()),
        }

    def encode(self, prompt: Prompt) -> list[int]:
        """Give the tokens of a prompt: the chat template's own special tokens, or a base model's usual ones."""
        if not prompt.messages:
            return list(self._tokenizer(prompt.text).input_ids)
        messages = [{"role": message.role, "content": message.text} for message in prompt.messages]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self._tokenizer(text + prompt.text, add_special_tokens=False).input_ids)

    def letter_tokens(self, letter: str) -> list[int]:
        """Give every token that decodes to exactly this letter."""
        if not self._letters:
            for token in range(len(self._tokenizer)):
                self._letters.setdefault(self._tokenizer.decode([token]), []).append(token)
        if letter not in self._letters:
            raise EngineError(f"no token of the model decodes to the letter {letter}")
        return self._letters[letter]

    @torch.inference_mode()
    def continue_dialogues(self, requests: Sequence[Continuation]) -> Iterator[tuple[int, str]]:
        """Yield each request's index and text as it ends; prompts of similar length share a batch."""
        prompts = [self.encode(request.prompt) for request in requests]
        lengths = {i: len(prompt) + requests[i].max_new_tokens for i, prompt in enumerate(prompts)}
        for batch in _batches(lengths, self._batch_size, self._batch_tokens):
            yield from self._continue_batch(batch, [prompts[i] for i in batch], [requests[i] for i in batch])

    def _continue_batch(
        self, indices: Sequence[int], prompts: Sequence[list[int]], requests: Sequence[Continuation]
    ) -> Iterator[tuple[int, str]]:
        self.usage.encoded_tokens += sum(map(len, prompts))
        draws = [np.random.default_rng(request.seed).random(request.max_new_tokens) for request in requests]
        generated: list[list[int]] = [[] for _ in requests]
        tokens, mask = self._pad(prompts, left=True)
        # A repetition penalty must not see the padding, so it stands as one of the prompt's own tokens there.
        seen = torch.where(mask.bool(), tokens, tokens[:, -1:])
        cache = DynamicCache(config=self._model.config)
        alive = list(range(len(requests)))
        while alive:
            logits = self._forward(tokens, mask, cache)
            self.usage.generated_tokens += len(alive)
            uniform = torch.tensor([draws[row][len(generated[row])] for row in alive], device=logits.device)
            drawn = self._sample(seen, logits.float(), uniform)
            keep = []
            for position, (row, token) in enumerate(zip(alive, drawn.tolist(), strict=True)):
                generated[row].append(token)
                text = self._finished(generated[row], requests[row])
                if text is None:
                    keep.append(position)
                else:
                    yield indices[row], text
            tokens = drawn[keep, None]
            seen = torch.cat([seen[keep], tokens], dim=1)
            mask = torch.cat([mask[keep], torch.ones_like(tokens)], dim=1)
            if len(keep) < len(alive) and keep:
                cache.batch_select_indices(torch.tensor(keep, device=self._model.device))
            alive = [alive[position] for position in keep]

    def _sample(self, seen: Tensor, logits: Tensor, uniform: Tensor) -> Tensor:
        """Draw one token a row as transformers would: penalty, temperature, top-k, then top-p."""
        settings = self._sampling
        if settings.repetition_penalty != 1:
            logits = RepetitionPenaltyLogitsProcessor(settings.repetition_penalty)(seen, logits)
        vocabulary = logits.shape[1]
        tokens = logits.topk(min(settings.top_k or vocabulary, vocabulary)).indices.sort(dim=1).values
        candidates = logits.gather(1, tokens) / settings.temperature
        if settings.top_p < 1:
            candidates = TopPLogitsWarper(settings.top_p)(tokens, candidates)
        return tokens.gather(1, draw(candidates, uniform)[:, None]).squeeze(1)

    def _finished(self, generated: list[int], request: Continuation) -> str | None:
        """Give the text if the message has come to its end."""
        ended = generated[-1] in self._ends or len(generated) == request.max_new_tokens
        if not ended and request.stop is None:
            return None
        text: str = self._tokenizer.decode(generated, skip_special_tokens=True)
        stop = re.search(request.stop, text, re.IGNORECASE) if request.stop is not None else None
        if stop is not None:
            return text[: stop.start()]
        return text if ended else None

    @torch.inference_mode()
    def choose(self, dialogues: Iterable[Sequence[Choice]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield the log-probabilities of one dialogue's choices after the other."""
        for index, choices in enumerate(dialogues):
            yield index, self._choose_after_one(choices)

    def _choose_after_one(self, choices: Sequence[Choice]) -> NDArray[np.float64]:
        prompts = [self.encode(choice.prompt) for choice in choices]
        shared = _common_prefix(prompts)
        self.usage.encoded_tokens += shared + sum(len(prompt) - shared for prompt in prompts)
        beginning = DynamicCache(config=self._model.config)
        if shared:
            start = torch.tensor([prompts[0][:shared]], device=self._model.device)
            self._forward(start, torch.ones_like(start), beginning)
        logprobs = np.empty((len(choices), len(choices[0].options)))
        lengths = {i: len(prompt) for i, prompt in enumerate(prompts)}
        for batch in _batches(lengths, self._batch_size, self._batch_tokens):
            # Padding stands on the right: between beginning and question it would shift a sliding window.
            tokens, mask = self._pad([prompts[index][shared:] for index in batch], left=False)
            distribution = self._distribution(beginning, shared, tokens, mask)
            for index, row in zip(batch, distribution, strict=True):
                options = [torch.logsumexp(row[self.letter_tokens(o)], 0) for o in choices[index].options]
                logprobs[index] = torch.stack(options).cpu().numpy()
        return logprobs

    def _distribution(self, beginning: DynamicCache, shared: int, tokens: Tensor, mask: Tensor) -> Tensor:
        """Give the log-probabilities of what comes after each row of a common beginning: (rows, vocabulary)."""
        length = shared + tokens.shape[1]
        if not shared or not self._has_trunk or not trunk.fits(self._model.config, length):
            return self._on_copies(beginning, shared, tokens, mask)
        if not self._trunk_is_checked:
            self._check_trunk(beginning, shared, tokens, mask)
            return self._distribution(beginning, shared, tokens, mask)
        return self._on_trunk(beginning, shared, tokens, mask)

    def _on_trunk(self, beginning: DynamicCache, shared: int, tokens: Tensor, mask: Tensor) -> Tensor:
        with _exact_head(self._model.get_output_embeddings(), mask.sum(1) - 1):
            logits: Tensor = trunk.encode(self._model, tokens, beginning, shared).logits[:, -1]
        return logits.log_softmax(-1)

    def _on_copies(self, beginning: DynamicCache, shared: int, tokens: Tensor, mask: Tensor) -> Tensor:
        cache = copy.deepcopy(beginning)
        if shared:
            cache.batch_repeat_interleave(len(tokens))
        whole = torch.cat([mask.new_ones(len(tokens), shared), mask], dim=1)
        with _exact_head(self._model.get_output_embeddings(), mask.sum(1) - 1):
            return self._forward(tokens, whole, cache, logits_to_keep=0).log_softmax(-1)

    def _check_trunk(self, beginning: DynamicCache, shared: int, tokens: Tensor, mask: Tensor) -> None:
        """Compare a few questions with the plainer way, once: an architecture may attend in a way of its own."""
        few = (tokens[:TRUNK_CHECKS], mask[:TRUNK_CHECKS])
        expected = self._on_copies(beginning, shared, *few).exp()
        try:
            difference = float((self._on_trunk(beginning, shared, *few).exp() - expected).abs().max())
            agrees = difference < TRUNK_TOLERANCE[self._dtype]
        except (NotImplementedError, AttributeError, KeyError, TypeError, RuntimeError, ValueError):
            agrees = False
        if not agrees:
            log.warning("%s: questions can't share their beginning without copies; slower", type(self._model).__name__)
        self._has_trunk = agrees
        self._trunk_is_checked = True

    def _forward(self, tokens: Tensor, mask: Tensor, cache: DynamicCache, logits_to_keep: int = 1) -> Tensor:
        """Encode `tokens` after what `cache` holds and give the last position's logits: (rows, vocabulary)."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        optional = {"logits_to_keep": logits_to_keep, "position_ids": positions}
        output = self._model(
            input_ids=tokens,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **{name: value for name, value in optional.items() if name in self._accepts},
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _pad(self, rows: Sequence[list[int]], *, left: bool) -> tuple[Tensor, Tensor]:
        """Give tokens and mask, each of the shape (rows, the longest row)."""
        width = max(map(len, rows))
        tokens = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for index, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            tokens[index, place] = torch.tensor(row)
            mask[index, place] = 1
        return tokens.to(self._model.device), mask.to(self._model.device)


def _batches(lengths: Mapping[int, int], most_rows: int, most_tokens: int) -> Iterator[list[int]]:
    """Split indices into batches of bounded rows and padded tokens, similar lengths together, the longest first."""
    order = sorted(lengths, key=lambda index: lengths[index], reverse=True)
    while order:
        rows = max(1, min(most_rows, most_tokens // max(1, lengths[order[0]])))
        yield order[:rows]
        order = order[rows:]


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a token for each row by inverting its cumulative distribution at `uniform`, one number in [0, 1) a row."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    threshold = uniform.to(cumulative)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)


def _load(model: Model, quantization: str, device: str, dtype: torch.dtype) -> tuple[str, Any, Any]:
    if model.path is None:
        raise EngineError(f"model={model.name} has no weights; give model.path, or use engine=random")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    common: dict[str, Any] = {"trust_remote_code": model.trust_remote_code}
    weights: dict[str, Any] = {"dtype": dtype, "device_map": "auto" if device == "cuda" else device}
    if quantization != "none":
        weights["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=quantization == "4bit",
            load_in_8bit=quantization == "8bit",
            bnb_4bit_compute_dtype=dtype,
        )
    try:
        source = checkpoint(model.path)
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        loaded = AutoModelForCausalLM.from_pretrained(source, use_safetensors=True, **common, **weights)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise EngineError(f"model={model.name}: {model.path} can't be loaded: {reason}") from error
    return source, tokenizer, loaded.eval()


def _dtype(name: str, device: str) -> torch.dtype:
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32  # noqa: SLF001  (no public one)


def _sampling(wanted: Sampling, generation_config: Any) -> ResolvedSampling:
    """Take each setting from the user, else from the checkpoint, else the default."""
    settings = {}
    for name in ("temperature", "top_p", "top_k", "repetition_penalty"):
        for source in (wanted, generation_config):
            if name not in settings and getattr(source, name, None) is not None:
                settings[name] = getattr(source, name)
    return ResolvedSampling(**settings)


def _end_tokens(tokenizer: Any, generation_config: Any) -> set[int]:
    ends = generation_config.eos_token_id
    tokens = ends if isinstance(ends, list) else [ends]
    return {token for token in [*tokens, tokenizer.eos_token_id] if token is not None}


def _common_prefix(prompts: Sequence[list[int]]) -> int:
    """Count the tokens that all prompts begin with, leaving each at least one of its own."""
    first, last = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


@contextmanager
def _exact_head(head: torch.nn.Module, ends: Tensor) -> Iterator[None]:
    """Let the output layer see one position a row, `ends`, and compute in float32.

    In bfloat16 the letters' logits would often tie.
    """

    def pick(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *others = inputs
        return hidden[torch.arange(len(ends), device=hidden.device), ends.to(hidden.device), None], *others

    def compute(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not isinstance(module, torch.nn.Linear) or not module.weight.is_floating_point():
            return output.float()
        bias = None if module.bias is None else module.bias.float()
        return torch.nn.functional.linear(inputs[0].float(), module.weight.float(), bias)

    hooks = (head.register_forward_pre_hook(pick), head.register_forward_hook(compute))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
