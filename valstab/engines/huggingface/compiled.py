"""Compile the parts of a model that mostly move memory: norms, activations, rotary positions.

On a CPU with fast matrix products these parts cost more than the products, on a GPU about as much. The results are the
same up to rounding: a compiled part rounds once, at its end.
"""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import torch

from valstab.engines.huggingface import shared_prefix

ROTARY_FUNCTION = "apply_rotary_pos_emb"
"""The name of the function that rotates queries and keys, in the module that defines a model."""


class Replacement(NamedTuple):
    """A function to stand in a module under a name while a model computes."""

    module: ModuleType
    name: str
    function: Callable[..., Any]


def can_compile(device_type: str) -> bool:
    """Return whether torch can compile here: with a C++ compiler and, on a GPU (`cuda`), Triton."""
    has_compiler = any(map(shutil.which, ("g++", "c++", "clang++")))
    return has_compiler and (device_type != "cuda" or importlib.util.find_spec("triton") is not None)


def compile_model(model: Any) -> list[Replacement]:
    """Compile the memory-bound parts of a model, found by their names.

    Returns:
        Compiled versions of functions that the model's attention calls. They belong to modules of the whole process, so
        they are not yet in use.
    """
    for module in model.modules():
        if type(module).__name__.endswith(("RMSNorm", "MLP")):
            module.compile(dynamic=True)
    definition = sys.modules[type(model).__module__]
    return [
        Replacement(module, name, torch.compile(getattr(module, name), dynamic=True))
        for module, name in ((definition, ROTARY_FUNCTION), (shared_prefix, "merge"))
        if hasattr(module, name)
    ]
