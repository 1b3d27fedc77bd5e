"""Check the values of a run's settings.

Hydra has already checked keys and types against the dataclasses of `valstab.config.schema`. Nothing large is imported
here, so that a mistake is reported at once.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from valstab.config.engines import EngineConfig, OpenaiConfig, TransformersConfig, VllmConfig
from valstab.config.inputs import REMINDER_SLOTS, ReminderConfig
from valstab.config.language import check_language
from valstab.config.schema import (
    ANSWERS,
    DTYPES,
    FORMATS,
    ITEM_ORDERS,
    OPTION_LABELS,
    OPTION_ORDERS,
    OVERFLOWS,
    QUANTIZATIONS,
    UNDEFINED,
    Config,
    InterlocutorConfig,
    JudgeConfig,
    ModelConfig,
)
from valstab.errors import ConfigError, require, require_text

ANSWER_PREFIXES = ("continue", "message", "question")
"""Values of `engine.answer_prefix`."""


LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
"""Values of `engine.limit_field`."""


STRUCTURED_CHOICES = ("vllm", "llama_cpp", "openai")
"""Values of `engine.structured_choice`, besides null."""


RENDERERS = ("vllm", "llama_cpp")
"""Values of `engine.renderer`, besides null."""


BACKENDS = ("mp", "ray")
"""Values of `engine.distributed_executor_backend`, besides null."""


SEED_LIMIT = 1 << 63
"""Absolute value that a seed must stay below."""


MAX_COUNT = 1_000_000
"""Maximum of every count of a run: a run with more would never end."""


Range = tuple[Callable[[float], bool], str]
"""A test whether a number is allowed, and the rule for the error message."""


AT_LEAST_ONE: Range = (lambda value: value >= 1, "must be at least 1")
"""The range from 1."""


ABOVE_ZERO: Range = (lambda value: value > 0, "must be above 0")
"""The range above 0."""


NOT_BELOW_ZERO: Range = (lambda value: value >= 0, "must be 0 or more")
"""The range from 0."""


SHARE: Range = (lambda value: 0 <= value <= 1, "must be a share between 0 and 1")
"""The range of shares."""


ENGINE_RANGES: Mapping[str, Range] = {
    "batch_size": AT_LEAST_ONE,
    "cache_gib": (lambda value: value > 0, "must be above 0, or null for what is free"),
    "concurrency": AT_LEAST_ONE,
    "timeout": ABOVE_ZERO,
    "max_away": NOT_BELOW_ZERO,
    "top_logprobs": NOT_BELOW_ZERO,
    "thinking_tokens": NOT_BELOW_ZERO,
    "usd_per_million_input": NOT_BELOW_ZERO,
    "usd_per_million_output": NOT_BELOW_ZERO,
    "tensor_parallel_size": AT_LEAST_ONE,
    "pipeline_parallel_size": AT_LEAST_ONE,
    "data_parallel_size": AT_LEAST_ONE,
    "gpu_memory_utilization": (lambda value: 0 < value <= 1, "must be above 0 and at most 1"),
    "max_model_len": AT_LEAST_ONE,
    "block_size": AT_LEAST_ONE,
    "share": SHARE,
    "half_life": ABOVE_ZERO,
    "shift": NOT_BELOW_ZERO,
}
"""Ranges of the engines' settings, by name."""


FITNESS_RANGES: Mapping[str, Range] = {"max_unread_answers": SHARE, "max_empty_messages": SHARE}
"""Ranges of what a run with a headline may lack, by name."""


SAMPLING_RANGES: Mapping[str, Range] = {
    "temperature": NOT_BELOW_ZERO,
    "top_p": (lambda value: 0 < value <= 1, "must be above 0 and at most 1"),
    "top_k": (lambda value: value >= 0, "must be at least 1, or 0 for the whole vocabulary"),
    "min_p": (lambda value: 0 <= value < 1, "must be at least 0 and below 1"),
    "repetition_penalty": ABOVE_ZERO,
}
"""Ranges of the sampling settings, by name."""


def check_config(config: Config) -> None:
    """Check all values for which no file has to be read.

    Raises:
        ConfigError: at the first invalid value.
    """
    _check_texts("", asdict(config))
    _check_model("model", config.model, config.engine)
    require("undefined", config.undefined, UNDEFINED)
    require("overflow", config.overflow, OVERFLOWS)
    require("answer", config.answer, ANSWERS)
    require("option_order", config.option_order, OPTION_ORDERS)
    require("option_labels", config.option_labels, OPTION_LABELS)
    require("item_order", config.item_order, ITEM_ORDERS)
    if config.item_order != "file" and config.task.dialogue is None:
        raise ConfigError("item_order", config.item_order, "is that of a dialogue: needs task.dialogue, such as all")
    _check_reminder(config.reminder)
    if config.retests > 0 and config.option_order != "random":
        raise ConfigError("retests", config.retests, "repeats the questions in other orders: needs option_order=random")
    n_messages = config.n_messages
    if n_messages < 0 or (n_messages > 0 and n_messages % 2 == 0):
        raise ConfigError(
            "n_messages",
            n_messages,
            "must be odd, so that the tested model speaks last, or 0 for no conversation",
        )
    if config.thinking_messages and config.answer != "thinking":
        raise ConfigError("thinking_messages", config.thinking_messages, "needs answer=thinking")
    if config.answer == "thinking" and config.model.format == "base":
        raise ConfigError("answer", config.answer, "a base model does not think; allowed: letter, sampled")
    check_language(config.language)
    _check_numbers(config)
    _check_ranges("", config, FITNESS_RANGES)
    _check_ranges("engine.", config.engine, ENGINE_RANGES)
    _check_ranges("model.sampling.", config.model.sampling, SAMPLING_RANGES)
    if isinstance(config.engine, OpenaiConfig):
        _check_server(config.engine, config.model.quantization)
        if config.engine.batch and config.dry_run:
            raise ConfigError(
                "engine.batch", "true", "a dry run measures single requests: set engine.batch=false for it"
            )
    _check_interlocutor(config)
    for role in ("interlocutor", "judge"):
        _check_other_model(config, role)
    if isinstance(config.engine, VllmConfig) and config.engine.distributed_executor_backend is not None:
        require("engine.distributed_executor_backend", config.engine.distributed_executor_backend, BACKENDS)


def _check_model(prefix: str, model: ModelConfig, engine: EngineConfig | None) -> None:
    require(f"{prefix}.format", model.format, FORMATS)
    require(f"{prefix}.dtype", model.dtype, DTYPES)
    require(f"{prefix}.quantization", model.quantization, QUANTIZATIONS)
    if model.adapter is not None and not isinstance(engine, TransformersConfig | VllmConfig):
        raise ConfigError(f"{prefix}.adapter", model.adapter, "needs engine=transformers or engine=vllm")


def _check_reminder(reminder: ReminderConfig) -> None:
    require("reminder.slot", reminder.slot, REMINDER_SLOTS)
    if reminder.every < 0 or reminder.every % 2:
        raise ConfigError(
            "reminder.every", reminder.every, "must be even, since the interlocutor's message follows, or 0"
        )


def _check_interlocutor(config: Config) -> None:
    other = config.interlocutor
    if other.model is not None and other.turns is not None:
        raise ConfigError("interlocutor.turns", other.turns, "is a person's, so there can be no interlocutor.model")
    if other.name == "recorded" and other.turns is None:
        raise ConfigError("interlocutor.turns", other.turns, "needs a file with the recorded turns")
    if config.dry_run and other.turns:
        raise ConfigError(
            "interlocutor", other.name, "a dry run measures the model alone: set interlocutor=same for it"
        )


def _check_other_model(config: Config, role: str) -> None:
    """Check the model and the engine of the interlocutor, or of the judge, if it is another than the tested one."""
    other: InterlocutorConfig | JudgeConfig = getattr(config, role)
    if (other.model is None) != (other.engine is None):
        raise ConfigError(f"{role}.model", other.model and other.model.name, "needs a model and its engine")
    if other.model is None:
        return
    if config.dry_run:
        raise ConfigError(role, other.name, f"a dry run measures the model alone: set {role}=same for it")
    _check_model(f"{role}.model", other.model, other.engine)
    _check_ranges(f"{role}.engine.", other.engine, ENGINE_RANGES)
    _check_ranges(f"{role}.model.sampling.", other.model.sampling, SAMPLING_RANGES)
    if isinstance(other.engine, OpenaiConfig):
        _check_server(other.engine, other.model.quantization)


def _check_numbers(config: Config) -> None:
    for name in ("max_new_tokens", "max_thought_tokens", "answer_samples"):
        if getattr(config, name) < 1:
            raise ConfigError(name, getattr(config, name), "must be at least 1")
    if config.retests < 0:
        raise ConfigError("retests", config.retests, "must be 0 or more")
    if not config.seeds:
        raise ConfigError("seeds", config.seeds, "needs at least one seed, for instance seeds=[0,1,2,3,4]")
    if len(set(config.seeds)) < len(config.seeds):
        raise ConfigError("seeds", config.seeds, "each seed may stand only once")
    if not all(abs(seed) < SEED_LIMIT for seed in config.seeds):
        raise ConfigError("seeds", config.seeds, "each must fit in 64 bits")
    counts = ("n_messages", "retests", "max_new_tokens", "max_thought_tokens", "answer_samples")
    largest = max(counts, key=lambda name: getattr(config, name))
    if getattr(config, largest) > MAX_COUNT:
        raise ConfigError(largest, getattr(config, largest), f"must be at most {MAX_COUNT:,}")


def _check_texts(key: str, nested: Any) -> None:
    if isinstance(nested, Mapping):
        for name, value in nested.items():
            require_text(key or "configuration", name, str(name))
            _check_texts(f"{key}.{name}".lstrip("."), value)
    elif isinstance(nested, list):
        for value in nested:
            _check_texts(key, value)
    elif isinstance(nested, str):
        require_text(key, nested, nested)


def _check_ranges(prefix: str, settings: Any, ranges: Mapping[str, Range]) -> None:
    for name, (fits, rule) in ranges.items():
        value = getattr(settings, name, None)
        if value is not None and not (math.isfinite(value) and fits(value)):
            raise ConfigError(f"{prefix}{name}", value, rule)


def _check_server(engine: OpenaiConfig, quantization: str) -> None:
    require("engine.answer_prefix", engine.answer_prefix, ANSWER_PREFIXES)
    require("engine.limit_field", engine.limit_field, LIMIT_FIELDS)
    if engine.structured_choice is not None:
        require("engine.structured_choice", engine.structured_choice, STRUCTURED_CHOICES)
    if engine.renderer is not None:
        require("engine.renderer", engine.renderer, RENDERERS)
    try:
        address = urlsplit(engine.url)
        sound = address.scheme in {"http", "https"} and address.hostname and address.port != 0
    except ValueError:  # invalid brackets of an IPv6 address, or a port that is not a number
        sound = False
    if not sound:
        raise ConfigError("engine.url", engine.url, "must be an address such as http://localhost:8000/v1")
    if quantization != "none":
        raise ConfigError("model.quantization", quantization, "is up to the server with engine=openai; allowed: none")
