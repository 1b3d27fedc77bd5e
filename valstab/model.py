"""Which model is meant: its name, and how it wants to be talked to, where the configuration leaves that open."""

from dataclasses import replace
from pathlib import Path

from valstab.config import Config, ConfigError, Model, TransformersEngine, VllmEngine

AUTO = "auto"
"""The option for any model that has none of its own."""


def settled(config: Config) -> Model:
    """Give the model with its name and format: where that is left open, its chat template tells.

    A server's template is not seen: it is taken to have a system slot.

    Raises:
        ConfigError: if `model=auto` has no path.
    """
    model = config.model
    if model.name == AUTO:
        if not model.path:
            raise ConfigError("model.path", "null", "model=auto needs one: a hub id, a folder or a GGUF file")
        model = replace(model, name=Path(model.path).name)
    if model.format != "auto" and model.system_prompt is not None:
        return model
    if isinstance(config.engine, TransformersEngine | VllmEngine):
        from valstab.engines.formats import detected

        return detected(model)
    return replace(model, format="chat" if model.format == "auto" else model.format, system_prompt=True)
