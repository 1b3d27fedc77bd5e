"""Load a model: its weights, tokenizer, precision and sampling settings."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from valstab.config.check import SAMPLING_RANGES
from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.config.terminal import warn
from valstab.engines.adapter import add_adapter, find_adapter, require_fit
from valstab.engines.base import EngineError
from valstab.engines.checkpoint import locate_checkpoint, one_line_errors, require_own_safetensors, require_path
from valstab.engines.private_interfaces import has_bfloat16_products, has_matrix_tiles

CONVERSION_VARIABLE = "DISABLE_SAFETENSORS_CONVERSION"
"""An environment variable of transformers: without it a service on the hub converts other weights to safetensors."""


PRECISION_NOTES = {
    torch.float32: "float32, the fastest here; with model.dtype=bfloat16, 5 to 10% of letters would differ",
    torch.bfloat16: "bfloat16, the fastest here; 5 to 10% of letters differ from those of model.dtype=float32",
    torch.float16: "float16, the fastest here; 1% of letters differ from those of model.dtype=float32",
}
"""What is said of the precision that `auto` chooses: the letters of the embedded model (docs/speed.md)."""


LENGTH_WARNING = "sequence-length-is-longer-than-the-specified-maximum"
"""The name under which a tokenizer records that it has warned of a long text."""


UNUSED_SAMPLING: Mapping[str, Any] = {
    "typical_p": 1.0,
    "top_h": None,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "exponential_decay_length_penalty": None,
    "penalty_alpha": None,
    "num_beams": 1,
    "bad_words_ids": None,
    "sequence_bias": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "min_length": 0,
    "min_new_tokens": None,
    "guidance_scale": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Settings of a generation config that change what is sampled, and their values without effect."""


@dataclass(frozen=True)
class ResolvedSampling:
    """How messages are sampled; the defaults are those of transformers."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 50
    repetition_penalty: float = 1.0
    min_p: float = 0.0

    @property
    def identity(self) -> str:
        """The settings as part of a store's key; without `min_p` it is that of versions that did not know it."""
        return str({name: value for name, value in asdict(self).items() if name != "min_p" or value})


class LoadedModel(NamedTuple):
    """A loaded model: its folder or hub id, its tokenizer and the model itself."""

    source: str
    tokenizer: Any
    model: Any


def load(model: ModelConfig, quantization: str, device: str, dtype: torch.dtype) -> LoadedModel:
    """Load a model with its adapter, and its tokenizer.

    Raises:
        EngineError: if the weights or the adapter can't be found or loaded.
    """
    common: dict[str, Any] = {"trust_remote_code": model.trust_remote_code}
    weights: dict[str, Any] = {"dtype": dtype, "device_map": "auto" if device == "cuda" else device}
    if quantization in {"8bit", "4bit"}:
        weights["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=quantization == "4bit",
            load_in_8bit=quantization == "8bit",
            bnb_4bit_compute_dtype=dtype,
        )
    path, adapter = require_path(model), find_adapter(model)
    with one_line_errors(f"model={model.name}: {path}"), _quiet_loading():
        source = locate_checkpoint(path)
        require_own_safetensors(source)
        if adapter is not None:
            require_fit(adapter, source, trust_remote_code=model.trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        loaded, found = AutoModelForCausalLM.from_pretrained(
            # Sizes that differ are among the information, by name.
            source,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **common,
            **weights,
        )
    _require_all_tensors(model, found)
    if device.startswith("cuda"):
        warn_of_offloading(getattr(loaded, "hf_device_map", {}))
    if adapter is not None:
        with one_line_errors(f"model.adapter={adapter}"):
            loaded = add_adapter(loaded, adapter, merged="quantization_config" not in weights)
    # Prompts are checked against the model's own context window.
    tokenizer.deprecation_warnings[LENGTH_WARNING] = True
    return LoadedModel(source, tokenizer, loaded.eval())


def warn_of_offloading(places: Mapping[str, object]) -> None:
    """Say how much of a model that should be on GPUs is not, and what to do.

    Args:
        places: the device of each part of the model, as accelerate chose it: what does not fit is on `cpu` or `disk`.
    """
    elsewhere = [str(place) for place in places.values() if str(place) in {"cpu", "disk"}]
    if elsewhere:
        warn(
            f"valstab: {len(elsewhere)} of the {len(places)} parts of the model do not fit in the free memory of the "
            f"GPU and are kept on the {' and the '.join(sorted(set(elsewhere)))}: many times slower. Free its memory "
            "(nvidia-smi lists what uses it), use more GPUs, or set model.quantization=4bit"
        )


def _require_all_tensors(model: ModelConfig, found: Mapping[str, Any]) -> None:
    """Check that a checkpoint has every tensor of its model, since transformers fills others with random numbers.

    Args:
        model: the model.
        found: the loading information of transformers.
    """
    mismatched = [str(each[0] if isinstance(each, tuple) else each) for each in found.get("mismatched_keys", ())]
    for what, names in (("lacks", sorted(found.get("missing_keys", ()))), ("has the wrong size of", mismatched)):
        if names:
            some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004
            raise EngineError(f"model.path={model.path}: the checkpoint {what} tensors: {some}")


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Turn off the progress bars, warnings and conversions of transformers for a block."""
    with ExitStack() as undo:
        undo.callback(transformers.logging.set_verbosity, transformers.logging.get_verbosity())
        transformers.logging.set_verbosity_error()
        if transformers.logging.is_progress_bar_enabled():
            undo.callback(transformers.logging.enable_progress_bar)
            transformers.logging.disable_progress_bar()
        if CONVERSION_VARIABLE not in os.environ:
            undo.callback(os.environ.pop, CONVERSION_VARIABLE, None)
            os.environ[CONVERSION_VARIABLE] = "1"
        yield


def precision(name: str, device: str) -> torch.dtype:
    """Return the named precision; for `auto`, the fastest of this machine, which one line says.

    It depends on the hardware alone: bfloat16 on GPUs that support it, on CPUs with matrix tiles (AMX), and on AMD's
    with instructions for it, twice as fast there as float32. On Intel's with these but no tiles it is half as fast.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.startswith("cuda"):
        fastest = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    else:
        is_fast = has_matrix_tiles() or (has_bfloat16_products() and _cpu_vendor() == "AuthenticAMD")
        fastest = torch.bfloat16 if is_fast else torch.float32
    warn(f"valstab: computing in {PRECISION_NOTES[fastest]}")
    return fastest


def _cpu_vendor() -> str:
    """Return what the CPU calls its maker, or nothing where the system does not say (not Linux)."""
    try:
        names = re.findall(r"^vendor_id\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return names[0] if names else ""


def resolved_sampling(configured: SamplingConfig, generation_config: Any) -> ResolvedSampling:
    """Return each sampling setting: from the configuration, else from the checkpoint, else its default.

    Raises:
        EngineError: if the checkpoint's is not a number in the setting's range.
    """
    settings = {}
    for name in (field.name for field in fields(ResolvedSampling)):
        for source in (configured, generation_config):
            if name not in settings and getattr(source, name, None) is not None:
                settings[name] = getattr(source, name)
    for name, value in settings.items():
        is_valid, allowed = SAMPLING_RANGES[name]
        kinds = (int,) if name == "top_k" else (int, float)
        if type(value) not in kinds or not is_valid(value):
            raise EngineError(
                f"model.sampling.{name}={value!r} in the checkpoint's generation config: {allowed}; set it"
            )
    return ResolvedSampling(**settings)


def unused_sampling(generation_config: Any) -> dict[str, str]:
    """Return the settings of a checkpoint's generation config that change what it samples and are not used here.

    They are the engine's property `unused_sampling`; it is left out if there are none.
    """
    changed = generation_config.to_diff_dict()
    unused = {name: changed[name] for name in UNUSED_SAMPLING if changed.get(name) not in (None, UNUSED_SAMPLING[name])}
    text = ", ".join(f"{name}={value}" for name, value in unused.items())
    if text:
        warn(f"valstab: the checkpoint's generation config has {text}, which valstab does not use")
    return {"unused_sampling": text} if text else {}


def end_tokens(tokenizer: Any, generation_config: Any) -> set[int]:
    """Return the tokens that end a message.

    Raises:
        EngineError: if those of the checkpoint's generation config are no tokens.
    """
    ends = generation_config.eos_token_id
    tokens = ends if isinstance(ends, list) else [ends]
    if not all(token is None or type(token) is int for token in tokens):
        raise EngineError(f"model.path: eos_token_id={ends!r} in the checkpoint's generation config is no token")
    return {token for token in [*tokens, tokenizer.eos_token_id] if token is not None}
