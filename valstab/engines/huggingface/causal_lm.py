"""A causal language model of transformers as a function of token rows."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from valstab.engines.huggingface.kv_cache import empty_cache
from valstab.engines.private_interfaces import CACHE_ARGUMENTS

PROBE_TOKENS = 8
"""Number of tokens that are encoded to measure the cache."""


class CausalLM:
    """Returns a model's logits after rows of tokens."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._parameters = inspect.signature(model.forward).parameters

    @property
    def device(self) -> torch.device:
        """Where the model reads its tokens."""
        device: torch.device = self.model.device
        return device

    def empty_cache(self) -> DynamicCache:
        """Return an empty cache for one batch."""
        return empty_cache(self.model.config)

    def pad(self, rows: Sequence[Sequence[int]], *, left: bool) -> tuple[Tensor, Tensor]:
        """Return padded tokens and their mask, both of the shape (rows, longest row)."""
        width = max(map(len, rows))
        tokens = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for index, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            tokens[index, place] = torch.tensor(row)
            mask[index, place] = 1
        return tokens.to(self.device), mask.to(self.device)

    def forward(self, tokens: Tensor, mask: Tensor, cache: DynamicCache | None, *, last_only: bool = True) -> Tensor:
        """Encode `tokens` after what `cache` holds and return the last position's logits: (rows, vocabulary)."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        optional: dict[str, Any] = {"logits_to_keep": int(last_only), "position_ids": positions}
        if cache is not None:
            optional |= dict.fromkeys(CACHE_ARGUMENTS, cache)
        output = self.model(
            input_ids=tokens,
            attention_mask=mask,
            use_cache=cache is not None,
            **{name: value for name, value in optional.items() if name in self._parameters},
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def token_bytes(self) -> int:
        """Return the bytes that the cache takes for one token, at least 1."""
        tokens = torch.zeros(1, PROBE_TOKENS, dtype=torch.long, device=self.device)
        cache = self.empty_cache()
        self.forward(tokens, torch.ones_like(tokens), cache)
        layers = (layer for layer in cache.layers if isinstance(getattr(layer, "keys", None), Tensor))
        held: int = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
        return max(1, held // tokens.shape[1])

    @contextmanager
    def float32_head(self, ends: Tensor) -> Iterator[None]:
        """Compute the output layer in float32, and only at one position of each row.

        In bfloat16 the letters' logits would often tie.

        Args:
            ends: the position in each row: (rows,).
        """

        def select(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            hidden, *others = inputs
            return hidden[torch.arange(len(ends), device=hidden.device), ends.to(hidden.device), None], *others

        def compute(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not isinstance(module, torch.nn.Linear) or not module.weight.is_floating_point():
                return output.float()
            bias = None if module.bias is None else module.bias.float()
            return torch.nn.functional.linear(inputs[0].float(), module.weight.float(), bias)

        head = self.model.get_output_embeddings()
        hooks = (head.register_forward_pre_hook(select), head.register_forward_hook(compute))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
