"""Key-value caches: layers that grow in place, and prefixes that are kept from one message to the next."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

SPARE_POSITIONS = 128
"""Number of tokens for which a layer allocates memory ahead: about the length of a message."""


MAX_AGE = 2
"""Number of rounds of messages, one of each speaker, that an unused prefix is kept for."""


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

    In a dialogue, a speaker's next prompt begins with the same speaker's last prompt. Prefixes that are not used within
    `MAX_AGE` rounds are dropped.

    Args:
        max_tokens: capacity in tokens; prefixes beyond it are not stored.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._prefixes: dict[int, tuple[int, CachedPrefix]] = {}
        self._round = 0

    def next_round(self) -> None:
        """Begin a round of messages, and drop the prefixes that are too old."""
        self._round += 1
        oldest = self._round - MAX_AGE
        self._prefixes = {key: entry for key, entry in self._prefixes.items() if entry[0] >= oldest}

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

    def put(self, prompt: Sequence[int], generated: Sequence[int], cache: DynamicCache, row: int) -> None:
        """Store a row of a cache that is padded on the left.

        The row holds the prompt and all generated tokens but the last.
        """
        tokens = [*prompt, *generated[:-1]]
        in_use = sum(len(prefix.tokens) for _, prefix in self._prefixes.values())
        if in_use + len(tokens) > self._max_tokens or not _is_uniform(cache):
            return
        states = torch.stack(
            [
                torch.stack([each[row, :, -len(tokens) :] for each in (layer.keys, layer.values)])
                for layer in cache.layers
            ]
        )
        *_, key = _running_keys(prompt)
        self._prefixes[key] = (self._round, CachedPrefix(tokens, states))


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


def _is_uniform(cache: DynamicCache) -> bool:
    """Return whether all layers are plain, and their states have one shape and device."""
    layers = {
        (type(layer), layer.keys.shape, layer.values.shape, layer.keys.device)
        if isinstance(layer, GrowingLayer)
        else None
        for layer in cache.layers
    }
    return len(layers) == 1 and None not in layers and cache.layers[0].keys.shape == cache.layers[0].values.shape


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
