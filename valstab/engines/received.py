"""Check what comes from outside: the log-probabilities and texts of an engine, the JSON of a server or of the store.

What fails is asked for again, and then is a missing answer: it is counted, and never chooses an option.
"""

import json
import math
import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from valstab.errors import one_line

TOLERANCE = 1e-3
"""Rounding error that a probability's logarithm, and the sum of probabilities, may have above 0 and 1."""


MAX_TEXT_CHARACTERS = 1_000_000
"""Maximum length of a message, a thought or an answer."""


MAX_JSON_CHARACTERS = 1 << 27
"""Maximum length of a JSON document."""


SHOWN_CHARACTERS = 60
"""Number of characters of a wrong value that an error shows."""


LONE_SURROGATES = re.compile("[\ud800-\udfff]")


MISSING = "missing"
"""The reading of an answer without a readable option."""


FAILED = "failed"
"""The reading of an answer whose numbers are no log-probabilities."""


class Reads(NamedTuple):
    """How an engine reads answers that are not missing."""

    numbers: str = "exact"
    """Log-probabilities: `exact` from the whole distribution, or `listed` by a server."""
    text: str = "text"
    """Without log-probabilities: from a sampled `text`, or a `structured` one, which a server restricts."""


READINGS = ("exact", "listed", "structured", "text", "sampled", MISSING, FAILED)
"""All readings of an answer; the frequencies of several sampled answers are `sampled`."""


def is_distribution(logprobs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether rows hold log-probabilities (nats) of different options: shape (..., options) becomes (...).

    Within rounding, each is at most 0 and the probabilities add up to at most 1. NaN stands for an unknown one. At
    least one is known and not -inf.
    """
    known = np.where(np.isnan(logprobs), -np.inf, logprobs)
    highest = known.max(axis=-1, initial=-np.inf)
    mass = np.exp(np.minimum(known, 1)).sum(axis=-1)
    valid: NDArray[np.bool_] = (highest > -np.inf) & (highest <= TOLERANCE) & (mass <= 1 + TOLERANCE)
    return valid


def readings(logprobs: NDArray[np.float64], reads: Reads) -> NDArray[np.str_]:
    """Return how each answer was read, one of `READINGS`.

    Args:
        logprobs: rows as `Engine.score_options` yields them. Shape: (choices, options).
        reads: how the engine reads answers.
    """
    unknown = np.isnan(logprobs)
    is_text = np.isposinf(logprobs).any(axis=1) & (unknown.sum(axis=1) == logprobs.shape[1] - 1)
    kinds = [unknown.all(axis=1), is_text, is_distribution(logprobs)]
    return np.select(kinds, [np.array(MISSING), np.array(reads.text), np.array(reads.numbers)], np.array(FAILED))


def read_json(text: str | bytes) -> Any:
    """Return the content of a JSON document.

    Raises:
        ValueError: if it is none, too long, or nested too deep.
    """
    if len(text) > MAX_JSON_CHARACTERS:
        raise ValueError(f"a JSON document of more than {MAX_JSON_CHARACTERS:,} characters")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("a JSON document that is nested too deep") from None


def read_number(value: Any) -> float:
    """Return a number of a JSON document; NaN for what is none, or too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def read_count(value: Any) -> int:
    """Return a number of tokens in a JSON document; 0 for what is none."""
    number = read_number(value)
    return int(number) if 0 <= number < math.inf else 0


def read_text(value: Any) -> str:
    """Return a text without halves of surrogate pairs: two that belong together are joined, others are replaced.

    Raises:
        ValueError: if it is no text, or too long.
    """
    if not isinstance(value, str):
        raise ValueError(f"no text: {one_line(repr(value)[:SHOWN_CHARACTERS])}")  # noqa: TRY004  (as read_json)
    if len(value) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"a text of more than {MAX_TEXT_CHARACTERS:,} characters")
    if LONE_SURROGATES.search(value):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value
