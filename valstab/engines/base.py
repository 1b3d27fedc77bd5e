"""What an engine does: continue dialogues, and choose among options after one. It knows nothing of psychology.

An engine is any class that is called with ``model`` (a `valstab.config.Model`), ``quantization`` (one of
`valstab.config.QUANTIZATIONS`) and the options of its YAML file, and has the members of `Engine`.
"""

import re
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from valstab.errors import UserError

GIB = 1 << 30
"""Bytes of a gibibyte."""


class EngineError(UserError):
    """A model that can't be loaded or run: says in one line which and what to do."""


class Message(NamedTuple):
    """One message of a dialogue, by `system`, `user` or `assistant`."""

    role: str
    text: str


class Prompt(NamedTuple):
    """What a model reads: `messages` in its own chat template, the assistant's turn opened, then `text`.

    A base model has no template: its whole prompt is `text`, and there are no messages.
    """

    messages: tuple[Message, ...]
    text: str


@dataclass(frozen=True)
class GenerationRequest:
    """A request to sample what follows `prompt`.

    What is sampled depends on `prompt` and `seed` alone, as far as the precision goes: in bfloat16 the
    probabilities differ a little with what shares the batch. It ends at the model's end of turn, after
    `max_new_tokens`, or where `stop` (a regular expression, cases ignored) matches, and is cut there.
    """

    prompt: Prompt
    seed: int
    max_new_tokens: int
    stop: str | None = None

    def cut(self, text: str) -> str:
        """Give what stands before the first place where `stop` matches, or all."""
        found = None if self.stop is None else re.search(self.stop, text, re.IGNORECASE)
        return text if found is None else text[: found.start()]


@dataclass(frozen=True)
class ChoiceRequest:
    """A request for the probability that each of the one-letter `options` comes next after `prompt`.

    `seed` is for engines that answer by chance.
    """

    prompt: Prompt
    options: str
    seed: int


class Prices(NamedTuple):
    """What a million tokens cost, in US dollars."""

    read: float
    written: float


@dataclass
class Usage:
    """What an engine has computed."""

    encoded_tokens: int = 0
    """Tokens read: of prompts, each only as often as it was really encoded."""
    generated_tokens: int = 0
    steps: int = 0
    """Forward passes that each gave a batch of dialogues one more token."""
    prices: Prices | None = None

    @property
    def usd(self) -> float | None:
        """What that costs, if anything."""
        return self.prices and usd(self.prices, self.encoded_tokens, self.generated_tokens)


def usd(prices: Prices, read: float, written: float) -> float:
    """Give the price of tokens."""
    return (read * prices.read + written * prices.written) / 1e6


def peak_bytes() -> int:
    """Give the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Cache(NamedTuple):
    """The memory in which an engine holds what it has encoded."""

    tokens: int = 0
    """The most that one batch holds, and as many are kept between messages; 0 is no limit, and none kept."""
    token_bytes: int = 0
    rows: int = 0
    """The most dialogues of one batch; 0 is no limit."""
    peak_bytes: Callable[[], int] = peak_bytes
    """Gives the most that was held so far of the memory that it is in, weights and all."""


class Window(NamedTuple):
    """What a model can read at once."""

    tokens: int
    """The most tokens that a prompt and what follows it may have."""
    count: Callable[[Prompt], int]
    """Gives the tokens of a prompt."""


class Engine(Protocol):
    """Runs one language model."""

    usage: Usage
    cache: Cache
    window: Window | None
    """None where it is not known, as of a server, or there is no limit."""

    @property
    def identity(self) -> Mapping[str, str]:
        """All that determines what the model says and answers: its weights, precision, sampling."""
        ...

    @property
    def properties(self) -> Mapping[str, str]:
        """What else is to be recorded with the results: the device and the like."""
        ...

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        """Yield the index of each request with the text that follows it, in any order."""
        ...

    def score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield the index of each dialogue with the log-probabilities of its choices, in any order.

        The choices after one dialogue share a long beginning, so they are asked for together. The
        probabilities are of the model's raw distribution over its whole vocabulary; where several tokens
        decode to exactly an option's letter, they are added up. Shape: (choices, options).

        An engine that does not see the whole distribution gives NaN for what it does not know. Where it could only
        read an answer off sampled text, that option has infinity, and where it could read none, all have NaN.
        """
        ...
