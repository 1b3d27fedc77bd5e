"""Multiply 8-bit integers on a CPU: the weights of each output and the inputs of each token have their own scale.

The rounding of a token depends on no other token, so results do not depend on the batch. The output layer, attention
and norms stay in the model's precision.
"""

from typing import Any

import torch
from torch import Tensor, nn

from valstab.config.terminal import warn
from valstab.engines import private_interfaces
from valstab.engines.base import EngineError
from valstab.engines.huggingface.packed import replace_linear

SLOW = "valstab: model.quantization=int8: this CPU has no instructions for products of 8-bit integers (VNNI or AMX)"
"""What is said on a CPU that gains little."""


def require_int8(device: str) -> None:
    """Check that 8-bit integers can be multiplied on a device, and warn where it is slow.

    Raises:
        EngineError: if they can't.
    """
    if device != "cpu" or not private_interfaces.can_multiply_int8():
        raise EngineError(
            f"model.quantization=int8: only on x86 CPUs, not on {device}; allowed elsewhere: none, 8bit, 4bit"
        )
    if not private_interfaces.has_int8_products():
        warn(SLOW)


class Int8Linear(nn.Module):
    """A linear layer of 8-bit integers."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        self.weight = private_interfaces.int8_weight(weight, scales(weight)[:, 0] / private_interfaces.MAX_INT8)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product with the weight, plus the bias: (..., outputs)."""
        exact = inputs.float()
        scale = scales(exact)
        product = private_interfaces.int8_product(exact / scale, self.weight).mul_(scale).to(inputs.dtype)
        return product if self.bias is None else product + self.bias


def scales(rows: Tensor) -> Tensor:
    """Return the largest absolute value of each row, at least the smallest normal number: (..., 1)."""
    return rows.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)


def quantise(model: Any) -> None:
    """Round the weights of all linear layers but the last to 8 bits, and free what they were."""
    replace_linear(model, Int8Linear)
    model.is_quantized = True
