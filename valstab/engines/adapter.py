"""Find a low-rank adapter (LoRA) in PEFT's format, check that it fits a model, and add it to the model's weights.

A weight W becomes W + s B A, with a scale s from the adapter's configuration (Hu et al., 2022, LoRA). torch and
transformers are imported only where a model is.
"""

import hashlib
import importlib.util
import json
import re
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

from valstab.config.schema import ModelConfig
from valstab.engines.base import EngineError
from valstab.engines.checkpoint import find_locally, one_line_errors
from valstab.engines.fingerprint import ADAPTER_FILE, file_digest

WEIGHTS_FILE = "adapter_model.safetensors"
"""The file of an adapter's matrices."""


MATRIX = re.compile(r"base_model\.model\.(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?")
"""The name of a matrix in that file: the module that it changes, and A or B."""


def find_adapter(model: ModelConfig, *, merges: bool = True) -> Path | None:
    """Return the folder of a model's adapter; None if it has none.

    Args:
        model: the model.
        merges: whether PEFT is needed, which merges an adapter.

    Raises:
        EngineError: if there is no LoRA in this folder, or PEFT is not installed.
    """
    if model.adapter is None:
        return None
    what, folder = f"model.adapter={model.adapter}", find_locally("adapter", model.adapter)
    for name in (ADAPTER_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise EngineError(
                f"{what}: no {name} there; it must be a folder in PEFT's format (`hf download OWNER/NAME --local-dir "
                "FOLDER` makes one of an adapter on the hub)"
            )
    try:
        kind = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))["peft_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise EngineError(f"{what}: {ADAPTER_FILE} can't be read") from None
    if kind != "LORA":
        raise EngineError(f"{what}: is an adapter of the type {kind}; allowed: LORA")
    if merges and importlib.util.find_spec("peft") is None:
        raise EngineError(f"{what}: needs PEFT; pip install 'valstab[adapters]'")
    return folder


def adapter_identity(folder: Path | None) -> dict[str, str]:
    """Return what identifies an adapter, as a part of an engine's identity; nothing without one."""
    if folder is None:
        return {}
    digests = " ".join(file_digest(folder / name) for name in (ADAPTER_FILE, WEIGHTS_FILE))
    return {"adapter": hashlib.sha256(digests.encode()).hexdigest()}


def adapter_rank(folder: Path) -> int:
    """Return the largest rank of an adapter's matrices."""
    return max(shape[-2] for parts in _matrices(folder).values() for part, shape in parts.items() if part == "A")


def require_fit(folder: Path, source: str, *, trust_remote_code: bool) -> None:
    """Check that an adapter changes only weights that a checkpoint's model has. No weights are read.

    Args:
        folder: the adapter.
        source: the folder or hub id of the checkpoint.
        trust_remote_code: whether the checkpoint's own Python code may run.

    Raises:
        EngineError: at the first matrix that does not fit.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with one_line_errors(f"model.adapter={folder}"):
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        matrices = _matrices(folder)
    shared = model.get_output_embeddings() if config.get_text_config().tie_word_embeddings else None
    sizes: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for name, module in model.named_modules():
        if isinstance(weight := getattr(module, "weight", None), torch.Tensor):
            sizes[_in_layer(name)].add(tuple(sorted(weight.shape)))
            if shared is not None and weight is shared.weight and name in matrices:
                raise EngineError(
                    f"model.adapter={folder}: changes {name}, which this model uses both to read tokens and to write "
                    "them, so it can't be merged"
                )
    for name, parts in matrices.items():
        known = sizes.get(_in_layer(name))
        if known is None:
            raise EngineError(f"model.adapter={folder}: is for another model: {source} has no {name}")
        if set(parts) != {"A", "B"} or tuple(sorted((parts["A"][-1], parts["B"][0]))) not in known:
            raise EngineError(f"model.adapter={folder}: is for another model: {name} has another size in {source}")


def add_adapter(model: Any, folder: Path, *, merged: bool) -> Any:
    """Add an adapter to a loaded model, and return the model.

    Args:
        model: a model of transformers, which is changed.
        folder: the adapter.
        merged: whether its product is added to the weights; otherwise it is computed beside them, as for weights that
            are quantised.

    Raises:
        EngineError: if the model would not use all of its matrices.
    """
    from peft import PeftModel, get_peft_model_state_dict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT's use of transformers
        changed = PeftModel.from_pretrained(model, str(folder))
    used = {name for name in get_peft_model_state_dict(changed, save_embedding_layers=False) if MATRIX.fullmatch(name)}
    unused = sorted(used ^ {name for name in _shapes(folder) if MATRIX.fullmatch(name)})
    if unused:
        raise EngineError(f"model.adapter={folder}: does not fit its {ADAPTER_FILE}: {unused[0]}")
    return changed.merge_and_unload(safe_merge=True) if merged else changed.base_model.model


def _matrices(folder: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the shapes of an adapter's matrices A and B for each module that it changes.

    Raises:
        EngineError: if it has none.
    """
    found: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, shape in _shapes(folder).items():
        if match := MATRIX.fullmatch(name):
            found[match[1]][match[2]] = shape
    if not found:
        raise EngineError(f"model.adapter={folder}: {WEIGHTS_FILE} has no matrices of a LoRA")
    return dict(found)


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS_FILE, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping


def _in_layer(name: str) -> str:
    """Return the name of a module from its layer on: what comes before differs between versions of a model's class."""
    return re.sub(r".*?\b(?=(?:layers|h)\.\d)", "", name)
