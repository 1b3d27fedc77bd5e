"""The names of runs, models and settings in MLflow, in tables and on pictures."""

from collections.abc import Mapping
from typing import Any

from valstab.config.schema import QUANTIZATIONS, Config


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as one mapping, with names like `population.name` and values as text."""
    settings: dict[str, str] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            settings |= flatten(value, f"{prefix}{key}.")
        else:
            settings[f"{prefix}{key}"] = str(value)
    return settings


def model_label(name: str, quantization: str) -> str:
    """Return a model's name and its quantisation, which is left out if the name already ends in it.

    Example:
        >>> model_label("smollm2_135m", "none"), model_label("smollm2_135m", "8bit")
        ('smollm2_135m', 'smollm2_135m 8bit')
        >>> model_label("mixtral_4bit", "4bit"), model_label("mixtral_4bit", "none")
        ('mixtral_4bit', 'mixtral_4bit none')
    """
    named = next((each for each in QUANTIZATIONS[1:] if name.endswith(each)), "none")
    return name if quantization == named else f"{name} {quantization}"


def run_name(config: Config) -> str:
    """Return the name of a run: its model, engine, interlocutor, population, task and number of messages."""
    model = model_label(config.model.name, config.model.quantization)
    engine = "" if config.engine.name in {"transformers", config.model.name} else f" {config.engine.name}"
    other = "" if config.interlocutor.name == "same" else f" with {config.interlocutor.name}"
    judge = f" judged by {config.judge.name}" if config.task.rubric else ""
    return f"{model}{engine}{other} · {config.population.name} · {config.task.name}{judge} · n={config.n_messages}"
