"""Compile the parts of a model that only move memory: norms, activations, rotary positions.

On a CPU with fast matrix products they cost more than the products, on a GPU about as much. What they compute stays the
same but for rounding: a compiled part rounds once at its end.
"""

import importlib.util
import shutil
import sys
from typing import Any

import torch

from valstab.engines.huggingface import shared_prefix

ROTARY_FUNCTION = "apply_rotary_pos_emb"
"""The name of the function, of the module that defines a model, that turns queries and keys by their positions."""


def can_compile(kind: str) -> bool:
    """Say whether there is what torch compiles with: a C++ compiler, and on a GPU (`cuda`) Triton."""
    has_compiler = any(map(shutil.which, ("g++", "c++", "clang++")))
    return has_compiler and (kind != "cuda" or importlib.util.find_spec("triton") is not None)


def compile_modules(model: Any) -> None:
    """Compile a model's norms, multilayer perceptrons and rotary positions; what has other names stays as it is."""
    for module in model.modules():
        if type(module).__name__.endswith(("RMSNorm", "MLP")):
            module.compile(dynamic=True)
    for definition, name in ((sys.modules[type(model).__module__], ROTARY_FUNCTION), (shared_prefix, "merge")):
        function = getattr(definition, name, None)
        if function is not None and not hasattr(function, "_torchdynamo_orig_callable"):
            setattr(definition, name, torch.compile(function, dynamic=True))
