"""What a run costs: memory so far, and a linear model of the time of conversing over counted work.

Each kind of work has a cost in seconds for one unit, never below zero, fitted by least squares of relative errors to
measured calls.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]


class GenerationWork(NamedTuple):
    """The work of continuing dialogues."""

    steps: float
    """Forward passes that each give a batch of dialogues one more token."""
    generated: float
    encoded: float
    attended: float
    """Tokens that generated or encoded ones looked back on: each one's context, added up."""


def fit(work: Sequence[GenerationWork], seconds: Sequence[float]) -> Floats:
    """Give the seconds that one unit of each kind of work takes: (kinds,).

    Args:
        work: of each measured call.
        seconds: what each call took, above zero.
    """
    amounts, taken = np.array(work, dtype=float), np.array(seconds, dtype=float)
    relative = amounts / taken[:, None]
    # The kinds differ by many orders of magnitude, which the solver would take for noise.
    size = np.maximum(np.abs(relative).max(axis=0), np.finfo(float).tiny)
    costs: Floats = nnls(relative / size, np.ones(len(taken)))[0] / size
    return costs


def predict(work: Sequence[GenerationWork], costs: Floats) -> float:
    """Give the seconds that all this work takes."""
    return float(np.array(work, dtype=float).sum(axis=0) @ costs) if work else 0.0


class Dialogue(NamedTuple):
    """How long dialogues are, in tokens; for each of the two speakers, the tested model first."""

    first: tuple[float, float]
    """A speaker's first prompt."""
    replies: Sequence[float]
    """The first messages; later ones are as long as the last of these by the same speaker."""
    frame: float = 0
    """What the chat template adds to a message."""
    spread: float = 1
    """The longest prompt of many dialogues, over the mean."""

    def reply(self, number: int) -> float:
        """Give the length of message `number`, the first being 0."""
        known = len(self.replies)
        return self.replies[number if number < known else known - 2 + (number - known) % 2]

    def prompt(self, number: int) -> float:
        """Give the length of the prompt for message `number`, the first being 0."""
        since = range(number % 2, number)
        return self.first[number % 2] + sum(self.reply(each) + self.frame for each in since)


def generation_work(dialogue: Dialogue, number: int, *, rows: int, steps: float, cache_tokens: int) -> GenerationWork:
    """Project the work of message `number` of dialogues that are held together.

    Args:
        dialogue: how long they are.
        number: of the message, the first being 0.
        rows: how many dialogues.
        steps: the forward passes of one batch: the tokens of its longest message.
        cache_tokens: the most tokens of one batch, of which as many stay encoded between messages; 0 is no limit.
    """
    prompt, generated = dialogue.prompt(number), dialogue.reply(number)
    encoded = prompt
    if number > 1:
        # Until a speaker's next message the other's prompt stays encoded as well.
        held = rows * (dialogue.prompt(number - 1) + dialogue.prompt(number - 2))
        share = min(1.0, cache_tokens / held) if held else 1.0
        # Of what is kept as much is encoded in every row as the other's longest message makes new.
        encoded = share * min(prompt, steps + 2 * dialogue.frame) + (1 - share) * prompt
    # All rows of a batch take the room of the longest one.
    room = rows * (dialogue.spread * prompt + steps)
    batches = max(1, math.ceil(room / cache_tokens)) if cache_tokens else 1
    return GenerationWork(
        steps * batches, rows * generated, rows * encoded, rows * attended(prompt, generated, encoded)
    )


def attended(prompt: float, generated: float, encoded: float) -> float:
    """Count what the tokens of one dialogue look back on: those generated, and the last of its prompt, encoded."""
    return generated * (prompt + generated / 2) + encoded * (prompt - encoded / 2)
