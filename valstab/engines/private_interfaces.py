"""What torch and transformers have no public name for, in one place, so that a new version breaks nothing else.

`tests/engines/test_private_interfaces.py` says which of these a version has changed.
"""

import warnings
from typing import Any

import torch
from jinja2 import Template
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_flash_attention

CACHE_ARGUMENTS = ("cache", "past_key_values", "cache_params")
"""Names of the argument of a model that takes a cache: from transformers 5.24 on, before it, in state-space models."""


INT8_PRODUCT = "linear_with_input_q_dq_qweight_dq_output_fp32"
"""The name of torch's product of 8-bit integers, which returns float32."""


MAX_INT8 = 127
"""The largest 8-bit integer."""


def attention_name(config: Any) -> str:
    """Return the name under which transformers finds a model's attention."""
    name: str = config._attn_implementation  # noqa: SLF001
    return name


def compiled_template(source: str) -> Template:
    """Return a chat template with transformers' own functions: only here can its clock be replaced."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    compiled: Template = _compile_jinja_template(source)
    return compiled


def has_matrix_tiles() -> bool:
    """Return whether the CPU multiplies tiles of matrices (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())  # noqa: SLF001


def has_bfloat16_products() -> bool:
    """Return whether the CPU has instructions for products in bfloat16 (`avx512_bf16`)."""
    return bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001


def can_pack(dtype: torch.dtype) -> bool:
    """Return whether torch can pack weights for oneDNN, and multiplies them fast: in float32, and some in bfloat16."""
    functions = torch.ops.mkldnn
    if not all(hasattr(functions, name) for name in ("_linear_pointwise", "_reorder_linear_weight")):
        return False
    is_fast_bfloat16 = dtype is torch.bfloat16 and functions._is_mkldnn_bf16_supported()  # noqa: SLF001
    return dtype is torch.float32 or bool(is_fast_bfloat16)


def packed_weight(weight: Tensor) -> Tensor:
    """Return a weight, (outputs, inputs), in the layout that oneDNN multiplies fastest."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)  # noqa: SLF001
    return packed


def packed_product(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the product with a packed weight, plus the bias: (..., outputs)."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")  # noqa: SLF001
    return product


def has_int8_products() -> bool:
    """Return whether the CPU has instructions for products of 8-bit integers (VNNI, or AMX)."""
    return bool(torch.cpu._is_vnni_supported()) or has_matrix_tiles()  # noqa: SLF001


def can_multiply_int8() -> bool:
    """Return whether torch multiplies 8-bit integers here."""
    has_functions = hasattr(torch, "quantize_per_channel") and hasattr(torch.ops.quantized, INT8_PRODUCT)
    return has_functions and "fbgemm" in torch.backends.quantized.supported_engines


def int8_weight(weight: Tensor, scale: Tensor) -> Any:
    """Return a weight, (outputs, inputs), rounded to multiples of each output's scale and packed.

    Args:
        weight: in float32.
        scale: of each output: (outputs,).
    """
    zero = torch.zeros(len(scale), dtype=torch.long)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # torch means to remove it some day
        rounded = torch.quantize_per_channel(weight, scale.double(), zero, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(rounded, None)


def int8_product(inputs: Tensor, weight: Any) -> Tensor:
    """Return the product of inputs between -1 and 1, rounded to 8 bits, with a packed weight: (..., outputs).

    Without VNNI, the sum of two products must fit in 16 bits, so inputs are rounded to 7 bits.
    """
    steps = MAX_INT8 if has_int8_products() else MAX_INT8 // 2
    product: Tensor = getattr(torch.ops.quantized, INT8_PRODUCT)(inputs, 1 / steps, steps + 1, weight)
    return product


def attend_with_lse(
    query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool, scale: float | None
) -> tuple[Tensor, Tensor]:
    """Return fused attention and the log-sum-exp of its scores: (batch, heads, tokens, size), (batch, heads, tokens).

    torch's public function returns the first alone.
    """
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
