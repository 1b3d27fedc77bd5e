"""Read the probability of an option's label from distributions over the next token.

A label of one character, such as a letter, is read from one distribution: the tokens that decode to exactly it. Where
a question has a longer label, its labels are read whole, up to the closing bracket: `1` would also begin `10`. Their
probability is a product over the label's own tokens, and a sum over all tokens that begin with the rest and a bracket.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CLOSING = ")"
"""The text after an answer's label."""


Node = tuple[int, ...]
"""The tokens of a label that stand after a prompt."""


class Ending(NamedTuple):
    """One way to write a label: some of its tokens, then one token that completes it."""

    tokens: Node
    completing: Sequence[int]
    """All tokens that complete it."""


LabelWays = Sequence[Ending]
"""All ways to write a label; no two are the beginning of the same text."""


def are_whole(labels: Sequence[str]) -> bool:
    """Return whether the labels of a question are read whole, since one of them has several characters."""
    return any(len(label) > 1 for label in labels)


def nodes(labels: Sequence[LabelWays]) -> list[Node]:
    """Return the tokens after a prompt whose distributions are read, the prompt itself first."""
    endings = [ending.tokens for ways in labels for ending in ways]
    found = {tokens[:length] for tokens in endings for length in range(len(tokens) + 1)}
    return sorted(found, key=lambda node: (len(node), node))


def padded(rows: Sequence[Sequence[float] | NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the log-probabilities of questions with their own numbers of options: NaN where a question has no more.

    Shape: (questions, largest number of options).
    """
    table = np.full((len(rows), max(map(len, rows))), math.nan)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


def read_tokens(labels: Sequence[LabelWays]) -> set[int]:
    """Return all tokens whose probabilities are read."""
    return {token for ways in labels for ending in ways for token in (*ending.tokens, *ending.completing)}


def label_logprobs(
    labels: Sequence[LabelWays], rows: Sequence[NDArray[np.float64]], column_of: Mapping[int, int]
) -> list[float]:
    """Return the log-probability (nats) of each label of a question.

    Args:
        labels: the ways to write each label.
        rows: the log-probabilities of the next token after each of `nodes(labels)`. Shape: (nodes, columns).
        column_of: the column of each token.
    """
    row_of = dict(zip(nodes(labels), rows, strict=True))

    def of(ending: Ending) -> float:
        steps = [row_of[ending.tokens[:place]][column_of[token]] for place, token in enumerate(ending.tokens)]
        last = row_of[ending.tokens][[column_of[token] for token in ending.completing]]
        return float(np.logaddexp.reduce(last) + sum(steps))

    return [float(np.logaddexp.reduce([of(ending) for ending in ways])) for ways in labels]
