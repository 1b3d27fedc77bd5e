"""Checkpoints that are damaged or hostile: each must be refused in one line, in time, and without running anything."""

import json
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file, save_file

from tests.robustness.finding import Finding
from tests.robustness.models import gather, small_plan, tiny
from valstab.config.schema import ModelConfig
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.prompts import bounded
from valstab.engines.prompts.chat_format import detect_chat_format
from valstab.errors import UserError

LONGEST = 20.0
"""Seconds after which a checkpoint counts as one that hangs."""
WEIGHTS, CONFIG, TOKENIZER, INDEX = "model.safetensors", "config.json", "tokenizer.json", "model.safetensors.index.json"
Damage = Callable[[Path], object]
"""Damages the checkpoint in a folder."""


class Payload:
    """Writes a file where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        """Return what pickle does."""
        return (Path.touch, (self.canary,))


def replaced(name: str, content: bytes) -> Damage:
    """Return a damage: a file has another content."""
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str) -> Damage:
    """Return a damage: the second half of a file is missing."""
    return lambda folder: (folder / name).write_bytes((data := (folder / name).read_bytes())[: len(data) // 2])


def changed(name: str, **values: Any) -> Damage:
    """Return a damage: a JSON file has other values."""
    return lambda folder: (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **values}))


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    """Return a damage: the weights have other tensors."""

    def damage(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file(found, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def index(content: bytes) -> Damage:
    """Return a damage: an index of weights, which lie outside of the folder and are a pickle inside."""

    def damage(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder.parent / WEIGHTS)
        pickled("pytorch_model.bin")(folder)
        (folder / INDEX).write_bytes(content)

    return damage


def pickled(name: str) -> Damage:
    """Return a damage: a file is a pickle that runs code."""
    return lambda folder: (folder / name).write_bytes(pickle.dumps(Payload(folder.parent / "canary")))


def template(source: str) -> Damage:
    """Return a damage: another chat template."""
    return replaced("chat_template.jinja", source.encode())


def only(damage: Damage) -> Damage:
    """Return a damage of a checkpoint without its weights."""
    return lambda folder: ((folder / WEIGHTS).unlink(), damage(folder))


DAMAGES: dict[str, Damage] = {
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "a pickle alone": only(pickled("pytorch_model.bin")),
    "a pickle by another name": pickled(WEIGHTS),
    "weights cut": cut(WEIGHTS),
    "weights of 4 bytes": replaced(WEIGHTS, b"abcd"),
    "half of the tensors": tensors(lambda found: [found.pop(name) for name in list(found)[::2]]),
    "a tensor of another size": tensors(lambda found: found.update({"model.norm.weight": torch.ones(9)})),
    "tensors that are no numbers": tensors(lambda found: [tensor.fill_(torch.nan) for tensor in found.values()]),
    "an index of a pickle": index(b'{"weight_map": {"model.norm.weight": "pytorch_model.bin"}}'),
    "an index of another folder": index(b'{"weight_map": {"model.norm.weight": "../model.safetensors"}}'),
    "an index nested too deep": index(b"[" * 100_000),
    "an index that is a list": index(b'{"weight_map": []}'),
    "no configuration": lambda folder: (folder / CONFIG).unlink(),
    "a configuration cut": cut(CONFIG),
    "a configuration nested too deep": replaced(CONFIG, b"[" * 100_000),
    "a configuration that is a list": replaced(CONFIG, b"[]"),
    "a text for a size": changed(CONFIG, hidden_size="large"),
    "a size below 0": changed(CONFIG, hidden_size=-32),
    "an unknown architecture": changed(CONFIG, model_type="nobody-s"),
    "a vocabulary cut": cut(TOKENIZER),
    "a vocabulary that is a list": replaced(TOKENIZER, b"[]"),
    "settings of the tokenizer that are a list": replaced("tokenizer_config.json", b"[]"),
    "a template that loops": template("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
    "a template that grows": template("{{ 'a'.center(10000000000) }}"),
    "a template that recurses": template("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
    "a template that divides by zero": template("{{ 1 // 0 }}"),
    "a template that looks around": template("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
}


def findings() -> Iterator[Finding]:
    """Try each damage on a tiny model."""
    with tempfile.TemporaryDirectory() as name:
        sound = Path(name) / "sound"
        tiny(sound)
        held = sum(is_refused(sound, Path(name) / kind, damage) for kind, damage in DAMAGES.items())
        yield Finding("damaged or hostile checkpoint, in as many ways", len(DAMAGES), held, "nothing")


def is_refused(sound: Path, place: Path, damage: Damage) -> bool:
    """Return whether a damaged copy of a checkpoint ends in one line, in time, and runs nothing."""
    folder = place / "model"
    shutil.copytree(sound, folder)
    damage(folder)
    start = time.monotonic()
    limits = mock.patch.multiple(bounded, MAX_SECONDS=1.0, MAX_BYTES=200 << 20)
    with limits:
        refused = _refusal(folder)
    took = time.monotonic() - start
    held = bool(refused) and refused.isprintable() and took < LONGEST and not (place / "canary").exists()
    if not held:
        print(f"{place.name}: {refused!r} after {took:.1f} seconds")
    return held


def _refusal(folder: Path) -> str:
    """Return the error of a run with the checkpoint; empty if there is none."""
    model = ModelConfig(name="auto", path=str(folder), format="auto", system_prompt=None, dtype="float32")
    try:
        model = detect_chat_format(model)
        engine = TransformersEngine(model, "none", device="cpu")
        gather(small_plan(), engine, folder / "store")
    except UserError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is none of ours
        print(f"{folder.parent.name}: {type(error).__name__}")
    return ""
