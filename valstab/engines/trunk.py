"""Attention of many short continuations to the one beginning that they share: the trunk of a tree.

The beginning's keys and values are read where they are, once for all continuations, instead of being copied for
each. On a CPU with matrix tiles (AMX) two flash attentions, to the trunk and to the continuation's own tokens, are
merged by their log-sum-exp (the split of FlashDecoding; exact but for rounding); on others, where torch's flash
attention is slower than products of matrices, one softmax spans both. For models whose attention is transformers'
"sdpa", on the CPU.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "valstab_trunk"
SCORES = 1 << 21
"""Attention scores that are computed at a time: they stay in the processor's cache."""
UNSUPPORTED = ("softcap", "s_aux", "position_bias")
"""Arguments of attention functions that change the scores in ways that are not handled here."""


def install(model: Any) -> bool:
    """Let the model attend to a trunk where it is called with one; else it attends as before. Say if it can."""
    if model.device.type != "cpu" or model.config._attn_implementation != "sdpa":  # noqa: SLF001  (no public name)
        return False
    ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation(NAME)
    return True


def fits(config: Any, length: int) -> bool:
    """Say whether each token of a sequence sees all before it: no window slides over the trunk."""
    window = getattr(config, "sliding_window", None)
    return window is None or length <= window


class Trunk:
    """The keys and values of a beginning, by layer, and which layers have attended to them."""

    def __init__(self, beginning: DynamicCache) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = [(layer.keys, layer.values) for layer in beginning.layers]
        self.visited: set[int] = set()


def encode(model: Any, tokens: Tensor, beginning: DynamicCache, shared: int) -> Any:
    """Run the model on continuations of a `beginning` of `shared` tokens, padded on the right: (rows, tokens).

    Raises:
        NotImplementedError: if the architecture attends in a way of its own.
    """
    positions = torch.arange(shared, shared + tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
    trunk = Trunk(beginning)
    output = model(input_ids=tokens, position_ids=positions, use_cache=False, trunk=trunk)
    if len(trunk.visited) < len(trunk.layers):
        raise NotImplementedError(f"{type(model).__name__} does not attend through transformers' interface")
    return output


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    trunk: Trunk | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend causally to the own tokens and fully to the trunk; shapes as in transformers' own functions."""
    if trunk is None:
        plain: tuple[Tensor, None] = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, attention_mask, **options
        )
        return plain
    if any(options.get(name) is not None for name in UNSUPPORTED):
        raise NotImplementedError(f"{type(module).__name__} has scores of its own kind")
    trunk.visited.add(module.layer_idx)
    trunk_key, trunk_value = trunk.layers[module.layer_idx]
    scale = options.get("scaling")
    if not torch.cpu._is_amx_tile_supported():  # noqa: SLF001  (no public one)
        return joint(query, (key, value), (trunk_key[0], trunk_value[0]), scale), None
    rows, heads, tokens, size = query.shape
    groups = key.shape[1]
    each = heads // groups
    own, own_lse = _flash(
        query, key.repeat_interleave(each, 1), value.repeat_interleave(each, 1), is_causal=True, scale=scale
    )
    # All rows and all heads that share a key are queries of one attention.
    queries = query.view(rows, groups, each, tokens, size).transpose(0, 1).reshape(groups, 1, -1, size)
    far, far_lse = _flash(queries, trunk_key.transpose(0, 1), trunk_value.transpose(0, 1), is_causal=False, scale=scale)
    split = (rows, heads, tokens)
    far = far.view(groups, rows, each, tokens, size).transpose(0, 1).reshape(*split, size)
    far_lse = far_lse.reshape(groups, rows, each, tokens).transpose(0, 1).reshape(split)
    return merge(own, own_lse, far, far_lse), None


def joint(query: Tensor, own: tuple[Tensor, Tensor], trunk: tuple[Tensor, Tensor], scale: float | None) -> Tensor:
    """Attend by products of matrices and one softmax; heads come after tokens in what it gives.

    Args:
        query: (rows, heads, tokens, size).
        own: keys and values of the same tokens, (rows, groups, tokens, size).
        trunk: keys and values of the trunk, (groups, trunk tokens, size).
        scale: of the scores; one over the root of `size` if None.
    """
    rows, heads, tokens, size = query.shape
    (key, value), (trunk_key, trunk_value) = own, trunk
    groups, shared = trunk_key.shape[:2]
    each, scale = heads // groups, size**-0.5 if scale is None else scale
    later = query.new_full((tokens, tokens), float("-inf")).triu(1).repeat(each, 1)
    queries, key, trunk_key = query.reshape(rows, groups, each * tokens, size), key * scale, trunk_key * scale
    output = query.new_empty(rows, tokens, groups, each, value.shape[-1])
    together = max(1, SCORES // (each * tokens * (shared + tokens)))
    room = query.new_empty(min(rows, together), each * tokens, shared + tokens)
    for group in range(groups):
        for start in range(0, rows, together):
            some = slice(start, start + together)
            asking = queries[some, group]
            scores = room[: len(asking)]
            scores[..., :shared] = (asking.reshape(-1, size) @ trunk_key[group].T).view(*asking.shape[:2], shared)
            scores[..., shared:] = torch.baddbmm(later, asking, key[some, group].transpose(1, 2))
            weights = scores.softmax(-1)
            far = weights[..., :shared].reshape(-1, shared) @ trunk_value[group]
            found = torch.baddbmm(far.view(*asking.shape[:2], -1), weights[..., shared:], value[some, group])
            output[some, :, group] = found.view(-1, each, tokens, value.shape[-1]).transpose(1, 2)
    return output.view(rows, tokens, heads, -1)


def merge(own: Tensor, own_lse: Tensor, far: Tensor, far_lse: Tensor) -> Tensor:
    """Weigh two attentions by the log-sum-exp of their scores; heads come after tokens in what it gives."""
    share = torch.sigmoid(far_lse - own_lse)[..., None]
    return (own + (far.float() - own.float()) * share).to(own.dtype).transpose(1, 2).contiguous()


def _flash(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool, scale: float | None) -> tuple[Tensor, Tensor]:
    """Give the attention's output and the log-sum-exp of its scores: (batch, heads, tokens)."""
    output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001  (gives the log-sum-exp)
        query, key, value, 0.0, is_causal, scale=scale
    )
    return output, lse
