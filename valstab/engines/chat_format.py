"""Resolve a model's name and chat format where the configuration leaves them open."""

from dataclasses import replace
from pathlib import Path

from valstab.config.engines import TransformersConfig, VllmConfig
from valstab.config.schema import Config, ModelConfig
from valstab.engines.base import EngineError
from valstab.engines.checkpoint import explain_load_error, locate_checkpoint, require_checkpoint, require_path
from valstab.errors import ConfigError

AUTO_MODEL = "auto"
"""The option `model=auto`, for any model that has no option of its own."""


def resolve_chat_format(config: Config) -> ModelConfig:
    """Return the model with its name and format, where necessary detected from its chat template.

    A server's template is unknown; it is assumed to have a system slot.

    Raises:
        ConfigError: if `model=auto` has no path.
        EngineError: if the tokenizer can't be loaded.
    """
    model = config.model
    if model.name == AUTO_MODEL:
        if not model.path:
            raise ConfigError("model.path", "null", "model=auto needs one: a hub id, a folder or a GGUF file")
        model = replace(model, name=Path(model.path).name)
    if model.format != "auto" and model.system_prompt is not None:
        return model
    if isinstance(config.engine, TransformersConfig | VllmConfig):
        return detect_chat_format(model)
    return replace(model, format="chat" if model.format == "auto" else model.format, system_prompt=True)


def detect_chat_format(model: ModelConfig) -> ModelConfig:
    """Return the model with `format` and `system_prompt` as its tokenizer's chat template has them.

    Raises:
        EngineError: if there is no tokenizer at `model.path`.
    """
    path = require_path(model)
    require_checkpoint(model)
    # Only now, since transformers takes seconds to import.
    from transformers import AutoTokenizer

    from valstab.engines.tokenizer import PromptTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(locate_checkpoint(path), trust_remote_code=model.trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise EngineError(f"model.path={path}: its tokenizer can't be loaded: {explain_load_error(error)}") from error
    tokens = PromptTokenizer(tokenizer, model.template)
    form = model.format
    if form == "auto":
        form = "chat" if tokens.has_template() else "base"
    system = model.system_prompt
    if system is None:
        system = form == "chat" and tokens.has_system_slot()
    return replace(model, format=form, system_prompt=system)
