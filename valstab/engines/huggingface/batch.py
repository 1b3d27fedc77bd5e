"""A batch of dialogues, each of which is continued by one token at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from valstab.engines.base import GenerationRequest
from valstab.engines.huggingface.causal_lm import CausalLM
from valstab.engines.huggingface.kv_cache import SlotLayer, Slots


@dataclass
class Row:
    """A request and what was generated for it."""

    number: int
    prompt: list[int]
    """Tokens of the prompt."""
    request: GenerationRequest
    generated: list[int] = field(default_factory=list)

    @cached_property
    def draws(self) -> NDArray[np.float64]:
        """A random number in [0, 1) for each token that may be generated."""
        return np.random.default_rng(self.request.seed).random(self.request.max_new_tokens)

    @property
    def tokens(self) -> list[int]:
        """Tokens of the prompt and of the message so far; a batch has encoded all but the last."""
        return self.prompt + self.generated

    @property
    def n_encoded(self) -> int:
        """Number of tokens that a batch has encoded."""
        return len(self.prompt) + len(self.generated) - 1

    @property
    def capacity(self) -> int:
        """The most tokens that it can have."""
        return len(self.prompt) + self.request.max_new_tokens


class Queue:
    """Requests that wait to begin, and those that have begun.

    Args:
        waiting: requests, each with its prompt's tokens. It is iterated again each time, since more may have come.
    """

    def __init__(self, waiting: Iterable[tuple[list[int], GenerationRequest]]) -> None:
        self.begun: dict[int, Row] = {}
        """Requests at work, by their number."""
        self._waiting = waiting
        self._rows: deque[Row] = deque()
        self._n_taken = 0

    def take(self) -> int:
        """Take the requests that have come since, and return how many wait."""
        for prompt, request in self._waiting:
            self._rows.append(Row(self._n_taken, prompt, request))
            self._n_taken += 1
        return len(self._rows)

    def begin(self, number: int, fits: Callable[[Sequence[Row]], bool]) -> list[Row]:
        """Return up to a number of requests that begin, each of which fits those before it."""
        taken: list[Row] = []
        for row in self._rows:
            if len(taken) == number:
                break
            if fits([*taken, row]):
                taken.append(row)
        self.begun |= {row.number: row for row in taken}
        self._rows = deque(row for row in self._rows if row.number not in self.begun)
        return taken

    def end(self, row: Row) -> None:
        """Count a request as done."""
        del self.begun[row.number]

    def restart(self) -> None:
        """Let all requests at work wait again, before the others."""
        self._rows.extendleft([Row(row.number, row.prompt, row.request) for row in self.begun.values()][::-1])
        self.begun.clear()


class Batch(Protocol):
    """Rows at work, by their place in the batch."""

    rows: list[Row | None]
    """None for a free place."""
    cache: DynamicCache
    """What was encoded of each row."""

    def join(self, rows: Sequence[Row], cache: DynamicCache) -> None:
        """Let rows join, given what was encoded of them, padded on the left."""
        ...

    def step(self) -> Tensor:
        """Encode the last token of each row and return the logits after it: (rows, vocabulary)."""
        ...

    def keep(self, places: Sequence[int]) -> None:
        """Drop all other places."""
        ...

    def states(self, place: int, tokens: int) -> Iterator[Tensor]:
        """Yield the keys and values of a row in each layer: (2, heads, tokens, size)."""
        ...


class PaddedBatch:
    """Rows that begin together, for any architecture. The cache is padded on the left."""

    rows: list[Row | None]
    cache: DynamicCache

    def __init__(self, causal: CausalLM) -> None:
        self._causal = causal
        self.rows = []

    def join(self, rows: Sequence[Row], cache: DynamicCache) -> None:
        """Begin with these rows."""
        self.rows, self.cache = list(rows), cache
        width = max(row.n_encoded for row in rows)
        mask = [[0] * (width - row.n_encoded) + [1] * row.n_encoded for row in rows]
        self._mask = torch.tensor(mask, device=self._causal.device)

    def step(self) -> Tensor:
        """Encode the last token of each row and return the logits after it: (rows, vocabulary)."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=1)
        return self._causal.forward(_last_tokens(self.rows).to(self._causal.device), self._mask, self.cache)

    def keep(self, places: Sequence[int]) -> None:
        """Drop all other places, which needs a cache with rows."""
        self.rows = [self.rows[place] for place in places]
        self._mask = self._mask[list(places)]
        self.cache.batch_select_indices(torch.tensor(places, device=self._causal.device))

    def states(self, place: int, tokens: int) -> Iterator[Tensor]:
        """Yield the keys and values of a row in each layer: (2, heads, tokens, size)."""
        return _states(self.cache, place, slice(-tokens, None))


class SlotBatch:
    """Rows that join and leave at any time. Each has a slot of the cache, padded on the right."""

    rows: list[Row | None]
    cache: DynamicCache

    def __init__(self, causal: CausalLM) -> None:
        self._causal = causal
        self._slots, self._capacity = Slots(), 0
        self.rows = []
        self.cache = DynamicCache()

    def join(self, rows: Sequence[Row], cache: DynamicCache) -> None:
        """Copy rows into free slots, and into new ones where these don't suffice."""
        if not self.rows:
            self.cache.layers = [SlotLayer(self._slots, layer) for layer in cache.layers]
        capacity = max(self._capacity, *(row.capacity for row in rows))
        free = [place for place, row in enumerate(self.rows) if row is None]
        missing = max(0, len(rows) - len(free))
        if missing or capacity > self._capacity:
            free += range(len(self.rows), len(self.rows) + missing)
            self._resize(range(len(self.rows)), len(self.rows) + missing, capacity)
        for number, (slot, row) in enumerate(zip(free, rows, strict=False)):
            self.rows[slot] = row
            for layer, source in zip(self.cache.layers, cache.layers, strict=True):
                layer.put(slot, source, number, row.n_encoded)

    def step(self) -> Tensor:
        """Encode the last token of each row and return the logits after it: (slots, vocabulary)."""
        ends = torch.tensor([row.n_encoded if row else 0 for row in self.rows], device=self._causal.device)
        self._slots.ends, self._slots.width = ends, int(ends.max()) + 1
        mask = (torch.arange(self._slots.width, device=ends.device) <= ends[:, None]).long()
        return self._causal.forward(_last_tokens(self.rows).to(self._causal.device), mask, self.cache)

    def keep(self, places: Sequence[int]) -> None:
        """Drop all other slots."""
        self._resize(places, len(places), self._capacity)

    def states(self, place: int, tokens: int) -> Iterator[Tensor]:
        """Yield the keys and values of a row in each layer: (2, heads, tokens, size)."""
        return _states(self.cache, place, slice(0, tokens))

    def _resize(self, slots: Sequence[int], n_slots: int, capacity: int) -> None:
        for layer in self.cache.layers:
            layer.resize(slots, n_slots, capacity)
        self.rows = [self.rows[slot] for slot in slots] + [None] * (n_slots - len(slots))
        self._capacity = capacity


def _last_tokens(rows: Sequence[Row | None]) -> Tensor:
    """Return the last token of each row: (rows, 1)."""
    return torch.tensor([[(row.generated or row.prompt)[-1] if row else 0] for row in rows])


def _states(cache: DynamicCache, row: int, columns: slice) -> Iterator[Tensor]:
    """Yield some columns of a row of each layer: (2, heads, columns, size)."""
    for layer in cache.layers:
        yield torch.stack([layer.keys[row, :, columns], layer.values[row, :, columns]])
