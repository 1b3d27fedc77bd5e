"""Answer at random: a baseline in which no measure may find stability."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from valstab.config.schema import ModelConfig
from valstab.engines.base import (
    Cache,
    ChoiceRequest,
    GenerationRequest,
    Prompt,
    SampleRequest,
    ThoughtfulChoice,
    Usage,
)
from valstab.engines.labels import padded
from valstab.random_streams import random_streams

WORDS = ("yes", "no", "perhaps", "well", "so", "today", "here", "often", "good", "again")
"""The vocabulary of messages."""


MAX_WORDS = 8
"""Maximum number of words in a message."""


class RandomEngine:
    """Generates random words, and draws the probabilities of options uniformly from the simplex.

    What it writes and answers depends on the seed and on the whole prompt, so that no change of a prompt leaves it.
    """

    def __init__(self, model: ModelConfig, quantization: str) -> None:  # noqa: ARG002  (as every engine)
        self.usage = Usage()
        self.cache = Cache()
        self.window = None
        self.identity: Mapping[str, str] = {"engine": "random"}
        self.properties: Mapping[str, str] = {}

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        """Yield a few random words for each request."""
        for index, request in enumerate(requests):
            random = np.random.default_rng(self.seed_of(request))
            yield index, " ".join(random.choice(WORDS, size=min(MAX_WORDS, request.max_new_tokens)))

    def seed_of(self, request: GenerationRequest) -> int:
        """Return the seed of a message, which is another one after another prompt."""
        return request.seed ^ _digest(request.prompt)

    def score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield log-probabilities (nats) of all options; the probabilities add up to one."""
        for index, choices in enumerate(dialogues):
            # Exponential variates over their sum are uniform on the simplex, as those of `Generator.dirichlet`.
            streams = zip(
                random_streams([choice.seed ^ _digest(choice.prompt) for choice in choices]), choices, strict=True
            )
            drawn = padded([stream.standard_exponential(len(choice.options)) for stream, choice in streams])
            yield index, np.log(drawn * (1 / np.nansum(drawn, axis=1, keepdims=True)))

    def sample_options(self, dialogues: Iterable[Sequence[SampleRequest]]) -> Iterator[tuple[int, list[list[str]]]]:
        """Yield labels that are drawn uniformly."""
        for index, choices in enumerate(dialogues):
            yield (
                index,
                [
                    [str(np.random.default_rng(seed ^ _digest(c.prompt)).choice(list(c.options))) for seed in c.seeds]
                    for c in choices
                ],
            )

    def think_options(
        self, dialogues: Iterable[Sequence[ThoughtfulChoice]]
    ) -> Iterator[tuple[int, list[str], NDArray[np.float64]]]:
        """Yield empty thoughts, and what `score_options` yields."""
        for index, choices in enumerate(dialogues):
            ((_, logprobs),) = self.score_options([[ChoiceRequest(c.prompt, c.options, c.seed) for c in choices]])
            yield index, [""] * len(choices), logprobs


def _digest(prompt: Prompt) -> int:
    """Return a number of 32 bits that depends on all texts of a prompt."""
    number = zlib.crc32(prompt.text.encode())
    for message in prompt.messages:
        number = zlib.crc32(message.text.encode(), number)
    return number
