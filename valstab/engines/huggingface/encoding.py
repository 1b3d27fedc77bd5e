"""Encode prompts of which a part is known."""

from collections.abc import Sequence

import torch
from transformers import DynamicCache

from valstab.engines.base import Usage
from valstab.engines.huggingface.causal_lm import CausalLM
from valstab.engines.huggingface.kv_cache import PrefixCache, stack_rows

TOKENS_AT_ONCE = 8192
"""Number of tokens that are encoded at a time: more is not faster, and activations take memory too."""


# A length that comes once is not worth compiling for.
@torch.compiler.set_stance("force_eager")  # type: ignore[untyped-decorator]
def encode(causal: CausalLM, prompts: Sequence[list[int]], cached: PrefixCache, usage: Usage) -> DynamicCache:
    """Return a cache with the tokens of each prompt, padded on the left.

    If a part of each prompt is in `cached`, it is taken from there, and the rest is encoded.
    """
    tokens, mask = causal.pad(prompts, left=True)
    cache, new = _known(causal, prompts, cached)
    usage.encoded_tokens += sum(min(new, len(prompt)) for prompt in prompts)
    # A state-space model can process several tokens at once only from its empty state.
    has_rows = all(hasattr(layer, "batch_select_indices") for layer in cache.layers)
    columns = max(1, TOKENS_AT_ONCE // len(prompts)) if has_rows else new
    for start in range(-new, 0, columns):
        end = min(0, start + columns)
        width = mask.shape[1] + end
        causal.forward(tokens[:, start : end or None], mask[:, :width], cache)
    return cache


def _known(causal: CausalLM, prompts: Sequence[list[int]], cached: PrefixCache) -> tuple[DynamicCache, int]:
    """Return a cache with the known prefixes, and the number of last tokens that it does not hold."""
    taken = [cached.take(prompt) for prompt in prompts]
    prefixes = [prefix for prefix in taken if prefix is not None]
    if len(prefixes) < len(prompts):
        return causal.empty_cache(), max(map(len, prompts))
    new = max(len(prompt) - len(prefix.tokens) for prompt, prefix in zip(prompts, prefixes, strict=True))
    lengths = [max(0, len(prompt) - new) for prompt in prompts]
    return stack_rows(prefixes, lengths, causal.model.config), new
