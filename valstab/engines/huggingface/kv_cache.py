"""Key-value caches: one that grows in place, and the rows of it that are kept from one message to the next."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

SPARE_POSITIONS = 128
"""Tokens for which room is made at a time: a message's length."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """A layer's keys and values, (rows, heads, tokens, size), that grow in room made ahead instead of being copied."""

    keys: Tensor
    values: Tensor
    _rooms: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the new tokens and give all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        length = held + key_states.shape[2]
        if self._rooms is None or length > self._rooms[0].shape[2]:
            self._rooms = (
                _larger(self.keys, held, key_states, length + SPARE_POSITIONS),
                _larger(self.values, held, value_states, length + SPARE_POSITIONS),
            )
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[:, :, held:length] = new
        self.keys, self.values = (room[:, :, :length] for room in self._rooms)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row."""
        super().batch_repeat_interleave(repeats)
        self._rooms = None

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        super().batch_select_indices(indices)
        self._rooms = None


def _larger(before: Tensor, held: int, like: Tensor, length: int) -> Tensor:
    """Make room for `length` tokens and copy those that are `held`."""
    rows, heads, _, size = like.shape
    room = like.new_empty(rows, heads, length, size)
    if held:
        room[:, :, :held] = before
    return room


def empty_cache(config: Any) -> DynamicCache:
    """Make a model's cache, whose plain layers grow in place."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class CachedPrefix(NamedTuple):
    """The keys and values of a prompt and of what followed it: (tokens,) and (layers, 2, heads, tokens, size)."""

    tokens: list[int]
    states: Tensor


class PrefixCache:
    """What was encoded for the last messages, found again by the tokens that it begins with.

    Of a dialogue the next prompt of the same speaker begins with the last one. What two rounds of messages (one of
    each speaker) have not asked for is dropped.

    Args:
        most_tokens: how many tokens are kept at most; what does not fit is not kept.
    """

    def __init__(self, most_tokens: int) -> None:
        self._most_tokens = most_tokens
        self._kept: dict[int, tuple[int, CachedPrefix]] = {}
        self._round = 0

    def next_round(self) -> None:
        """Say that the next messages are asked for, and drop what was kept three times ago."""
        self._round += 1
        self._kept = {key: entry for key, entry in self._kept.items() if entry[0] >= self._round - 2}

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()

    def __contains__(self, prompt: Sequence[int]) -> bool:
        """Say whether a beginning of the prompt is kept."""
        return any(key in self._kept for key in _running_keys(prompt))

    def take(self, prompt: Sequence[int]) -> CachedPrefix | None:
        """Give the longest kept beginning of a prompt, cut to what the two share, and drop it."""
        found = [key for key in _running_keys(prompt) if key in self._kept]
        if not found:
            return None
        _, (tokens, states) = self._kept.pop(found[-1])
        shared = common_prefix_length([tokens, prompt])
        return CachedPrefix(tokens[:shared], states[:, :, :, :shared]) if shared else None

    def keep(self, prompt: Sequence[int], generated: Sequence[int], cache: DynamicCache, row: int) -> None:
        """Keep a row of a cache, padded on the left, that holds a prompt and all it generated but the last token."""
        tokens = [*prompt, *generated[:-1]]
        in_use = sum(len(beginning.tokens) for _, beginning in self._kept.values())
        if in_use + len(tokens) > self._most_tokens or not _is_uniform(cache):
            return
        states = torch.stack(
            [
                torch.stack([each[row, :, -len(tokens) :] for each in (layer.keys, layer.values)])
                for layer in cache.layers
            ]
        )
        *_, key = _running_keys(prompt)
        self._kept[key] = (self._round, CachedPrefix(tokens, states))


def stack_rows(beginnings: Sequence[CachedPrefix], lengths: Sequence[int], config: Any) -> DynamicCache:
    """Make a cache of the first `lengths` tokens of each beginning, a row each, padded on the left."""
    cache = empty_cache(config)
    width = max(lengths)
    layers, _, heads, _, size = beginnings[0].states.shape
    for number in range(layers):
        both = [beginnings[0].states.new_zeros(len(beginnings), heads, width, size) for _ in range(2)]
        for row, ((_, states), length) in enumerate(zip(beginnings, lengths, strict=True)):
            for kind in range(2):
                both[kind][row, :, width - length :] = states[number, kind, :, :length]
        cache.layers[number].update(*both)
    return cache


def _is_uniform(cache: DynamicCache) -> bool:
    """Say whether all layers are plain ones of the same shape, on the same device."""
    kinds = {
        (type(layer), layer.keys.shape, layer.values.shape, layer.keys.device)
        if isinstance(layer, GrowingLayer)
        else None
        for layer in cache.layers
    }
    return len(kinds) == 1 and None not in kinds and cache.layers[0].keys.shape == cache.layers[0].values.shape


def _running_keys(tokens: Sequence[int]) -> Iterator[int]:
    """Give a key of each beginning of some tokens."""
    key = 0
    for token in tokens:
        key = hash((key, token))
        yield key


def common_prefix_length(rows: Sequence[Sequence[int]]) -> int:
    """Count the tokens that all rows begin with, leaving each at least one of its own."""
    first, last = min(map(list, rows)), max(map(list, rows))
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)
