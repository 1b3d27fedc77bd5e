"""The interface of an engine: it continues dialogues and scores options after them. It knows nothing of psychology.

An engine is any class with the members of `Engine` whose arguments are `model` (a `valstab.config.schema.ModelConfig`),
`quantization` (one of `valstab.config.schema.QUANTIZATIONS`) and the options of its YAML file.
"""

import re
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from valstab.errors import UserError

GIB = 1 << 30
"""Bytes of a gibibyte."""


class EngineError(UserError):
    """A model can't be loaded or run; the message says in one line which one and what to do."""


class Message(NamedTuple):
    """One message of a dialogue; the role is `system`, `user` or `assistant`."""

    role: str
    text: str


class Prompt(NamedTuple):
    """What a model reads: `messages` in its own chat template, the start of the assistant's turn, then `text`.

    A base model has no template: its whole prompt is `text`, and there are no messages.
    """

    messages: tuple[Message, ...]
    text: str
    thought: str | None = None
    """A thought before `text`, between the template's own markers; empty if the model is to answer at once.

    None for a model that does not think, or whose template closes the thought itself.
    """


class Reply(str):
    """A generated message, without the thought before it."""

    __slots__ = ("thought",)
    thought: str

    def __new__(cls, text: str, thought: str) -> Self:
        """Return the text, with its thought."""
        reply = super().__new__(cls, text)
        reply.thought = thought
        return reply


@dataclass(frozen=True)
class GenerationRequest:
    """A request to sample a message after `prompt`.

    The message depends on `prompt` and `seed` alone, except for rounding: in bfloat16 the probabilities differ a little
    with the rest of the batch. It ends at the model's end of turn, after `max_new_tokens`, or before the first match of
    `stop` (a regular expression; case is ignored).
    """

    prompt: Prompt
    seed: int
    max_new_tokens: int
    stop: str | None = None
    max_thought_tokens: int | None = None
    """Maximum length of the thought before the message; 0 for none. None for a model that does not think."""
    options: Sequence[str] = ()
    """Labels of which the text is to be one, for an engine that can make sure of it; empty for any text."""

    def cut(self, text: str) -> str:
        """Return the text before the first match of `stop`, or all of it."""
        match = None if self.stop is None else re.search(self.stop, text, re.IGNORECASE)
        return text if match is None else text[: match.start()]


@dataclass(frozen=True)
class ChoiceRequest:
    """A request for the probability that each of the `options` comes next after `prompt`.

    These are labels: letters (`"ABC"`), or longer ones, each up to a closing bracket (`valstab.engines.labels`). `seed`
    is for engines that answer at random.
    """

    prompt: Prompt
    options: Sequence[str]
    seed: int


UNREAD = "?"
"""Stands for a sampled answer that names no option."""


@dataclass(frozen=True)
class SampleRequest:
    """A request for answers sampled after `prompt`, each one of the `options`: one for each of `seeds`."""

    prompt: Prompt
    options: Sequence[str]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class ThoughtfulChoice:
    """A request for the probability that each of the `options` comes next after `prompt` and a thought.

    The thought depends on `prompt` and `seed`. It is closed after `max_thought_tokens` if it has not ended before.
    """

    prompt: Prompt
    options: Sequence[str]
    seed: int
    max_thought_tokens: int


class Waiting(Iterator[GenerationRequest]):
    """Those of some requests that were not taken yet. It ends, and goes on when more have been appended."""

    def __init__(self, requests: Sequence[GenerationRequest]) -> None:
        self._requests, self._n_taken = requests, 0

    def __next__(self) -> GenerationRequest:
        """Return the next request."""
        if self._n_taken == len(self._requests):
            raise StopIteration
        self._n_taken += 1
        return self._requests[self._n_taken - 1]


class Prices(NamedTuple):
    """Prices of a million tokens in US dollars."""

    read: float
    written: float


@dataclass
class Usage:
    """The amount of computation of an engine so far."""

    encoded_tokens: int = 0
    """Prompt tokens, each counted as often as it was encoded."""
    generated_tokens: int = 0
    steps: int = 0
    """Forward passes that generated one token for each dialogue of a batch."""
    prices: Prices | None = None

    @property
    def usd(self) -> float | None:
        """The price of these tokens in US dollars; None without prices."""
        return self.prices and usd(self.prices, self.encoded_tokens, self.generated_tokens)


def usd(prices: Prices, read: float, written: float) -> float:
    """Return the price of tokens in US dollars."""
    return (read * prices.read + written * prices.written) / 1e6


def peak_bytes() -> int:
    """Return the peak memory use of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Cache(NamedTuple):
    """The memory for what an engine has encoded."""

    tokens: int = 0
    """Maximum tokens of a batch, and of the prompts stored between messages; 0 is no limit, and nothing is stored."""
    token_bytes: int = 0
    """Bytes of one token."""
    rows: int = 0
    """Maximum number of dialogues in one batch; 0 is no limit."""
    peak_bytes: Callable[[], int] = peak_bytes
    """Returns the peak use of this memory so far in bytes, weights included."""


class Window(NamedTuple):
    """A model's context window."""

    tokens: int
    """Maximum number of tokens of a prompt together with its continuation."""
    count: Callable[[Prompt], int]
    """Returns the number of tokens of a prompt."""


class Engine(Protocol):
    """Runs one language model."""

    usage: Usage
    cache: Cache
    window: Window | None
    """None if it is unknown, as for a server, or unlimited."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Everything that determines the results: weights, precision, sampling."""
        ...

    @property
    def properties(self) -> Mapping[str, str]:
        """Other information that is recorded with the results, such as the device."""
        ...

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        """Yield the index of each request and the text generated for it, in any order.

        More requests may be appended after each text. An engine takes them as it has room, or leaves all of them for
        the next call. A text after a thought is a `Reply`.
        """
        ...

    def score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield the index of each dialogue and the log-probabilities (nats) of its options, in any order.

        The choices after one dialogue share a long prefix, so they are passed together. The probabilities are those of
        the model's raw distribution over its whole vocabulary, summed over the tokens that decode to exactly an
        option's letter; `valstab.engines.labels` says how longer labels are read. Shape: (choices, options), with NaN
        after the last option of a choice with fewer.

        An engine that does not see the whole distribution returns NaN for unknown probabilities. If it reads an answer
        from sampled text, that option has infinity; if it can read none, all options have NaN.
        """
        ...

    def sample_options(self, dialogues: Iterable[Sequence[SampleRequest]]) -> Iterator[tuple[int, list[list[str]]]]:
        """Yield the index of each dialogue and the labels sampled for each of its requests, in any order of dialogues.

        A request has a label for each seed, in the order of the seeds. `UNREAD` stands for an
        answer that names no option. The model's own sampling settings apply.
        """
        ...

    def think_options(
        self, dialogues: Iterable[Sequence[ThoughtfulChoice]]
    ) -> Iterator[tuple[int, list[str], NDArray[np.float64]]]:
        """Yield the index of each dialogue, its thoughts, and the log-probabilities (nats) of the options after them.

        The log-probabilities are as those of `score_options`.

        Raises:
            EngineError: if the model does not think.
        """
        ...
