"""Sample messages for many dialogues at once, each with its own random numbers."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TopPLogitsWarper

from valstab.engines.base import GenerationRequest, Usage
from valstab.engines.huggingface.batch import Batch, PaddedBatch, Queue, Row, SlotBatch
from valstab.engines.huggingface.causal_lm import CausalLM
from valstab.engines.huggingface.kv_cache import PrefixCache, has_plain_layers, is_uniform, stack_rows
from valstab.engines.huggingface.memory import Limits, make_room, trim_memory
from valstab.engines.limits import require_numbers
from valstab.engines.loading import ResolvedSampling

MIN_ALIVE = 7 / 8
"""Share of rows at work: with fewer, others join, or the free places leave, which copies the cache."""


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
        cache = causal.empty_cache()
        self._has_rows = all(hasattr(layer, "batch_select_indices") for layer in cache.layers)
        self._has_slots = has_plain_layers(cache)

    def forget(self) -> None:
        """Free the prefixes that are kept between messages."""
        self._cached.clear()
        trim_memory()

    def run(
        self, waiting: Iterable[tuple[list[int], GenerationRequest]], more_ends: Collection[int] = ()
    ) -> Iterator[tuple[int, str]]:
        """Yield each request's number and text as it ends; other requests then take its place in the batch.

        Args:
            waiting: requests, each with its prompt's tokens. After each text it is iterated again, since more may have
                come.
            more_ends: further tokens that end a text.

        Raises:
            EngineError: if memory does not suffice for a single request.
        """
        ends = self._ends.union(more_ends)
        queue = Queue(waiting)
        alone: set[int] = set()
        while queue.take():
            try:
                yield from self._run_batch(queue, ends)
            except (RuntimeError, MemoryError) as error:
                self._cached.clear()
                make_room(error, queue.begun, alone, self.limits)
                queue.restart()
            trim_memory()

    def _run_batch(self, queue: Queue, ends: Collection[int]) -> Iterator[tuple[int, str]]:
        """Yield numbers and texts until no request is at work."""
        batch = SlotBatch(self._causal) if self._has_slots else PaddedBatch(self._causal)
        last_end = time.monotonic()
        while self._admit(batch, queue):
            logits = self._step(batch)
            alive = [(place, row) for place, row in enumerate(batch.rows) if row is not None]
            require_numbers(logits[[place for place, _ in alive]])
            self._usage.generated_tokens += len(alive)
            self._usage.steps += 1
            drawn = self._sample(batch.rows, logits.float()).tolist()
            for place, row in alive:
                row.generated.append(drawn[place])
                text = self._finished(row.generated, row.request, ends)
                if text is None:
                    continue
                if is_uniform(batch.cache):
                    n_dialogues = len(queue.begun) + queue.take()
                    self._cached.put(row.prompt, row.generated, batch.states(place, row.n_encoded), n_dialogues)
                batch.rows[place] = None
                queue.end(row)
                self.limits.shrink_if_slow(len(alive), time.monotonic() - last_end)
                yield row.number, text
                last_end = time.monotonic()

    def _admit(self, batch: Batch, queue: Queue) -> bool:
        """Let requests join the batch, or drop its free places if there are many; return whether any is at work."""
        alive = [row for row in batch.rows if row is not None]
        new = self._begin(alive, queue)
        groups: dict[bool, list[Row]] = {True: [], False: []}
        for row in new:
            groups[row.prompt in self._cached].append(row)
        for rows in filter(None, groups.values()):
            batch.join(rows, self._encode(rows))
        if not new and alive and len(alive) < MIN_ALIVE * len(batch.rows) and self._has_rows:
            batch.keep([place for place, row in enumerate(batch.rows) if row is not None])
        return bool(alive or new)

    def _begin(self, alive: Sequence[Row], queue: Queue) -> list[Row]:
        """Return the requests that join those at work: none, until they are enough to be worth a forward pass."""
        room = min(queue.take(), self.limits.rows - len(alive))
        if alive and (not self._has_slots or room < (1 - MIN_ALIVE) * len(alive)):
            return []

        def fits(new: Sequence[Row]) -> bool:
            # A state-space model would process padding as text, so its batches have prompts of one length.
            is_alike = self._has_rows or len(new[-1].prompt) == len(new[0].prompt)
            tokens = (len(alive) + len(new)) * max(row.capacity for row in (*alive, *new))
            return is_alike and (tokens <= self.limits.tokens or (not alive and len(new) == 1))

        return queue.begin(room, fits)

    # In a forward pass of one token, calling compiled code costs more than it saves.
    @torch.compiler.set_stance("force_eager")  # type: ignore[untyped-decorator]
    def _step(self, batch: Batch) -> Tensor:
        """Return the logits after the last token of each row: (rows, vocabulary)."""
        return batch.step()

    @torch.compiler.set_stance("force_eager")  # type: ignore[untyped-decorator]
    def _encode(self, rows: Sequence[Row]) -> DynamicCache:
        """Return a cache with all tokens but the last of each prompt, padded on the left."""
        prompts = [row.prompt[:-1] for row in rows]
        tokens, mask = self._causal.pad(prompts, left=True)
        cache, new = self._start(prompts)
        self._usage.encoded_tokens += sum(min(new, len(prompt)) + 1 for prompt in prompts)
        # A state-space model can process several tokens at once only from its empty state.
        columns = max(1, TOKENS_AT_ONCE // len(rows)) if self._has_rows else new
        for start in range(-new, 0, columns):
            end = min(0, start + columns)
            width = mask.shape[1] + end
            self._causal.forward(tokens[:, start : end or None], mask[:, :width], cache)
        return cache

    def _start(self, prompts: Sequence[list[int]]) -> tuple[DynamicCache, int]:
        """Return a cache with the known prefixes, and the number of last tokens that it does not hold."""
        taken = [self._cached.take(prompt) for prompt in prompts]
        prefixes = [prefix for prefix in taken if prefix is not None]
        if len(prefixes) < len(prompts):
            return self._causal.empty_cache(), max(map(len, prompts))
        new = max(len(prompt) - len(prefix.tokens) for prompt, prefix in zip(prompts, prefixes, strict=True))
        lengths = [max(0, len(prompt) - new) for prompt in prompts]
        return stack_rows(prefixes, lengths, self._causal.model.config), new

    def _sample(self, rows: Sequence[Row | None], logits: Tensor) -> Tensor:
        """Draw one token per row."""
        if self._sampling.repetition_penalty != 1:
            said = [row.tokens if row else [0] for row in rows]
            width = max(map(len, said))
            # The penalty must not see padding, so one of the row's own tokens takes its place.
            seen = torch.tensor([[each[-1]] * (width - len(each)) + each for each in said], device=logits.device)
            logits = RepetitionPenaltyLogitsProcessor(float(self._sampling.repetition_penalty))(seen, logits)
        uniform = [row.draws[len(row.generated)] if row else 0.0 for row in rows]
        tokens, candidates = filtered(logits, self._sampling)
        drawn = draw(candidates, torch.tensor(uniform, device=logits.device))
        return tokens.gather(1, drawn[:, None]).squeeze(1)

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
