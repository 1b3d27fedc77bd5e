"""Key-value caches: layers that grow in place, and prefixes that are kept from one message to the next."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, DynamicLayer

SPARE_POSITIONS = 128
"""Number of tokens for which a layer allocates memory ahead: about the length of a message."""


MAX_AGE = 4
"""Number of messages of each dialogue, twice those of both speakers, that an unused prefix is kept for."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """A layer's keys and values, (rows, heads, tokens, size), in buffers with spare positions.

    Appending a token writes into the buffer, where the plain layer copies everything.
    """

    keys: Tensor
    values: Tensor
    _buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append new tokens and return the states of all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        length = held + key_states.shape[2]
        if self._buffers is None or length > self._buffers[0].shape[2]:
            self._buffers = (
                _enlarged(self.keys, held, key_states, length + SPARE_POSITIONS),
                _enlarged(self.values, held, value_states, length + SPARE_POSITIONS),
            )
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, held:length] = new
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row."""
        super().batch_repeat_interleave(repeats)
        self._buffers = None

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows at `indices`."""
        super().batch_select_indices(indices)
        self._buffers = None


def _enlarged(states: Tensor, held: int, like: Tensor, length: int) -> Tensor:
    """Return a buffer for `length` tokens, with a copy of the first `held`."""
    rows, heads, _, size = like.shape
    buffer = like.new_empty(rows, heads, length, size)
    if held:
        buffer[:, :, :held] = states
    return buffer


class Slots:
    """The state that all layers of a batch share while one more token is encoded in each slot."""

    ends: Tensor
    """The number of tokens before it in each slot: (slots,)."""
    width: int
    """The number of tokens of the longest slot, with the new one."""


class SlotLayer(DynamicLayer):  # type: ignore[misc]
    """A layer's keys and values in slots: (slots, heads, tokens, size), padded on the right.

    Args:
        slots: the state of the batch.
        like: a layer of the same model, which holds something.
    """

    def __init__(self, slots: Slots, like: GrowingLayer) -> None:
        super().__init__()
        self._slots = slots
        self.lazy_initialization(like.keys, like.values)
        self.keys, self.values = (states[:0] for states in (like.keys, like.values))

    def resize(self, slots: Sequence[int], n_slots: int, capacity: int) -> None:
        """Move slots to a buffer for `n_slots` of `capacity` tokens; what they don't fill is zero."""
        resized = []
        for states in (self.keys, self.values):
            _, heads, _, size = states.shape
            buffer = states.new_zeros(n_slots, heads, capacity, size)
            for new, old in enumerate(slots):
                buffer[new, :, : states.shape[2]] = states[old, :, :capacity]
            resized.append(buffer)
        self.keys, self.values = resized

    def put(self, slot: int, source: DynamicLayer, row: int, length: int) -> None:
        """Copy the last tokens of a row of another layer to the begin of a slot."""
        for buffer, states in ((self.keys, source.keys), (self.values, source.values)):
            buffer[slot, :, :length] = states[row, :, states.shape[2] - length :]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write one token into each slot and return the states of all."""
        ends = self._slots.ends.to(key_states.device)
        rows = torch.arange(len(ends), device=ends.device)
        for buffer, new in ((self.keys, key_states), (self.values, value_states)):
            buffer[rows, :, ends] = new[:, :, 0]
        return self.keys[:, :, : self._slots.width], self.values[:, :, : self._slots.width]

    def get_seq_length(self) -> int:
        """Return the number of tokens before the new one in the longest slot."""
        return self._slots.width - 1


def empty_cache(config: Any) -> DynamicCache:
    """Return an empty cache for a model, whose plain layers grow in place."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class CachedPrefix(NamedTuple):
    """Tokens with their keys and values: (tokens,) and (layers, 2, heads, tokens, size)."""

    tokens: list[int]
    states: Tensor


class PrefixCache:
    """What was encoded for the last messages, looked up by the tokens that a new prompt begins with.

    In a dialogue, a speaker's next prompt begins with the same speaker's last prompt. Prefixes that are not used while
    `MAX_AGE` messages of each of so many dialogues come are dropped.

    Args:
        max_tokens: capacity in tokens; prefixes beyond it are not stored.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._prefixes: dict[int, tuple[int, CachedPrefix]] = {}
        self._n_messages = 0

    def clear(self) -> None:
        """Drop all prefixes."""
        self._prefixes.clear()

    def __len__(self) -> int:
        """Return the number of prefixes."""
        return len(self._prefixes)

    def __contains__(self, prompt: Sequence[int]) -> bool:
        """Return whether the prompt begins with a stored one."""
        return any(key in self._prefixes for key in _running_keys(prompt))

    def take(self, prompt: Sequence[int]) -> CachedPrefix | None:
        """Remove the longest stored prefix of a prompt, and return what the two have in common."""
        keys = [key for key in _running_keys(prompt) if key in self._prefixes]
        if not keys:
            return None
        _, (tokens, states) = self._prefixes.pop(keys[-1])
        shared = common_prefix_length([tokens, prompt])
        return CachedPrefix(tokens[:shared], states[:, :, :, :shared]) if shared else None

    def put(self, prompt: Sequence[int], generated: Sequence[int], states: Iterable[Tensor], dialogues: int) -> None:
        """Store what was encoded of a prompt and of all tokens but the last that follow it.

        Args:
            prompt: the tokens of the prompt.
            generated: the tokens that follow it.
            states: keys and values of each layer, (2, heads, tokens, size) each. They are read only if they are stored.
            dialogues: number of dialogues that go on at the same time.
        """
        tokens = [*prompt, *generated[:-1]]
        self._n_messages += 1
        oldest = self._n_messages - MAX_AGE * dialogues
        self._prefixes = {key: entry for key, entry in self._prefixes.items() if entry[0] >= oldest}
        in_use = sum(len(prefix.tokens) for _, prefix in self._prefixes.values())
        if in_use + len(tokens) <= self._max_tokens:
            *_, key = _running_keys(prompt)
            self._prefixes[key] = (self._n_messages, CachedPrefix(tokens, torch.stack(list(states))))


def stack_rows(prefixes: Sequence[CachedPrefix], lengths: Sequence[int], config: Any) -> DynamicCache:
    """Return a cache with one row for the first `lengths` tokens of each prefix, padded on the left."""
    cache = empty_cache(config)
    width = max(lengths)
    layers, _, heads, _, size = prefixes[0].states.shape
    for layer in range(layers):
        keys, values = (prefixes[0].states.new_zeros(len(prefixes), heads, width, size) for _ in range(2))
        for row, ((_, states), length) in enumerate(zip(prefixes, lengths, strict=True)):
            keys[row, :, width - length :] = states[layer, 0, :, :length]
            values[row, :, width - length :] = states[layer, 1, :, :length]
        cache.layers[layer].update(keys, values)
    return cache


def is_uniform(cache: DynamicCache) -> bool:
    """Return whether all layers are plain, and their states have one shape and device."""
    if not has_plain_layers(cache):
        return False
    layers = {(layer.keys.shape, layer.values.shape, layer.keys.device) for layer in cache.layers}
    return len(layers) == 1 and cache.layers[0].keys.shape == cache.layers[0].values.shape


def has_plain_layers(cache: DynamicCache) -> bool:
    """Return whether each layer holds keys and values of all tokens, and nothing else."""
    return bool(cache.layers) and all(isinstance(layer, (GrowingLayer, SlotLayer)) for layer in cache.layers)


def _running_keys(tokens: Sequence[int]) -> Iterator[int]:
    """Yield a key of each prefix of some tokens."""
    key = 0
    for token in tokens:
        key = hash((key, token))
        yield key


def common_prefix_length(rows: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens that all rows begin with, at most one less than the shortest row has."""
    first, last = min(map(list, rows)), max(map(list, rows))
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)
