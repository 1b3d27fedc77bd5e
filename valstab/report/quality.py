"""Signs of how a model responded: which positions it preferred, how surely it answered, where it was cut off."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

CUT_ENDS = ",;:-\u2013\u2014(["
"""Besides letters, marks and digits, what a whole message does not end with."""


class PositionBias(NamedTuple):
    """How often each letter was chosen. Options are shuffled, so an unbiased model chooses all equally often."""

    shares: tuple[float, ...]
    """Of each letter, among the answers that could be read; in the order of the alphabet."""
    excess: float
    """Total variation distance from equal shares: the part of the answers that would have to move. 0 is no bias."""


class MassSpread(NamedTuple):
    """How the answer mass, the probability on the offered letters, spreads over the questions."""

    shares: tuple[float, ...]
    """Of the questions in each bin; the bins are equally wide, from 0 to 1."""
    low: float
    """Share of the questions under the limit."""


def position_bias(chosen: Iterable[str | None], letters: str) -> PositionBias | None:
    """Count which of the offered `letters` were chosen; None where no answer could be read.

    Example:
        >>> position_bias(["A", "A", "A", "B"], "AB")
        PositionBias(shares=(0.75, 0.25), excess=0.25)
    """
    read = [letter for letter in chosen if isinstance(letter, str)]
    if not read:
        return None
    shares = tuple(read.count(letter) / len(read) for letter in letters)
    return PositionBias(shares, sum(abs(share - 1 / len(letters)) for share in shares) / 2)


def mass_spread(mass: ArrayLike, low: float, bins: int = 10) -> MassSpread | None:
    """Spread the answer mass of the questions over bins; unknown ones (NaN) are left out. None if all are unknown.

    Args:
        mass: probabilities, shape (questions,); rounding may take them a little above 1.
        low: the limit under which the model was mostly not answering.
        bins: how many.
    """
    values = np.asarray(mass, dtype=float)
    values = np.clip(values[np.isfinite(values)], 0, 1)
    if not values.size:
        return None
    counts, _ = np.histogram(values, bins=bins, range=(0, 1))
    return MassSpread(tuple((counts / values.size).tolist()), float((values < low).mean()))


def seems_cut(text: str, max_new_tokens: int) -> bool:
    """Tell whether a generated message seems to have ended at the limit of its tokens.

    What an engine gives is text alone, so this is a guess: the message has at least as many characters as the limit has
    tokens, and ends in the middle of a sentence.
    """
    text = text.rstrip()
    if not text or len(text) < max_new_tokens:
        return False
    return text[-1] in CUT_ENDS or unicodedata.category(text[-1])[0] in "LMN"


def cut_messages(texts: Sequence[str], max_new_tokens: int) -> list[int]:
    """Give the places of a conversation's messages that seem cut; the opening (place 0) was not generated."""
    return [place for place, text in enumerate(texts) if place and seems_cut(text, max_new_tokens)]
