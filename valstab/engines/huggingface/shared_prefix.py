"""Attention of many short suffixes to the prefixes that they share.

The keys and values of a prefix are read in place, once for all suffixes, instead of being copied for each. Two fused
attentions, to the prefix and to the suffix's own tokens, are merged by their log-sum-exp, as in FlashDecoding; the
result is exact up to rounding. On CPUs with AVX-512 but without matrix tiles (AMX), torch's flash attention is slower
than matrix products, so one softmax spans both there. This works for models that use the "sdpa" attention of
transformers.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache

from valstab.engines.private_interfaces import attend_with_lse, attention_name, has_matrix_tiles

ATTENTION_NAME = "valstab_shared_prefix"
"""The name under which `attend` is registered with transformers."""


SCORES_AT_ONCE = 1 << 21
"""Number of attention scores that are computed at a time: they fit in the processor's cache."""


UNSUPPORTED_ARGUMENTS = ("softcap", "s_aux", "position_bias")
"""Arguments of attention functions that change the scores in ways that are not implemented here."""


def install(model: Any) -> bool:
    """Switch a model to `attend`, which changes nothing unless a batch of prefixes is passed.

    Returns:
        Whether the model supports it.
    """
    if attention_name(model.config) not in {"sdpa", ATTENTION_NAME}:
        return False
    AttentionInterface.register(ATTENTION_NAME, attend)
    AttentionMaskInterface.register(ATTENTION_NAME, AttentionMaskInterface()["sdpa"])
    model.set_attn_implementation(ATTENTION_NAME)
    return True


def fits_window(config: Any, length: int) -> bool:
    """Check that no sliding window hides a part of a sequence of `length` tokens."""
    window = getattr(config, "sliding_window", None)
    return window is None or length <= window


Part = tuple[slice, tuple[Tensor, Tensor]]
"""The rows that continue a prefix, and its keys and values in one layer: (groups, tokens, size)."""


class SharedPrefix(NamedTuple):
    """An encoded prefix: a row of a cache that is padded on the right, and the number of tokens."""

    cache: DynamicCache
    row: int
    tokens: int

    def states(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return the keys and values of a layer: (groups, tokens, size)."""
        states = self.cache.layers[layer]
        return states.keys[self.row, :, : self.tokens], states.values[self.row, :, : self.tokens]


class PrefixBatch:
    """The prefixes of one forward pass, and the layers that have attended to them.

    Args:
        prefixes: each with the number of rows that continue it; the rows stand in the same order.
    """

    def __init__(self, prefixes: Sequence[tuple[SharedPrefix, int]]) -> None:
        self.prefixes = prefixes
        self.visited: set[int] = set()

    def parts(self, layer: int) -> list[Part]:
        """Return, for each prefix, the rows that continue it and its states in a layer."""
        ends = itertools.accumulate(rows for _, rows in self.prefixes)
        return [
            (slice(end - rows, end), prefix.states(layer))
            for (prefix, rows), end in zip(self.prefixes, ends, strict=True)
        ]


def encode_suffixes(model: Any, tokens: Tensor, prefixes: Sequence[tuple[SharedPrefix, int]]) -> Tensor:
    """Return the model's last logits after suffixes of prefixes: (rows, vocabulary).

    Args:
        model: one that `install` accepted.
        tokens: the suffixes, padded on the right: (rows, tokens).
        prefixes: each with the number of rows that continue it; the rows of the first come first.

    Raises:
        NotImplementedError: if the architecture does not call the registered attention in every layer.
    """
    starts = torch.tensor([prefix.tokens for prefix, rows in prefixes for _ in range(rows)])[:, None]
    positions = (starts + torch.arange(tokens.shape[1])).to(tokens.device)
    batch = PrefixBatch(prefixes)
    output = model(input_ids=tokens, position_ids=positions, use_cache=False, prefix_batch=batch)
    if len(batch.visited) < len(prefixes[0][0].cache.layers):
        raise NotImplementedError(f"{type(model).__name__} does not attend through transformers' interface")
    logits: Tensor = output.logits[:, -1]
    return logits


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    prefix_batch: PrefixBatch | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend causally to the own tokens and fully to the prefix; shapes are those of transformers' own functions."""
    is_special = any(options.get(name) is not None for name in UNSUPPORTED_ARGUMENTS)
    if prefix_batch is None and not is_special and query.device.type == "cpu" and query.shape[2] == 1:
        # The library's own function copies keys and values for each head that shares them.
        attended = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=options.get("scaling"), enable_gqa=True
        )
        return attended.transpose(1, 2).contiguous(), None
    if prefix_batch is None:
        output: tuple[Tensor, None] = AttentionInterface()["sdpa"](module, query, key, value, attention_mask, **options)
        return output
    if is_special:
        raise NotImplementedError(f"{type(module).__name__} changes its attention scores")
    prefix_batch.visited.add(module.layer_idx)
    compute = attend_joint if query.device.type == "cpu" and _prefers_matrix_products() else attend_split
    return compute(query, (key, value), prefix_batch.parts(module.layer_idx), options.get("scaling")), None


def _prefers_matrix_products() -> bool:
    """Return whether matrix products are faster than flash attention on this CPU."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and not has_matrix_tiles()


def attend_split(query: Tensor, own: tuple[Tensor, Tensor], parts: Sequence[Part], scale: float | None) -> Tensor:
    """Attend by two fused attentions; arguments and result are those of `attend_joint`."""
    heads, tokens, size = query.shape[1:]
    groups = own[0].shape[1]
    heads_per_group = heads // groups
    key, value = (states.repeat_interleave(heads_per_group, 1) for states in own)
    own_output, own_lse = attend_with_lse(query, key, value, is_causal=True, scale=scale)
    outputs = []
    for rows, prefix in parts:
        # All rows, and all heads that share a key, are queries of one attention.
        queries = query[rows].view(-1, groups, heads_per_group, tokens, size).transpose(0, 1)
        output, lse = attend_with_lse(
            queries.reshape(groups, 1, -1, size), *(states[:, None] for states in prefix), is_causal=False, scale=scale
        )
        outputs.append(
            [states.reshape(*queries.shape[:4], -1).transpose(0, 1).flatten(1, 2) for states in (output, lse)]
        )
    prefix_output, prefix_lse = (torch.cat(states) for states in zip(*outputs, strict=True))
    return merge(own_output, own_lse, prefix_output, prefix_lse.squeeze(-1))


def attend_joint(query: Tensor, own: tuple[Tensor, Tensor], parts: Sequence[Part], scale: float | None) -> Tensor:
    """Attend by matrix products and one softmax over the prefix and the own tokens.

    Args:
        query: (rows, heads, tokens, size).
        own: keys and values of the same tokens, (rows, groups, tokens, size).
        parts: the rows that continue each prefix, and its keys and values.
        scale: factor of the scores; None is one over the root of `size`.

    Returns:
        The attention's output: (rows, tokens, heads, size).
    """
    rows, heads, tokens, size = query.shape
    key, value = own
    groups = key.shape[1]
    each, scale = heads // groups, size**-0.5 if scale is None else scale
    later = query.new_full((tokens, tokens), float("-inf")).triu(1).repeat(each, 1)
    queries, key = query.reshape(rows, groups, each * tokens, size), key * scale
    output = query.new_empty(rows, tokens, groups, each, value.shape[-1])
    for part, (prefix_key, prefix_value) in parts:
        shared, scaled_key = prefix_key.shape[1], prefix_key * scale
        rows_at_once = max(1, SCORES_AT_ONCE // (each * tokens * (shared + tokens)))
        buffer = query.new_empty(min(part.stop - part.start, rows_at_once), each * tokens, shared + tokens)
        for group in range(groups):
            for start in range(part.start, part.stop, rows_at_once):
                some = slice(start, min(start + rows_at_once, part.stop))
                chunk = queries[some, group]
                scores = buffer[: len(chunk)]
                scores[..., :shared] = (chunk.reshape(-1, size) @ scaled_key[group].T).view(*chunk.shape[:2], shared)
                scores[..., shared:] = torch.baddbmm(later, chunk, key[some, group].transpose(1, 2))
                weights = scores.softmax(-1)
                from_prefix = weights[..., :shared].reshape(-1, shared) @ prefix_value[group]
                attended = torch.baddbmm(
                    from_prefix.view(*chunk.shape[:2], -1), weights[..., shared:], value[some, group]
                )
                output[some, :, group] = attended.view(-1, each, tokens, value.shape[-1]).transpose(1, 2)
    return output.view(rows, tokens, heads, -1)


def merge(own: Tensor, own_lse: Tensor, prefix: Tensor, prefix_lse: Tensor) -> Tensor:
    """Return two attentions weighted by the log-sum-exp of their scores: (rows, tokens, heads, size)."""
    share = torch.sigmoid(prefix_lse - own_lse)[..., None]
    return (own + (prefix.float() - own.float()) * share).to(own.dtype).transpose(1, 2).contiguous()
