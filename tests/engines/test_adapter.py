"""Adapters (LoRA): the weights with one are W + s B A, its digest is part of the identity, and what does not fit is refused."""

import importlib.util
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from tests.support.adapters import SCALE, write_adapter
from tests.support.composed import compose_run
from tests.support.questions import CHOICES
from tests.support.tiny_models import SETTINGS, write_tiny
from valstab.config.check import check_config
from valstab.config.schema import ModelConfig
from valstab.engines.adapter import adapter_identity, find_adapter, require_fit
from valstab.engines.base import EngineError
from valstab.engines.factory import require_model
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.errors import ConfigError

WIDTHS = {**SETTINGS, "hidden_size": 64, "intermediate_size": 128}
"""Whole blocks of 64 weights, which bitsandbytes' 4 bits need on a processor with bfloat16."""
SIZES = {
    "model.layers.0.self_attn.q_proj": (64, 64),
    "model.layers.1.self_attn.v_proj": (64, 32),
    "model.layers.1.mlp.down_proj": (128, 64),
}
"""Inputs and outputs of the modules that the adapter changes."""
QUERY = "model.layers.0.self_attn.q_proj"


def matrices(rank=2):
    draw = torch.Generator().manual_seed(7)
    return {
        module: (torch.randn(rank, inputs, generator=draw), torch.randn(outputs, rank, generator=draw))
        for module, (inputs, outputs) in SIZES.items()
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"), LlamaConfig(**WIDTHS))


@pytest.fixture
def adapter(tmp_path):
    return write_adapter(tmp_path / "adapter", matrices())


def answers(engine):
    return np.array([logprobs for _, logprobs in engine.score_options(CHOICES)])


@pytest.mark.slow
def test_an_adapter_changes_the_weights_as_written_by_hand(tiny, adapter, tmp_path):
    base = TransformersEngine(tiny, "none", device="cpu")
    adapted = TransformersEngine(replace(tiny, adapter=str(adapter)), "none", device="cpu")
    by_hand = tmp_path / "by_hand"
    shutil.copytree(tiny.path, by_hand)
    weights = load_file(f"{tiny.path}/model.safetensors")
    for module, (a, b) in matrices().items():
        weights[f"{module}.weight"] += SCALE * b @ a
    save_file(weights, by_hand / "model.safetensors", metadata={"format": "pt"})
    expected = answers(TransformersEngine(replace(tiny, path=str(by_hand)), "none", device="cpu"))
    assert answers(adapted) == pytest.approx(expected, abs=2e-5)
    assert abs(answers(base) - expected).max() > 0.1
    assert adapted.identity == {**base.identity, **adapter_identity(adapter)}
    assert "adapter" not in base.identity
    assert adapted.properties["parameters"] == base.properties["parameters"]


@pytest.mark.slow
def test_beside_weights_of_4_bits_an_adapter_stays_exact(tiny, adapter):
    base, adapted = (
        TransformersEngine(model, "4bit", device="cpu") for model in (tiny, replace(tiny, adapter=str(adapter)))
    )
    without = answers(base)

    def added(a, b):
        return lambda _, inputs, output: output + SCALE * inputs[0] @ a.T @ b.T

    for module, pair in matrices().items():
        base.causal.model.get_submodule(module).register_forward_hook(added(*pair))
    expected = answers(base)
    # bitsandbytes multiplies in bfloat16 where a processor has it; the adapter in 4 bits would be 0.1 away and more.
    assert answers(adapted) == pytest.approx(expected, abs=5e-3)
    assert abs(without - expected).max() > 0.1


@pytest.mark.slow
def test_matrices_that_the_configuration_does_not_name_are_refused(tiny, tmp_path):
    write_adapter(tmp_path, matrices(), target_modules=[QUERY])
    with pytest.raises(EngineError, match=r"does not fit its adapter_config.json: .*layers\.1"):
        TransformersEngine(replace(tiny, adapter=str(tmp_path)), "none", device="cpu")


def test_the_identity_follows_the_content(adapter, tmp_path):
    identity = adapter_identity(adapter)
    (adapter / "README.md").write_text("A card.")
    assert adapter_identity(adapter) == identity
    other = write_adapter(tmp_path / "other", {QUERY: matrices()[QUERY]})
    rescaled = write_adapter(tmp_path / "rescaled", matrices(), lora_alpha=1)
    assert len({each["adapter"] for each in (identity, adapter_identity(other), adapter_identity(rescaled))}) == 3
    assert adapter_identity(None) == {}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({QUERY: (torch.zeros(2, 64), torch.zeros(64, 2))}, f"is for another model: {QUERY} has another size in"),
        ({"model.layers.7.mlp.up_proj": (torch.zeros(2, 32), torch.zeros(48, 2))}, "has no model.layers.7.mlp.up_proj"),
        ({"transformer.h.0.attn.c_attn": (torch.zeros(2, 32), torch.zeros(96, 2))}, "has no transformer.h.0"),
        ({"lm_head": (torch.zeros(2, 32), torch.zeros(1000, 2))}, "changes lm_head, which this model uses both"),
    ],
)
def test_an_adapter_of_another_model_is_refused_before_weights_are_read(tmp_path, changed, message):
    LlamaConfig(**SETTINGS, tie_word_embeddings=True, architectures=["LlamaForCausalLM"]).save_pretrained(tmp_path)
    folder = write_adapter(tmp_path / "adapter", changed)
    with pytest.raises(EngineError, match=message):
        require_fit(folder, str(tmp_path), trust_remote_code=False)


def test_an_adapter_that_fits_needs_no_weights(adapter, tmp_path):
    LlamaConfig(**WIDTHS).save_pretrained(tmp_path)
    require_fit(adapter, str(tmp_path), trust_remote_code=False)


@pytest.mark.parametrize("fault", ["no folder", "no package", "no weights", "no LoRA", "no JSON", "no PEFT"])
def test_what_is_no_adapter_is_refused_before_anything_is_loaded(adapter, monkeypatch, fault):
    config = compose_run(f"model.adapter={adapter}")
    message = {
        "no folder": "no adapter_config.json there",
        "no package": "model.adapter=package:no_such_package/mine: the package no_such_package is not installed",
        "no weights": "no adapter_model.safetensors there",
        "no LoRA": "is an adapter of the type IA3; allowed: LORA",
        "no JSON": "adapter_config.json can't be read",
        "no PEFT": r"needs PEFT; pip install 'valstab\[adapters\]'",
    }[fault]
    if fault == "no folder":
        config.model.adapter = "elsewhere"
    elif fault == "no package":
        config.model.adapter = "package:no_such_package/mine"
    elif fault == "no weights":
        (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    elif fault == "no PEFT":
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else found(name))
    else:
        (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}) if fault == "no LoRA" else "{")
    with pytest.raises(EngineError, match=message) as error:
        require_model(config)
    assert "\n" not in str(error.value)


def test_an_option_can_name_an_adapter_in_a_package():
    folder = find_adapter(compose_run("model=smollm2_135m_values").model)
    assert folder is not None
    assert (folder / "adapter_model.safetensors").is_file()


def test_vllm_needs_no_peft(adapter, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_adapter(ModelConfig(name="m", adapter=str(adapter)), merges=False) == adapter
    assert find_adapter(ModelConfig(name="m")) is None


@pytest.mark.parametrize("settings", [("model=random",), ("engine=openai", "model=gpt5")])
def test_other_engines_refuse_an_adapter(settings):
    with pytest.raises(ConfigError, match=r"model.adapter=mine: needs engine=transformers or engine=vllm"):
        check_config(compose_run(*settings, "model.adapter=mine"))
