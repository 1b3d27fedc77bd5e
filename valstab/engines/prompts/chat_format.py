"""Resolve a model's name and chat format where the configuration leaves them open, and check its prompts."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from valstab.config.engines import TransformersConfig, VllmConfig
from valstab.config.schema import Config, ModelConfig
from valstab.engines.base import Prompt
from valstab.engines.checkpoint import locate_checkpoint, one_line_errors, require_checkpoint, require_path
from valstab.errors import ConfigError

if TYPE_CHECKING:
    from valstab.engines.prompts.tokenizer import PromptTokenizer

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
    if has_chat_template(config):
        return detect_chat_format(model)
    return replace(model, format="chat" if model.format == "auto" else model.format, system_prompt=True)


def detect_chat_format(model: ModelConfig) -> ModelConfig:
    """Return the model with `format` and `system_prompt` as its tokenizer's chat template has them.

    Raises:
        EngineError: if there is no tokenizer at `model.path`.
    """
    tokens = load_tokenizer(model)
    form = model.format
    if form == "auto":
        form = "chat" if tokens.has_template() else "base"
    system = model.system_prompt
    if system is None:
        system = form == "chat" and tokens.has_system_slot()
    return replace(model, format=form, system_prompt=system)


def require_prompts(config: Config, prompts: Iterable[Prompt]) -> None:
    """Check some of a run's prompts with the model's chat template, without its weights; of a server it is unknown.

    Raises:
        ConfigError: at the first setting to change.
        EngineError: if the tokenizer can't be loaded, or no setting helps.
    """
    if config.model.format == "chat" and has_chat_template(config):
        from valstab.engines.prompts.prompt_check import check_prompts

        check_prompts(load_tokenizer(config.model), list(prompts), thinks=config.answer == "thinking")


def has_chat_template(config: Config) -> bool:
    """Return whether the engine renders chat templates itself."""
    return isinstance(config.engine, TransformersConfig | VllmConfig)


def load_tokenizer(model: ModelConfig) -> "PromptTokenizer":
    """Return the tokenizer of a model's prompts.

    Raises:
        EngineError: if there is none at `model.path`.
    """
    path = require_path(model)
    require_checkpoint(model)
    # Only now, since transformers takes seconds to import.
    from transformers import AutoTokenizer

    from valstab.engines.prompts.tokenizer import PromptTokenizer

    with one_line_errors(f"model.path={path}: its tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(locate_checkpoint(path), trust_remote_code=model.trust_remote_code)
    return PromptTokenizer(tokenizer, model.template)
