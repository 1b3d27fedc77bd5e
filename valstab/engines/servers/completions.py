"""Read what an OpenAI-compatible server answers: the text, and the most probable first tokens with their letters.

A letter that the server does not list is less probable than every listed token, so its probability is unknown (NaN).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from valstab.engines.received import is_distribution, read_count, read_number, read_text
from valstab.engines.written_answer import read_label

UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, OverflowError)
"""Errors that `read_completion` raises if a document does not have the form of the API."""


OPENING = ("(", "**(", "**", "[")
"""Tokens before the letter of an answer that begins with a bracket."""


class Completion(NamedTuple):
    """A server's answer to one request."""

    text: str
    first_tokens: list[tuple[str, float]] | None
    """The most probable first tokens with their log-probabilities (nats); None if the server does not list any.

    Those of a thought do not count.
    """
    input_tokens: int
    output_tokens: int
    is_thought: bool = False
    """Whether there is no text, since the server took all tokens for a thought."""
    thought: str = ""
    """The thought before the text, where the server shows it."""


def read_completion(document: Any) -> Completion:
    """Read the JSON document of a chat completion or of a completion.

    Raises:
        ValueError, KeyError, IndexError, TypeError, AttributeError: if it is neither; see `UNREADABLE`.
    """
    choice = document["choices"][0]
    logprobs = choice.get("logprobs") or {}
    usage = document.get("usage") or {}
    is_thought, thought = False, ""
    if "message" in choice:
        message = choice["message"]
        thought = message.get("reasoning_content") or message.get("reasoning") or ""
        text = message.get("content") or message.get("refusal") or ""
        is_thought = isinstance(text, str) and not text.strip() and bool(thought or _thought_tokens(usage))
    else:
        text = choice["text"]
    return Completion(
        read_text(text),
        None if is_thought else _first_tokens(logprobs),
        read_count(usage.get("prompt_tokens")),
        read_count(usage.get("completion_tokens")),
        is_thought,
        read_text(thought),
    )


def _first_tokens(logprobs: Any) -> list[tuple[str, float]] | None:
    """Return the list of the most probable first tokens; NaN stands for what is no number."""
    if logprobs.get("content"):
        return [
            (each["token"], read_number(each["logprob"])) for each in logprobs["content"][0]["top_logprobs"]
        ] or None
    if logprobs.get("top_logprobs"):
        return [(token, read_number(logprob)) for token, logprob in logprobs["top_logprobs"][0].items()] or None
    return None


def _thought_tokens(usage: Any) -> int:
    """Return the tokens of a thought that a server counts but may not show."""
    return read_count((usage.get("completion_tokens_details") or {}).get("reasoning_tokens"))


def listed_logprobs(first_tokens: Sequence[tuple[str, float]], options: Sequence[str]) -> list[float]:
    """Return the log-probability (nats) of each option: the sum over its listed tokens, NaN if there are none."""
    listed = [[logprob for token, logprob in first_tokens if token == option] for option in options]
    return [float(np.logaddexp.reduce(logprobs)) if logprobs else math.nan for logprobs in listed]


def is_valid_list(first_tokens: Sequence[tuple[str, float]]) -> bool:
    """Return whether all listed numbers can be log-probabilities of different tokens."""
    logprobs = np.array([logprob for _, logprob in first_tokens])
    return not np.isnan(logprobs).any() and bool(is_distribution(logprobs))


def opens_bracket(first_tokens: Sequence[tuple[str, float]]) -> bool:
    """Return whether the most probable token opens a bracket: the letter comes after it, and any listed one is not it.

    So it is where a server answers anew instead of continuing the opened answer.
    """
    return bool(first_tokens) and max(first_tokens, key=lambda listed: listed[1])[0].strip() in OPENING


def sampled_logprobs(text: str, options: Sequence[str], opening: str) -> list[float]:
    """Return infinity for the option that a sampled answer chooses and NaN for the others; all NaN if it is unclear.

    Args:
        text: the answer.
        options: their labels.
        opening: what opens the answer in the prompt.
    """
    label = read_label(text, options, opening)
    return [math.inf if option == label else math.nan for option in options]
