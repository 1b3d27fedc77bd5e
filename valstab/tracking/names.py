"""Names and values in the form that MLflow accepts."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable

from valstab.config.secrets import redact

MAX_VALUE_CHARACTERS = 250
"""Characters of a parameter's or tag's value; longer ones are cut. `config.yaml` has the whole configuration."""


MAX_METRIC_NAME_CHARACTERS = 200
"""Characters of a metric's name before a digest is added; MLflow allows 250."""


REFUSED_CHARACTERS = re.compile(r"[^\w\-. ]")
"""Characters that MLflow does not allow in a metric's name, and `/`, which would start another level."""


def metric_names(names: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Return the MLflow name of each metric; a metric's name is given as a tuple of its levels.

    Characters that MLflow does not allow become `_`. A name that is too long, or that would equal another, ends with a
    digest of the original.
    """
    joined = {name: "/".join(_level(part) for part in name) for name in names}
    counts = Counter(short.casefold() for short in joined.values())
    return {
        name: short
        if counts[short.casefold()] == 1 and len(short) <= MAX_METRIC_NAME_CHARACTERS
        else f"{short[:MAX_METRIC_NAME_CHARACTERS]}_{hashlib.sha256(json.dumps(name).encode()).hexdigest()[:8]}"
        for name, short in joined.items()
    }


def _level(part: str) -> str:
    allowed = REFUSED_CHARACTERS.sub("_", part)
    return allowed if allowed.strip(". ") else "_" * len(allowed)  # `.` and `..` mean folders in a path


def shorten(value: str) -> str:
    """Return a value cut to the length that MLflow accepts."""
    return value if len(value) <= MAX_VALUE_CHARACTERS else value[: MAX_VALUE_CHARACTERS - 1] + "…"


def error_tag(error: BaseException) -> str:
    """Return the value of the tag `error` for an exception."""
    return redact(f"{type(error).__name__}: {error}".rstrip(": "))[:MAX_VALUE_CHARACTERS]
