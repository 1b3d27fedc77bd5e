"""Keep a model's weights in the layout that oneDNN multiplies fastest, on a CPU.

torch reorders a weight for each product otherwise. The results are the same up to rounding.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from valstab.engines import private_interfaces
from valstab.engines.huggingface.kv_cache import empty_cache, has_plain_layers


def can_pack(model: Any) -> bool:
    """Return whether a model's weights can be packed here: those of attention.

    State-space models read the weights of their linear layers elsewhere.
    """
    return private_interfaces.can_pack(model.dtype) and has_plain_layers(empty_cache(model.config))


class PackedLinear(nn.Module):
    """A linear layer whose weight is packed."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = private_interfaces.packed_weight(linear.weight.detach())
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product with the weight, plus the bias: (..., outputs)."""
        return private_interfaces.packed_product(inputs, self.weight, self.bias)


def pack(model: Any) -> None:
    """Pack the weights of all linear layers but the last, and free what they were."""
    replace_linear(model, PackedLinear)


def replace_linear(model: Any, kind: Callable[[nn.Linear], nn.Module]) -> None:
    """Make each linear layer one of another kind, but the last, whose weight is read elsewhere."""
    last = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child is not last:
                setattr(parent, name, kind(child))
