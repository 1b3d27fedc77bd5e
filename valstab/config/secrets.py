"""Find passwords, keys and tokens: refuse settings that hold them, and remove them from what is printed and logged."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from valstab.errors import ConfigError

LOGIN_IN_URL = re.compile(r"(?<=://)(?:([^/?#@\s:\"']*):([^\s\"'<>]*)|[^/?#@\s]+)@")
"""The user name and password in a URL; a password may have any character but quotes and white space."""


KEY_IN_URL = re.compile(
    r"(?<=[?&])(?!viewStateShareKey=)([^?&=#\s]*(?:key|token|secret|password|signature)[^?&=#\s]*=)[^&#\s'\"]+",
    re.IGNORECASE,
)
"""A key in the query of a URL, but not the one by which MLflow's pages know a table."""


VARIABLE_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
"""The name of an environment variable."""


SECRET_VARIABLE = re.compile(
    r"(^|_)((API)?KEYS?|TOKENS?|SECRETS?|(PG)?PASSWORDS?|PASSW?D?|PASSPHRASE|PAT|CREDENTIALS?)(_|$)|_PWD$",
    re.IGNORECASE,
)
"""Names of environment variables that hold a secret."""


JOB_ENVIRONMENT_PREFIX = "hydra.job.env_set."
"""Start of the keys by which Hydra sets environment variables of a job; `hydra.job.env_copy` is resolved to them."""


NO_SECRETS = (
    *("none", "null", "true", "false", "empty", "dummy", "test", "local", "placeholder", "not-needed", "no-key"),
    *("ollama", "lm-studio", "valstab", "mlflow", "postgres", "password", "secret"),
)
"""Values that stand for no secret, or that are words which a program writes anyway."""


MIN_CHARACTERS = 4
"""Minimum length of a secret, in characters: a shorter one can't be told from a part of any text."""


WORD_CHARACTERS = 8
"""Length of a secret, in characters, below which it is one only as a word of its own."""


def redact(text: str) -> str:
    """Return a text without logins and keys in URLs, and without the values of secret environment variables.

    Example:
        >>> redact("http://me:word@host/v1?token=abc&page=2 fails")
        'http://host/v1?token=...&page=2 fails'
    """
    for name, value in _secrets():
        if value in text:
            text = _pattern(value).sub(f"({name})", text)
    return KEY_IN_URL.sub(r"\1...", LOGIN_IN_URL.sub("", text))


def find_secret(key: str, text: str) -> str | None:
    """Return a message about the secret in a setting, without the secret itself; None if there is none."""
    if key == "engine.url" and ("@" in text or "?" in text):
        return "may hold no name, password or query; engine.key_variable is for the key"
    if key == "engine.key_variable" and not VARIABLE_NAME.fullmatch(text):
        return "must be the name of an environment variable, not the key itself"
    if redact(text) == text:
        return None
    for name, value in _secrets():
        if _pattern(value).search(text):
            return f"holds what the environment variable {name} holds, which would be logged"
    return (
        "may hold no name, password or key in an address; MLflow has MLFLOW_TRACKING_PASSWORD, and a server "
        "engine.key_variable"
    )


def held_variable(text: str) -> str | None:
    """Return the name of a secret environment variable whose value a text holds; None if there is none."""
    return next((name for name, value in _secrets() if value in text and _pattern(value).search(text)), None)


def refuse_composed_secrets(composed: DictConfig) -> None:
    """Refuse a composed configuration that holds a secret, in its values or in what its references resolve to.

    Raises:
        ConfigError: at the first secret, with its key but not its value.
    """
    refuse_secrets(OmegaConf.to_container(composed))
    own = OmegaConf.masked_copy(composed, [str(name) for name in composed if name != "hydra"])
    with suppress(OmegaConfBaseException):  # a broken reference is reported where the setting is used
        refuse_secrets(OmegaConf.to_container(own, resolve=True))


def refuse_secrets(settings: Any) -> None:
    """Refuse nested settings that hold a secret.

    Raises:
        ConfigError: at the first secret, with its key but not its value.
    """
    for key, value in _leaves(settings):
        name = key.removeprefix(JOB_ENVIRONMENT_PREFIX)
        if name != key and SECRET_VARIABLE.search(name):
            raise ConfigError(key, "...", "would be written to .hydra; set it in the environment itself")
        if found := find_secret(key, value):
            raise ConfigError(key, "...", found)


def _secrets() -> Sequence[tuple[str, str]]:
    """Return variable and value of each secret of the environment, longest value first: one may contain another."""
    return _secrets_in(tuple(os.environ.items()))


@lru_cache(maxsize=1)
def _secrets_in(environment: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    found = set()
    for name, value in environment:
        if SECRET_VARIABLE.search(name):
            found.add((name, value.strip()))
        for user, password in LOGIN_IN_URL.findall(value):
            found |= {(name, each) for each in (password, unquote(password)) if each != user}
    known = [(name, value) for name, value in found if len(value) >= MIN_CHARACTERS and value.lower() not in NO_SECRETS]
    return sorted(known, key=lambda pair: (-len(pair[1]), pair))


def _pattern(value: str) -> re.Pattern[str]:
    """Return what finds a secret; a short one may be a part of any word or number."""
    literal = re.escape(value)
    return re.compile(literal if len(value) >= WORD_CHARACTERS else rf"(?<!\w)(?<!\d\.){literal}(?!\w)")


def _leaves(nested: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the key and the value of each text in nested settings."""
    if isinstance(nested, Mapping):
        for name, value in nested.items():
            yield from _leaves(value, f"{key}.{name}".lstrip("."))
    elif isinstance(nested, list):
        for value in nested:
            yield from _leaves(value, key)
    elif isinstance(nested, str):
        yield key, nested
