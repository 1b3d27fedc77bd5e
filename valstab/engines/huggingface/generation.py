"""Sample messages for many dialogues at once, each with its own random numbers."""

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TopPLogitsWarper

from valstab.engines.base import GenerationRequest, Usage
from valstab.engines.huggingface.causal_lm import CausalLM
from valstab.engines.huggingface.kv_cache import PrefixCache, stack_rows
from valstab.engines.huggingface.memory import Limits, batches, retry_in_halves, trim_memory
from valstab.engines.limits import require_numbers
from valstab.engines.loading import ResolvedSampling

MIN_ALIVE = 7 / 8
"""Share of unfinished rows below which finished rows leave the batch: removing them copies the cache."""


TOKENS_AT_ONCE = 8192
"""Number of prompt tokens that are encoded at a time: more is not faster, and activations take memory too."""


class Generation:
    """Continues dialogues with one model.

    Args:
        causal: the model.
        sampling: how a token is drawn.
        ends: the tokens that end a message.
        decode: returns the text of tokens.
        limits: of a batch; `rows` shrinks when memory runs out, and as many `tokens` are kept between messages.
        usage: where tokens are counted.
    """

    def __init__(
        self,
        causal: CausalLM,
        *,
        sampling: ResolvedSampling,
        ends: set[int],
        decode: Callable[[list[int]], str],
        limits: Limits,
        usage: Usage,
    ) -> None:
        self.limits = limits
        self._causal = causal
        self._sampling = sampling
        self._ends = ends
        self._decode = decode
        self._usage = usage
        self._cached = PrefixCache(limits.tokens)
        self._has_rows = all(hasattr(layer, "batch_select_indices") for layer in causal.empty_cache().layers)

    def forget(self) -> None:
        """Free the prefixes that are kept between messages."""
        self._cached.clear()
        trim_memory()

    def run(
        self, prompts: Sequence[list[int]], requests: Sequence[GenerationRequest], more_ends: Collection[int] = ()
    ) -> Iterator[tuple[int, str]]:
        """Yield each request's index and text as it ends; prompts of similar length share a batch.

        Args:
            prompts: tokens of each request's prompt.
            requests: the requests.
            more_ends: further tokens that end a text.
        """
        ends = self._ends.union(more_ends)
        self._cached.next_round()
        groups: dict[tuple[bool, int], list[int]] = {}
        for i, prompt in enumerate(prompts):
            # A state-space model would process padding as text, so its batches have prompts of one length.
            key = (prompt in self._cached, 0 if self._has_rows else len(prompt))
            groups.setdefault(key, []).append(i)
        for group in groups.values():
            lengths = {i: len(prompts[i]) + requests[i].max_new_tokens for i in group}
            for batch in batches(lengths, self.limits):
                yield from retry_in_halves(
                    batch, lambda rows: self._batch(rows, prompts, requests, ends), self._cached.clear, self.limits
                )
                trim_memory()

    def _batch(
        self,
        indices: Sequence[int],
        prompts: Sequence[list[int]],
        requests: Sequence[GenerationRequest],
        ends: Collection[int],
    ) -> Iterator[tuple[int, str]]:
        prompts = [prompts[i] for i in indices]
        requests = [requests[i] for i in indices]
        draws = [np.random.default_rng(request.seed).random(request.max_new_tokens) for request in requests]
        generated: list[list[int]] = [[] for _ in requests]
        tokens, mask = self._causal.pad(prompts, left=True)
        # A repetition penalty must not see the padding, so one of the prompt's own tokens takes its place.
        seen = torch.where(mask.bool(), tokens, tokens[:, -1:])
        cache, new = self._start(prompts)
        tokens = tokens[:, -new:]
        self._usage.encoded_tokens += sum(min(new, len(prompt)) for prompt in prompts)
        rows = list(range(len(requests)))
        alive = set(rows)
        while alive:
            logits = self._encode(tokens, mask, cache)
            require_numbers(logits[[position for position, row in enumerate(rows) if row in alive]])
            self._usage.generated_tokens += len(alive)
            self._usage.steps += 1
            uniform = [draws[row][len(generated[row])] if row in alive else 0.0 for row in rows]
            drawn = self._sample(seen, logits.float(), torch.tensor(uniform, device=logits.device))
            for position, (row, token) in enumerate(zip(rows, drawn.tolist(), strict=True)):
                if row not in alive:
                    continue
                generated[row].append(token)
                text = self._finished(generated[row], requests[row], ends)
                if text is not None:
                    alive.remove(row)
                    self._cached.put(prompts[row], generated[row], cache, position)
                    yield indices[row], text
            tokens = drawn[:, None]
            seen = torch.cat([seen, tokens], dim=1)
            mask = torch.cat([mask, torch.ones_like(tokens)], dim=1)
            if alive and len(alive) < MIN_ALIVE * len(rows) and self._has_rows:
                staying = [position for position, row in enumerate(rows) if row in alive]
                tokens, seen, mask = tokens[staying], seen[staying], mask[staying]
                cache.batch_select_indices(torch.tensor(staying, device=self._causal.device))
                rows = [rows[position] for position in staying]

    # In a forward pass of one token, calling compiled code costs more than it saves.
    @torch.compiler.set_stance("force_eager")  # type: ignore[untyped-decorator]
    def _encode(self, tokens: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
        """Encode new tokens of all rows, some columns at a time, and return the last logits: (rows, vocabulary)."""
        rows, new = tokens.shape
        # A state-space model can process several tokens at once only from its empty state.
        columns = max(1, TOKENS_AT_ONCE // rows) if self._has_rows else new
        for end in range(columns, new, columns):
            self._causal.forward(tokens[:, end - columns : end], mask[:, : mask.shape[1] - new + end], cache)
        last = (new - 1) % columns + 1
        return self._causal.forward(tokens[:, new - last :], mask, cache)

    def _start(self, prompts: Sequence[list[int]]) -> tuple[DynamicCache, int]:
        """Return a cache with the known prefixes, and the number of last tokens that it does not hold."""
        taken = [self._cached.take(prompt) for prompt in prompts]
        prefixes = [prefix for prefix in taken if prefix is not None]
        if len(prefixes) < len(prompts):
            return self._causal.empty_cache(), max(map(len, prompts))
        new = max(len(prompt) - len(prefix.tokens) for prompt, prefix in zip(prompts, prefixes, strict=True))
        lengths = [max(0, len(prompt) - new) for prompt in prompts]
        return stack_rows(prefixes, lengths, self._causal.model.config), new

    def _sample(self, seen: Tensor, logits: Tensor, uniform: Tensor) -> Tensor:
        """Draw one token per row."""
        if self._sampling.repetition_penalty != 1:
            logits = RepetitionPenaltyLogitsProcessor(self._sampling.repetition_penalty)(seen, logits)
        tokens, candidates = filtered(logits, self._sampling)
        return tokens.gather(1, draw(candidates, uniform)[:, None]).squeeze(1)

    def _finished(self, generated: list[int], request: GenerationRequest, ends: Collection[int]) -> str | None:
        """Return the text if the message is complete."""
        ended = generated[-1] in ends or len(generated) == request.max_new_tokens
        if not ended and request.stop is None:
            return None
        text = self._decode(generated)
        cut = request.cut(text)
        return cut if ended or cut != text else None


def filtered(logits: Tensor, sampling: ResolvedSampling) -> tuple[Tensor, Tensor]:
    """Apply temperature, top-k, top-p and min-p, in transformers' order, to logits after any repetition penalty.

    A temperature of 0 leaves the most probable token only.

    Args:
        logits: (rows, vocabulary).
        sampling: how a token is drawn.

    Returns:
        The tokens that may be drawn, in ascending order, and their logits: (rows, candidates) each.
    """
    if sampling.temperature == 0:
        best = logits.argmax(1, keepdim=True)
        return best, logits.gather(1, best)
    vocabulary = logits.shape[1]
    tokens = logits.topk(min(sampling.top_k or vocabulary, vocabulary)).indices.sort(dim=1).values
    candidates = logits.gather(1, tokens) / sampling.temperature
    if sampling.top_p < 1:
        candidates = TopPLogitsWarper(sampling.top_p)(tokens, candidates)
    if sampling.min_p > 0:
        candidates = MinPLogitsWarper(sampling.min_p)(tokens, candidates)
    return tokens, candidates


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a token for each row by inverting its cumulative distribution.

    Args:
        logits: (rows, vocabulary).
        uniform: a number in [0, 1) for each row: (rows,).

    Returns:
        The tokens: (rows,).
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    threshold = uniform.to(cumulative)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)
