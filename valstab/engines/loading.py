"""Load a model as it is configured: where it runs, in which precision, and how its messages are sampled."""

import logging
import os
from dataclasses import dataclass
from typing import Any

import joblib
import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.base import EngineError
from valstab.engines.checkpoint import explain_load_error, locate_checkpoint


@dataclass(frozen=True)
class ResolvedSampling:
    """How messages are sampled; the defaults are what transformers does where nobody says otherwise."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 50
    repetition_penalty: float = 1.0


def load(model: ModelConfig, quantization: str, device: str, dtype: torch.dtype) -> tuple[str, Any, Any]:
    """Give where the weights are, the tokenizer and the model.

    Raises:
        EngineError: if the weights can't be found or loaded.
    """
    if model.path is None:
        raise EngineError(f"model={model.name} has no weights; give model.path, or use engine=random")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of every product that 8 bits round
    common: dict[str, Any] = {"trust_remote_code": model.trust_remote_code}
    weights: dict[str, Any] = {"dtype": dtype, "device_map": "auto" if device == "cuda" else device}
    if quantization != "none":
        weights["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=quantization == "4bit",
            load_in_8bit=quantization == "8bit",
            bnb_4bit_compute_dtype=dtype,
        )
    # Else transformers asks a service on the hub to make safetensors of other weights, and takes what that made.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    try:
        source = locate_checkpoint(model.path)
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        loaded = AutoModelForCausalLM.from_pretrained(source, use_safetensors=True, **common, **weights)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, MemoryError, SafetensorError) as error:
        raise EngineError(f"model={model.name}: {model.path} can't be loaded: {explain_load_error(error)}") from error
    return source, tokenizer, loaded.eval()


def limit_threads() -> None:
    """Compute with as many threads as there are physical cores for this process: of a job's share, not of the machine.

    OMP_NUM_THREADS wins.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count(only_physical_cores=True)))


def precision(name: str, device: str) -> torch.dtype:
    """Give the named precision; for `auto` bfloat16 where the hardware computes it fast.

    That is on GPUs that know it and on CPUs with matrix tiles (AMX). AVX-512 alone multiplies it at half the rate of
    float32.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32  # noqa: SLF001  (no public one)


def resolved_sampling(wanted: SamplingConfig, generation_config: Any) -> ResolvedSampling:
    """Take each setting from the user, else from the checkpoint, else the default."""
    settings = {}
    for name in ("temperature", "top_p", "top_k", "repetition_penalty"):
        for source in (wanted, generation_config):
            if name not in settings and getattr(source, name, None) is not None:
                settings[name] = getattr(source, name)
    return ResolvedSampling(**settings)


def end_tokens(tokenizer: Any, generation_config: Any) -> set[int]:
    """Give the tokens that end a message."""
    ends = generation_config.eos_token_id
    tokens = ends if isinstance(ends, list) else [ends]
    return {token for token in [*tokens, tokenizer.eos_token_id] if token is not None}
