"""Passwords, keys and tokens: finding them in settings, so that these are refused, and leaving them out of messages."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from valstab.errors import ConfigError

LOGIN_IN_URL = re.compile(r"(?<=://)[^/?#@\s]+@")
"""The name and password of an address."""


KEY_IN_URL = re.compile(
    r"(?<=[?&])([^?&=#\s]*(?:key|token|secret|password|signature)[^?&=#\s]*=)[^&#\s'\"]+", re.IGNORECASE
)
"""A key in the query of an address."""


VARIABLE_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


SECRET_VARIABLE = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(_|$)", re.IGNORECASE)
"""The names of environment variables that hold a secret."""


JOB_ENVIRONMENT_PREFIX = "hydra.job.env_set."
"""Begins the keys of what Hydra puts in a job's environment, from `hydra.job.env_copy` too."""


MIN_REDACTED_CHARACTERS = 8
"""Characters of the shortest secret that is looked for in messages: a shorter one may be a common word."""


MIN_REFUSED_CHARACTERS = 16
"""Characters of the shortest that a setting is refused for."""


def redact(text: str) -> str:
    """Leave out the logins and keys of addresses, and the values of environment variables that hold secrets.

    Example:
        >>> redact("http://me:word@host/v1?token=abc&page=2 fails")
        'http://host/v1?token=...&page=2 fails'
    """
    for name, value in _secrets(MIN_REDACTED_CHARACTERS):
        text = text.replace(value, f"({name})")
    return KEY_IN_URL.sub(r"\1...", LOGIN_IN_URL.sub("", text))


def find_secret(key: str, text: str) -> str | None:
    """Say which secret a setting holds, without saying it; None if it holds none."""
    if key == "engine.url" and ("@" in text or "?" in text):
        return "may hold no name, password or query; engine.key_variable is for the key"
    if key == "engine.key_variable" and not VARIABLE_NAME.fullmatch(text):
        return "must be the name of an environment variable, not the key itself"
    if LOGIN_IN_URL.search(text):
        return "may hold no name or password; MLflow has MLFLOW_TRACKING_PASSWORD, and a server engine.key_variable"
    if KEY_IN_URL.search(text):
        return "may hold no key; engine.key_variable names the environment variable with a server's key"
    for name, value in _secrets(MIN_REFUSED_CHARACTERS):
        if value in text:
            return f"holds what the environment variable {name} holds, which would be logged"
    return None


def refuse_composed_secrets(composed: DictConfig) -> None:
    """Refuse a configuration that holds a secret, where it was composed and in what it refers to.

    Raises:
        ConfigError: naming the key, without the value.
    """
    refuse_secrets(OmegaConf.to_container(composed))
    own = OmegaConf.masked_copy(composed, [str(name) for name in composed if name != "hydra"])
    with suppress(OmegaConfBaseException):  # a broken reference is told where the setting is used
        refuse_secrets(OmegaConf.to_container(own, resolve=True))


def refuse_secrets(settings: Any) -> None:
    """Refuse nested settings that hold a secret.

    Raises:
        ConfigError: naming the key, without the value.
    """
    for key, value in _leaves(settings):
        name = key.removeprefix(JOB_ENVIRONMENT_PREFIX)
        if name != key and SECRET_VARIABLE.search(name):
            raise ConfigError(key, "...", "would be written to .hydra; set it in the environment itself")
        if found := find_secret(key, value):
            raise ConfigError(key, "...", found)


def _secrets(shortest: int) -> Iterator[tuple[str, str]]:
    """Give the environment variables that hold secrets, the longest value first, since one may contain another."""
    named = [
        (name, value) for name, value in os.environ.items() if SECRET_VARIABLE.search(name) and len(value) >= shortest
    ]
    yield from sorted(named, key=lambda pair: len(pair[1]), reverse=True)


def _leaves(nested: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Give each text in nested settings with its key; what is a key there may hold a secret too."""
    if isinstance(nested, Mapping):
        for name, value in nested.items():
            yield from _leaves(value, f"{key}.{name}".lstrip("."))
    elif isinstance(nested, list):
        for value in nested:
            yield from _leaves(value, key)
    elif isinstance(nested, str):
        yield key, nested
