"""Adapters (LoRA) written by hand, in PEFT's format."""

import json
from pathlib import Path

from safetensors.torch import save_file

SCALE = 3.0
"""The factor of B A: `lora_alpha` over the rank."""


def write_adapter(folder: Path, matrices, **config) -> Path:
    """Write an adapter with the matrices A and B of some modules, and return its folder."""
    rank = next(iter(matrices.values()))[0].shape[0]
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": SCALE * rank, **config}
    settings.setdefault("target_modules", list(matrices))
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    tensors = {
        f"base_model.model.{module}.lora_{part}.weight": matrix.contiguous()
        for module, pair in matrices.items()
        for part, matrix in zip("AB", pair, strict=True)
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder
