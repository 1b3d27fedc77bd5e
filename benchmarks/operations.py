"""Operations of a model's forward pass: their number, and the rate at which this machine does them."""

import statistics
import time
from collections.abc import Sequence

import torch

from valstab.dry_run.cost_model import attended
from valstab.engines.huggingface.kv_cache import common_prefix_length

N_TOKENS = 3000
"""Tokens in the products that are timed."""
ROUNDS = 30


def product_rate(model: torch.nn.Module) -> float:
    """Return the operations per second in matrix products of the size of the model's MLP."""
    size, inner = model.config.hidden_size, model.config.intermediate_size
    tensor_options = {"dtype": model.dtype, "device": model.device}
    rows, weights = torch.randn(N_TOKENS, size, **tensor_options), torch.randn(inner, size, **tensor_options)
    times = []
    for _ in range(ROUNDS):
        synchronize()
        start = time.perf_counter()
        torch.nn.functional.linear(rows, weights)
        synchronize()
        times.append(time.perf_counter() - start)
    return 2 * N_TOKENS * size * inner / statistics.median(times)


def synchronize() -> None:
    """Wait until a GPU has finished its operations."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def operations(model: torch.nn.Module, n_parameters: int, prompts: Sequence[list[int]]) -> tuple[float, float, float]:
    """Count the operations of one dialogue's prompts.

    Args:
        model: the model.
        n_parameters: of the model as it was loaded; packed weights are none.
        prompts: their tokens.

    Returns:
        Operations of products with the weights if each token is encoded once; these with those of attention; and both
        if each prompt is encoded whole.
    """
    config, embedding = model.config, model.get_input_embeddings().weight
    with_weights = 2 * (n_parameters - embedding.numel())
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    with_each = 4 * config.num_hidden_layers * config.num_attention_heads * head_size  # its key, and its value
    prefix, lengths = common_prefix_length(prompts), list(map(len, prompts))
    products = with_weights * (prefix + sum(length - prefix for length in lengths))
    seen = attended(prefix, 0, prefix) + sum(attended(length, 0, length - prefix) for length in lengths)
    whole = sum(with_weights * length + with_each * attended(length, 0, length) for length in lengths)
    return products, products + with_each * seen, whole
