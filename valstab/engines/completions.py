"""Read what an OpenAI-compatible server answers: the text, the most probable first tokens, and a letter in either.

A letter that the server does not list is less probable than every listed token, so its probability is unknown (NaN).
"""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

FIRST_LETTER = re.compile(r"\s*(?:answer\s*:?\s*)?\(?([A-Z])(?:\)|[.:,](?=\s|$)|\s*$)", re.IGNORECASE)
"""The letter that a sampled answer begins with."""


LETTER_IN_BRACKETS = re.compile(r"\(([A-Z])\)")
"""An option that a sampled answer names in brackets."""


UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError)
"""Errors that `read_completion` raises if a document does not have the form of the API."""


class Completion(NamedTuple):
    """A server's answer to one request."""

    text: str
    first_tokens: list[tuple[str, float]] | None
    """The most probable first tokens with their log-probabilities (nats); None if the server does not list any."""
    input_tokens: int
    output_tokens: int


def read_completion(document: Any) -> Completion:
    """Read the JSON document of a chat completion or of a completion.

    Raises:
        ValueError, KeyError, IndexError, TypeError, AttributeError: if it is neither; see `UNREADABLE`.
    """
    choice = document["choices"][0]
    logprobs = choice.get("logprobs") or {}
    first_tokens: list[tuple[str, float]] | None = None
    if "message" in choice:
        text = choice["message"].get("content") or choice["message"].get("refusal") or ""
        if logprobs.get("content"):
            first_tokens = [(each["token"], float(each["logprob"])) for each in logprobs["content"][0]["top_logprobs"]]
    else:
        text = choice["text"]
        if logprobs.get("top_logprobs"):
            first_tokens = [(token, float(logprob)) for token, logprob in logprobs["top_logprobs"][0].items()]
    usage = document.get("usage") or {}
    return Completion(
        _join_surrogates(str(text)),
        first_tokens,
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
    )


def listed_logprobs(first_tokens: Sequence[tuple[str, float]], options: str) -> list[float]:
    """Return the log-probability (nats) of each option: the sum over its listed tokens, NaN if there are none."""
    listed = [[logprob for token, logprob in first_tokens if token == option] for option in options]
    return [float(np.logaddexp.reduce(logprobs)) if logprobs else math.nan for logprobs in listed]


def sampled_logprobs(text: str, options: str) -> list[float]:
    """Return infinity for the option that a sampled answer chooses and NaN for the others; all NaN if it is unclear."""
    letter = read_letter(text, options)
    return [math.inf if option == letter else math.nan for option in options]


def read_letter(text: str, options: str) -> str | None:
    """Return the option that a sampled answer chooses, or None if it is not clear.

    The text must begin with an offered letter: `B`, `(B)`, `B)`, `B.`, `B:` or `B,`. Upper and lower case count, and
    `Answer:` may stand before it. The text may not name another option in brackets. A letter that begins a word or a
    sentence ("A good one") is not an answer.
    """
    beginning = FIRST_LETTER.match(text)
    if beginning is None:
        return None
    letter = beginning[1].upper()
    others = {other.upper() for other in LETTER_IN_BRACKETS.findall(text)} - {letter}
    return letter if letter in options and not others & set(options) else None


def _join_surrogates(text: str) -> str:
    """Join the halves of surrogate pairs, which JSON may hold apart. A half alone is no character and is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
