"""What torch and transformers have no public name for is still there, and does what valstab relies on."""

import inspect

import pytest
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from valstab.engines import private_interfaces

CONFIG = LlamaConfig(
    vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1
)


def test_a_models_cache_has_a_known_name():
    parameters = inspect.signature(LlamaForCausalLM(CONFIG).forward).parameters
    assert parameters.keys() & set(private_interfaces.CACHE_ARGUMENTS), (
        f"transformers {transformers.__version__} names the cache of a model otherwise: {', '.join(parameters)}"
    )


def test_a_models_attention_has_a_name():
    assert private_interfaces.attention_name(LlamaForCausalLM(CONFIG).config) == "sdpa"


def test_a_template_is_compiled_with_another_clock():
    template = private_interfaces.compiled_template("{{ strftime_now('%Y') }}{% generation %}!{% endgeneration %}")
    assert template.render(strftime_now=lambda form: form + "1999") == "%Y1999!"


def test_the_processors_instructions_are_known():
    found = {private_interfaces.has_matrix_tiles(), private_interfaces.has_bfloat16_products()}
    assert found <= {True, False}


def test_a_packed_product_is_the_product():
    if not private_interfaces.can_pack(torch.float32):
        pytest.skip("this torch is built without oneDNN")
    generator = torch.Generator().manual_seed(0)
    inputs, weight, bias = (torch.randn(shape, generator=generator) for shape in ((3, 5, 8), (6, 8), (6,)))
    product = private_interfaces.packed_product(inputs, private_interfaces.packed_weight(weight), bias)
    torch.testing.assert_close(product, inputs @ weight.T + bias)


@pytest.mark.parametrize("is_causal", [True, False])
def test_attention_comes_with_the_log_sum_exp_of_its_scores(is_causal):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 4, 8, generator=generator) for _ in range(3))
    output, lse = private_interfaces.attend_with_lse(query, key, value, is_causal=is_causal, scale=0.3)
    scores = query @ key.transpose(2, 3) * 0.3
    if is_causal:
        scores = scores.masked_fill(torch.ones(4, 4, dtype=torch.bool).triu(1), float("-inf"))
    torch.testing.assert_close(output, scores.softmax(-1) @ value)
    torch.testing.assert_close(lse, scores.logsumexp(-1))
