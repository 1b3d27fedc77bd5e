"""Products of 8-bit integers on a CPU."""

import pytest
import torch
from torch import nn

from tests.support.tiny_models import SETTINGS, write_tiny
from valstab.engines import private_interfaces
from valstab.engines.base import EngineError
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.huggingface.int8 import Int8Linear, require_int8

pytestmark = pytest.mark.skipif(not private_interfaces.can_multiply_int8(), reason="torch multiplies no 8-bit integers")


def random_linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 48)


@torch.inference_mode()
def test_what_is_a_multiple_of_the_scales_is_multiplied_exactly():
    linear = nn.Linear(3, 2)
    linear.weight.copy_(torch.tensor([[127.0, -64, 3], [0.5, 0, 63.5]]))  # scales 1 and 0.5
    linear.bias.copy_(torch.tensor([10.0, -20]))
    inputs = torch.tensor([[[1.0, 0, -1]], [[0, 4, 4]], [[0, 0, 0]]])
    expected = torch.tensor([[[134.0, -83]], [[-234.0, 234]], [[10.0, -20]]])
    torch.testing.assert_close(Int8Linear(linear)(inputs), expected)


@torch.inference_mode()
def test_a_product_is_near_that_of_float32_and_does_not_depend_on_other_tokens():
    linear, inputs = random_linear(), torch.randn(40, 64) * torch.logspace(-3, 3, 40)[:, None]
    rounded, exact = Int8Linear(linear)(inputs), linear(inputs)
    error = (rounded - exact).norm(dim=1) / exact.norm(dim=1)
    assert 1e-4 < error.max() < 0.02
    torch.testing.assert_close(Int8Linear(linear)(inputs[7:8]), rounded[7:8])


@torch.inference_mode()
def test_a_model_of_8_bit_integers_is_near_the_model(tmp_path):
    from transformers import LlamaConfig

    model = write_tiny(tmp_path, LlamaConfig(**SETTINGS))
    engine, plain = (TransformersEngine(model, each, device="cpu") for each in ("int8", "none"))
    kinds = [type(module) for module in engine.causal.model.modules() if isinstance(module, (nn.Linear, Int8Linear))]
    assert kinds == [Int8Linear] * 7 * engine.causal.model.config.num_hidden_layers + [nn.Linear]
    tokens = torch.tensor([[5, 3, 8, 9]])
    rounded, exact = (each.causal.forward(tokens, torch.ones_like(tokens), None) for each in (engine, plain))
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()
    assert engine.identity["quantization"] == "int8"
    assert engine.properties["parameters"] == plain.properties["parameters"]


@pytest.mark.parametrize(("is_fast", "lines"), [(True, 0), (False, 1)])
def test_a_processor_that_gains_little_is_named(monkeypatch, capsys, is_fast, lines):
    monkeypatch.setattr(private_interfaces, "has_int8_products", lambda: is_fast)
    require_int8("cpu")
    assert capsys.readouterr().err.count("VNNI") == lines


def test_a_gpu_is_refused():
    with pytest.raises(EngineError, match="int8: only on x86 CPUs, not on cuda"):
        require_int8("cuda")
