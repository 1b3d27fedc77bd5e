"""Names and values in the form that MLflow accepts."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable

from valstab.config.secrets import redact

MAX_VALUE_CHARACTERS = 250
"""Longer parameter values are cut: the whole configuration is the artifact `config.yaml`."""


MAX_METRIC_NAME_CHARACTERS = 200
"""Characters of a metric's name; MLflow allows 250."""


REFUSED_CHARACTERS = re.compile(r"[^\w\-. ]")
"""Characters that MLflow does not allow in a metric's name, or that would make another level of it."""


def metric_names(names: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Give each name, a tuple of its levels, the one that it has in MLflow.

    Characters that MLflow does not allow become `_`. Where two names would then be the same, or one is too long, they
    end with a digest of what they were.
    """
    plain = {name: "/".join(_level(part) for part in name) for name in names}
    number = Counter(short.casefold() for short in plain.values())
    return {
        name: short
        if number[short.casefold()] == 1 and len(short) <= MAX_METRIC_NAME_CHARACTERS
        else f"{short[:MAX_METRIC_NAME_CHARACTERS]}_{hashlib.sha256(json.dumps(name).encode()).hexdigest()[:8]}"
        for name, short in plain.items()
    }


def _level(part: str) -> str:
    plain = REFUSED_CHARACTERS.sub("_", part)
    return plain if plain.strip(". ") else "_" * len(plain)  # a path's own names


def shorten(value: str) -> str:
    """Cut a value to the length that MLflow accepts."""
    return value if len(value) <= MAX_VALUE_CHARACTERS else value[: MAX_VALUE_CHARACTERS - 1] + "…"


def error_tag(error: BaseException) -> str:
    """Name an error in the tag `error`."""
    return redact(f"{type(error).__name__}: {error}".rstrip(": "))[:MAX_VALUE_CHARACTERS]
