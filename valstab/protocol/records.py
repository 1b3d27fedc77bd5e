"""The records of a store: messages and answers. What has another form, or impossible numbers, is not read."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valstab.engines.base import EngineError, Reply
from valstab.engines.received import FAILED, MAX_TEXT_CHARACTERS, READINGS, Reads, read_text, readings


@dataclass(frozen=True, slots=True, eq=False)
class AnswerRecord:
    """The answers after one conversation. A study keeps one for each, so it is an array, and repeats no text."""

    logprobs: NDArray[np.float64]
    """As `Engine.score_options` yields them, without failed rows. Shape: (items, options)."""
    readings: Sequence[str]
    """How each answer was read, one of `valstab.engines.received.READINGS`."""
    thoughts: Sequence[str] | None = None
    """The thought before each answer; None for a model that does not think."""

    def mended(self, again: "AnswerRecord") -> "AnswerRecord":
        """Return the record with its failed answers replaced, in their order, by those of another."""
        rows, how, thoughts = self.logprobs.copy(), list(self.readings), list(self.thoughts or ())
        for place, index in enumerate(index for index, reading in enumerate(self.readings) if reading == FAILED):
            rows[index], how[index] = again.logprobs[place], again.readings[place]
            if again.thoughts is not None:
                thoughts[index] = again.thoughts[place]
        return AnswerRecord(rows, how, None if self.thoughts is None else thoughts)

    def to_json(self) -> dict[str, Any]:
        """Return the record as the store keeps it."""
        content = {"logprobs": self.logprobs.tolist(), "read": list(self.readings)}
        return content if self.thoughts is None else {**content, "thoughts": list(self.thoughts)}


def received_text(generated: str) -> str:
    """Return a text that an engine has generated, a `Reply` if it was written after a thought.

    Raises:
        EngineError: if it is no text, or too long.
    """
    try:
        text = read_text(generated)
        return Reply(text, read_text(generated.thought)) if isinstance(generated, Reply) else text
    except ValueError as error:
        raise EngineError(f"the engine generated {error}") from None


def received_answers(logprobs: Any, reads: Reads, thoughts: Sequence[str] | None = None) -> AnswerRecord:
    """Return the answers that an engine gives; a failed row has no log-probabilities (NaN)."""
    rows = np.array(logprobs, dtype=float)
    how = readings(rows, reads)
    rows[how == FAILED] = np.nan
    texts = None if thoughts is None else [received_text(text) for text in thoughts]
    return AnswerRecord(rows, _each_once(how.tolist()), texts)


def stored_answers(record: Any, reads: Reads = Reads()) -> AnswerRecord | None:  # noqa: B008  (immutable)
    """Return the answers in a record of the store; None if it has another form, or impossible numbers.

    Args:
        record: a mapping; in stores of version 0.1 the rows, or the rows and the thoughts.
        reads: how the engine reads answers, for a record that does not say it.
    """
    if isinstance(record, list):
        has_thoughts = len(record) == 2 and isinstance(record[0], list) and _are_texts(record[1], len(record[0]))  # noqa: PLR2004
        record = {"logprobs": record[0], "thoughts": record[1]} if has_thoughts else {"logprobs": record}
    try:
        rows = np.array(record["logprobs"])
        n_items, _ = rows.shape
    except (ValueError, TypeError, KeyError):
        return None
    if rows.dtype.kind not in "fi" or not rows.size:
        return None
    rows = rows.astype(float)
    derived = readings(rows, reads).tolist()
    how, thoughts = record.get("read", derived), record.get("thoughts")
    is_whole = _are_texts(how, n_items) and (thoughts is None or _are_texts(thoughts, n_items))
    if not is_whole or FAILED in derived or not set(how) <= set(READINGS):
        return None
    return AnswerRecord(rows, _each_once(how), thoughts)


def _each_once(names: Iterable[str]) -> list[str]:
    """Return the names, each text as one object however often it stands there."""
    return [sys.intern(name) for name in names]


def record_reader(log_name: str) -> Callable[[Any], Any | None]:
    """Return a function that reads the records of a log of this name.

    It returns the record as the log keeps it in memory, or None if such a log can't hold it. Answers that say how they
    were read become an `AnswerRecord`. Those of version 0.1 stay as they are, since only an engine knows it.
    """
    if log_name == "conversations" or log_name.startswith("open-"):
        return lambda record: record if _is_message(record) else None
    return _read_answers if log_name.startswith(("answers-", "judged-")) else lambda record: record


def _is_message(record: Any) -> bool:
    """Return whether a record is a message, or a message and its thought."""
    texts = record if isinstance(record, list) and len(record) == 2 else [record]  # noqa: PLR2004
    return all(isinstance(text, str) and len(text) <= MAX_TEXT_CHARACTERS for text in texts)


def _read_answers(record: Any) -> Any | None:
    """Return the answers in a record, or the labels of one sample; None if it holds neither."""
    if isinstance(record, str) or (isinstance(record, list) and record and _are_texts(record, len(record))):
        return record
    answers = stored_answers(record)
    return answers if answers is None or (isinstance(record, dict) and "read" in record) else record


def _are_texts(value: Any, number: int) -> bool:
    return isinstance(value, list) and len(value) == number and all(isinstance(each, str) for each in value)
