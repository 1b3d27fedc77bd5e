"""Keep a model's weights in the layout that oneDNN multiplies fastest, on a CPU.

torch reorders a weight for each product otherwise. The results are the same up to rounding.
"""

from typing import Any

import torch
from torch import Tensor, nn

from valstab.engines.huggingface.kv_cache import empty_cache, has_plain_layers

PRODUCT, LAYOUT = "_linear_pointwise", "_reorder_linear_weight"
"""Names of torch's functions, which have no public ones outside of its compiler."""


def can_pack(model: Any) -> bool:
    """Return whether a model's weights can be packed here: those of attention, in float32 or in fast bfloat16.

    State-space models read the weights of their linear layers elsewhere.
    """
    has_functions = all(hasattr(torch.ops.mkldnn, name) for name in (PRODUCT, LAYOUT))
    is_fast = {
        torch.float32: has_functions,
        torch.bfloat16: has_functions and torch.ops.mkldnn._is_mkldnn_bf16_supported(),  # noqa: SLF001
    }
    return is_fast.get(model.dtype, False) and has_plain_layers(empty_cache(model.config))


class PackedLinear(nn.Module):
    """A linear layer whose weight is packed."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = getattr(torch.ops.mkldnn, LAYOUT)(linear.weight.detach())
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product with the weight, plus the bias: (..., outputs)."""
        product: Tensor = getattr(torch.ops.mkldnn, PRODUCT)(inputs, self.weight, self.bias, "none", [], "")
        return product


def pack(model: Any) -> None:
    """Pack the weights of all linear layers but the last, which is read elsewhere, and free what they were."""
    last = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child is not last:
                setattr(parent, name, PackedLinear(child))
