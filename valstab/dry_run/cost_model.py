"""Linear model of the time of generating messages, over counted work.

Each kind of work has a cost in seconds per unit, which is never negative. The costs are fitted to measured calls by
least squares of the relative errors.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]


class GenerationWork(NamedTuple):
    """Work of generating messages, by kind."""

    steps: float
    """Forward passes, each of which adds a token to every dialogue of a batch."""
    generated: float
    """Generated tokens."""
    encoded: float
    """Encoded prompt tokens."""
    attended: float
    """Attended tokens: the context lengths of all processed tokens, summed."""


def fit(work: Sequence[GenerationWork], seconds: Sequence[float]) -> Floats:
    """Return the seconds per unit of each kind of work. Shape: (kinds,).

    Args:
        work: work of each measured call.
        seconds: duration of each call, above zero.
    """
    amounts, taken = np.array(work, dtype=float), np.array(seconds, dtype=float)
    relative = amounts / taken[:, None]
    # The kinds differ by many orders of magnitude: the solver would treat the small ones as noise.
    size = np.maximum(np.abs(relative).max(axis=0), np.finfo(float).tiny)
    costs: Floats = nnls(relative / size, np.ones(len(taken)))[0] / size
    return costs


def predict(work: Sequence[GenerationWork], costs: Floats) -> float:
    """Return the time of all the work, in seconds."""
    return float(np.array(work, dtype=float).sum(axis=0) @ costs) if work else 0.0


class DialogueLengths(NamedTuple):
    """Mean lengths of dialogues in tokens, for both speakers, the tested model first."""

    first: tuple[float, float]
    """First prompt of each speaker."""
    replies: Sequence[float]
    """First messages. A later message is as long as the speaker's last one here."""
    frame: float = 0
    """Tokens that the chat template adds to a message."""
    spread: float = 1
    """Ratio of the longest prompt of a batch to the mean."""

    def reply(self, number: int) -> float:
        """Return the length of message `number` (0-based)."""
        known = len(self.replies)
        return self.replies[number if number < known else known - 2 + (number - known) % 2]

    def prompt(self, number: int) -> float:
        """Return the length of the prompt for message `number` (0-based)."""
        since = range(number % 2, number)
        return self.first[number % 2] + sum(self.reply(each) + self.frame for each in since)


def generation_work(
    dialogue: DialogueLengths, number: int, *, rows: int, steps: float, cache_tokens: int
) -> GenerationWork:
    """Return the projected work of one message in dialogues that are generated together.

    Args:
        dialogue: lengths of the dialogues.
        number: number of the message (0-based).
        rows: number of dialogues.
        steps: forward passes per message of a batch.
        cache_tokens: token capacity of one batch, and of the cache between messages; 0 is no limit and no cache.
    """
    prompt, generated = dialogue.prompt(number), dialogue.reply(number)
    encoded = prompt
    if number > 1:
        # Between two messages of a speaker, the prompts of both speakers are cached.
        cached = rows * (dialogue.prompt(number - 1) + dialogue.prompt(number - 2))
        share = min(1.0, cache_tokens / cached) if cached else 1.0
        # Cached rows encode as many tokens again as the longest new message of the other speaker.
        encoded = share * min(prompt, steps + 2 * dialogue.frame) + (1 - share) * prompt
    # Rows are padded to the longest one of their batch.
    padded = rows * (dialogue.spread * prompt + steps)
    batches = max(1, math.ceil(padded / cache_tokens)) if cache_tokens else 1
    return GenerationWork(
        steps * batches, rows * generated, rows * encoded, rows * attended(prompt, generated, encoded)
    )


def attended(prompt: float, generated: float, encoded: float) -> float:
    """Return the attended tokens of one dialogue: of its generated tokens, and of the last `encoded` of its prompt."""
    return generated * (prompt + generated / 2) + encoded * (prompt - encoded / 2)
