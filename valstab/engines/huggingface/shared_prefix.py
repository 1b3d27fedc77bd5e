"""Attention of many short continuations to the beginnings that they share: the trunks of trees.

A beginning's keys and values are read where they are, once for all that continue it, instead of being copied for each.
Two fused attentions, to the trunk and to the continuation's own tokens, are merged by their log-sum-exp (the split of
FlashDecoding; exact but for rounding). On CPUs with AVX-512 and no matrix tiles (AMX), where torch's flash attention is
slower than products of matrices, one softmax spans both. For models whose attention is transformers' "sdpa".
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_flash_attention
from transformers import DynamicCache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ATTENTION_NAME = "valstab_trunk"


SCORES_AT_ONCE = 1 << 21
"""Attention scores that are computed at a time: they stay in the processor's cache."""


UNSUPPORTED_ARGUMENTS = ("softcap", "s_aux", "position_bias")
"""Arguments of attention functions that change the scores in ways that are not handled here."""


def install(model: Any) -> bool:
    """Let the model attend to a trunk where it is called with one; else it attends as before. Say if it can."""
    if model.config._attn_implementation != "sdpa":  # noqa: SLF001  (no public name)
        return False
    ALL_ATTENTION_FUNCTIONS.register(ATTENTION_NAME, _attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION_NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation(ATTENTION_NAME)
    return True


def fits(config: Any, length: int) -> bool:
    """Say whether each token of a sequence sees all before it: no window slides over the trunk."""
    window = getattr(config, "sliding_window", None)
    return window is None or length <= window


Part = tuple[slice, tuple[Tensor, Tensor]]
"""The rows that continue a trunk, and its keys and values in one layer: (groups, tokens, size)."""


class SharedPrefix(NamedTuple):
    """A beginning: its row in a cache that is padded on the right, and its length."""

    cache: DynamicCache
    row: int
    tokens: int

    def states(self, layer: int) -> tuple[Tensor, Tensor]:
        """Give a layer's keys and values: (groups, tokens, size)."""
        both = self.cache.layers[layer]
        return both.keys[self.row, :, : self.tokens], both.values[self.row, :, : self.tokens]


class PrefixBatch:
    """Trunks, how many rows continue each, one trunk's after the other's, and which layers have attended to them."""

    def __init__(self, trunks: Sequence[tuple[SharedPrefix, int]]) -> None:
        self.trunks = trunks
        self.visited: set[int] = set()

    def parts(self, layer: int) -> list[Part]:
        """Give the rows that continue each trunk, and the trunk."""
        ends = itertools.accumulate(rows for _, rows in self.trunks)
        return [
            (slice(end - rows, end), trunk.states(layer)) for (trunk, rows), end in zip(self.trunks, ends, strict=True)
        ]


def encode_suffixes(model: Any, tokens: Tensor, trunks: Sequence[tuple[SharedPrefix, int]]) -> Tensor:
    """Give a model's last logits after continuations of trunks, padded on the right: (rows, tokens).

    Args:
        model: one that `install` was called with.
        tokens: the continuations.
        trunks: each with how many rows continue it; those of the first come first.

    Raises:
        NotImplementedError: if the architecture attends in a way of its own.
    """
    starts = torch.tensor([trunk.tokens for trunk, rows in trunks for _ in range(rows)])[:, None]
    positions = (starts + torch.arange(tokens.shape[1])).to(tokens.device)
    forest = PrefixBatch(trunks)
    output = model(input_ids=tokens, position_ids=positions, use_cache=False, forest=forest)
    if len(forest.visited) < len(trunks[0][0].cache.layers):
        raise NotImplementedError(f"{type(model).__name__} does not attend through transformers' interface")
    logits: Tensor = output.logits[:, -1]
    return logits


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    forest: PrefixBatch | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend causally to the own tokens and fully to the trunk; shapes as in transformers' own functions."""
    if forest is None:
        plain: tuple[Tensor, None] = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, attention_mask, **options
        )
        return plain
    if any(options.get(name) is not None for name in UNSUPPORTED_ARGUMENTS):
        raise NotImplementedError(f"{type(module).__name__} has scores of its own kind")
    forest.visited.add(module.layer_idx)
    attend = attend_joint if query.device.type == "cpu" and _multiplies_faster() else attend_split
    return attend(query, (key, value), forest.parts(module.layer_idx), options.get("scaling")), None


def _multiplies_faster() -> bool:
    """Say whether products of matrices are faster than flash attention on this CPU."""
    has_tiles: bool = torch.cpu._is_amx_tile_supported()  # noqa: SLF001  (no public one)
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and not has_tiles


def attend_split(query: Tensor, own: tuple[Tensor, Tensor], parts: Sequence[Part], scale: float | None) -> Tensor:
    """Attend by two fused attentions; arguments and result as of `attend_joint`."""
    heads, tokens, size = query.shape[1:]
    groups = own[0].shape[1]
    each = heads // groups
    key, value = (states.repeat_interleave(each, 1) for states in own)
    near, near_lse = _fused(query, key, value, is_causal=True, scale=scale)
    found = []
    for some, trunk in parts:
        # All rows and all heads that share a key are queries of one attention.
        asking = query[some].view(-1, groups, each, tokens, size).transpose(0, 1)
        far, lse = _fused(
            asking.reshape(groups, 1, -1, size), *(states[:, None] for states in trunk), is_causal=False, scale=scale
        )
        found.append([states.reshape(*asking.shape[:4], -1).transpose(0, 1).flatten(1, 2) for states in (far, lse)])
    far, far_lse = (torch.cat(states) for states in zip(*found, strict=True))
    return merge(near, near_lse, far, far_lse.squeeze(-1))


def attend_joint(query: Tensor, own: tuple[Tensor, Tensor], parts: Sequence[Part], scale: float | None) -> Tensor:
    """Attend by products of matrices and one softmax; heads come after tokens in what it gives.

    Args:
        query: (rows, heads, tokens, size).
        own: keys and values of the same tokens, (rows, groups, tokens, size).
        parts: the rows that continue each trunk, and its keys and values.
        scale: of the scores; one over the root of `size` if None.
    """
    rows, heads, tokens, size = query.shape
    key, value = own
    groups = key.shape[1]
    each, scale = heads // groups, size**-0.5 if scale is None else scale
    later = query.new_full((tokens, tokens), float("-inf")).triu(1).repeat(each, 1)
    queries, key = query.reshape(rows, groups, each * tokens, size), key * scale
    output = query.new_empty(rows, tokens, groups, each, value.shape[-1])
    for part, (far_key, far_value) in parts:
        shared, trunk_key = far_key.shape[1], far_key * scale
        together = max(1, SCORES_AT_ONCE // (each * tokens * (shared + tokens)))
        room = query.new_empty(min(part.stop - part.start, together), each * tokens, shared + tokens)
        for group in range(groups):
            for start in range(part.start, part.stop, together):
                some = slice(start, min(start + together, part.stop))
                asking = queries[some, group]
                scores = room[: len(asking)]
                scores[..., :shared] = (asking.reshape(-1, size) @ trunk_key[group].T).view(*asking.shape[:2], shared)
                scores[..., shared:] = torch.baddbmm(later, asking, key[some, group].transpose(1, 2))
                weights = scores.softmax(-1)
                far = weights[..., :shared].reshape(-1, shared) @ far_value[group]
                found = torch.baddbmm(far.view(*asking.shape[:2], -1), weights[..., shared:], value[some, group])
                output[some, :, group] = found.view(-1, each, tokens, value.shape[-1]).transpose(1, 2)
    return output.view(rows, tokens, heads, -1)


def merge(own: Tensor, own_lse: Tensor, far: Tensor, far_lse: Tensor) -> Tensor:
    """Weigh two attentions by the log-sum-exp of their scores; heads come after tokens in what it gives."""
    share = torch.sigmoid(far_lse - own_lse)[..., None]
    return (own + (far.float() - own.float()) * share).to(own.dtype).transpose(1, 2).contiguous()


def _fused(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool, scale: float | None) -> tuple[Tensor, Tensor]:
    """Give the attention's output and the log-sum-exp of its scores: (batch, heads, tokens)."""
    # torch's public function keeps the log-sum-exp to itself.
    aten = torch.ops.aten
    if not query.is_cuda:
        flash = aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001
    elif can_use_flash_attention(SDPAParams(query, key, value, None, 0.0, is_causal, False)):
        flash = aten._scaled_dot_product_flash_attention  # noqa: SLF001
    else:
        output, lse, *_ = aten._scaled_dot_product_efficient_attention(  # noqa: SLF001
            query, key, value, None, True, 0.0, is_causal, scale=scale
        )
        return output, lse[:, :, : query.shape[2]]
    output, lse, *_ = flash(query, key, value, 0.0, is_causal, scale=scale)
    return output, lse
