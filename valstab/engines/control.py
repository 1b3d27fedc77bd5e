"""Answer as people whose stability is known: controls that a study must find (docs/results.md)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from valstab.config.schema import ModelConfig
from valstab.engines.base import ChoiceRequest, EngineError, GenerationRequest, Prompt, SampleRequest, ThoughtfulChoice
from valstab.engines.labels import padded
from valstab.engines.random import RandomEngine
from valstab.hashing import derive_seed

CONFIDENCE = 0.9
"""Probability of the option that is chosen; the others share the rest."""


OPTION = re.compile(r"^\((.+?)\) ?(.*)$", re.MULTILINE)
"""An option in a question: its label and its text."""


REMINDER = "Remember"
"""How a reminder of the persona begins (`reminder` in `conf/language/english.yaml`)."""


class Situation(NamedTuple):
    """What the texts of a prompt say of where a question is asked."""

    persona: str
    opening: str
    conversation: str
    n_messages: int
    """Since the last reminder of the persona; the opening is none."""

    @classmethod
    def of(cls, prompt: Prompt) -> "Situation":
        """Read a prompt: the system message, a conversation with or without reminders, and the question."""
        persona = next((text for role, text in prompt.messages if role == "system"), "")
        texts: list[str] = []
        since = 1
        for role, text in prompt.messages[:-1]:
            if text.startswith(REMINDER) and texts and role != "assistant":
                since = len(texts)
            if role != "system":
                texts.append(text)
        return cls(persona, texts[0] if texts else "", "\n".join(texts), max(0, len(texts) - since))


@dataclass(frozen=True)
class Rule:
    """The rule by which a control answers; `ControlEngine` says what it means."""

    share: float = 1.0
    """The persona's share of the variance at the first message, from 0 to 1."""
    half_life: float | None = None
    """Number of messages in which the share halves; None is no loss. A reminder of the persona restores it."""
    shift: int = 0
    """The largest number of places by which an opening moves everybody's answer to an item, up or down."""
    first_letter: bool = False
    """Whether the first option on offer is always chosen, whatever it says."""
    only_thinking: bool = False
    """Whether the persona shows only in answers after a thought."""


class ControlEngine(RandomEngine):
    """Writes random words, with an answer if it is to write one, and answers by a rule.

    An answer has a place on the scale: a standard normal number, cut into as many equal parts as there are options. A
    share of its variance belongs to the persona and the item, and is the same in every conversation. The rest is
    another number in each conversation. So the correlation of a person's answers between two conversations is that
    share, before it is cut. An item is known by its place among the questions after a conversation, so in a dialogue by
    the number of questions before, and where the answer is written, by its text. As a judge, who reads such an answer
    before the options, the engine repeats it.

    Args:
        model: not used, as in every engine without weights.
        quantization: not used.
        scale: the texts of the options, the lowest first.
        writes: the texts of a judge's options, the lowest first, of which each message says one; none if empty.
        rule: the fields of `Rule`.

    Raises:
        EngineError: if a question offers an option that the scale lacks.
    """

    def __init__(
        self, model: ModelConfig, quantization: str, *, scale: Sequence[str], writes: Sequence[str] = (), **rule: Any
    ) -> None:
        super().__init__(model, quantization)
        self._place_of = {text: place for texts in (scale, writes) for place, text in enumerate(texts)}
        self._writes = tuple(writes)
        self._rule = Rule(**rule)
        names = {name: str(value) for name, value in asdict(self._rule).items()}
        said = {"writes": str(self._writes)} if writes else {}
        self.identity: Mapping[str, str] = {"engine": "control", **names, **said}

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        """Yield a few random words for each request, with the answer to its last message if it is to write one."""
        for index, words in super().generate(requests):
            if not self._writes:
                yield index, words
                continue
            prompt = requests[index].prompt
            place = self._answer(Situation.of(prompt), prompt.messages[-1].text, len(self._writes))
            yield index, f"{words}: {self._writes[place]}"

    def seed_of(self, request: GenerationRequest) -> int:
        """Return the seed of a message: its words are the same whoever writes them."""
        return request.seed

    def score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield log-probabilities (nats) of all options; the probabilities add up to one."""
        for index, choices in enumerate(dialogues):
            yield index, self._logprobs(choices, has_thought=False)

    def sample_options(self, dialogues: Iterable[Sequence[SampleRequest]]) -> Iterator[tuple[int, list[list[str]]]]:
        """Yield the same label for each seed."""
        for index, choices in enumerate(dialogues):
            yield (
                index,
                [
                    [choice.options[self._chosen(choice, item, has_thought=False)]] * len(choice.seeds)
                    for item, choice in enumerate(choices)
                ],
            )

    def think_options(
        self, dialogues: Iterable[Sequence[ThoughtfulChoice]]
    ) -> Iterator[tuple[int, list[str], NDArray[np.float64]]]:
        """Yield what the persona is, as a thought, and the log-probabilities (nats) of all options."""
        for index, choices in enumerate(dialogues):
            thoughts = [Situation.of(choice.prompt).persona for choice in choices]
            yield index, thoughts, self._logprobs(choices, has_thought=True)

    def _logprobs(
        self, choices: Sequence[ChoiceRequest | ThoughtfulChoice], *, has_thought: bool
    ) -> NDArray[np.float64]:
        """Return the log-probability of each option: (choices, options)."""
        rows = []
        for item, choice in enumerate(choices):
            others = (1 - CONFIDENCE) / max(1, len(choice.options) - 1)
            row = np.full(len(choice.options), np.log(others))
            row[self._chosen(choice, item, has_thought=has_thought)] = np.log(CONFIDENCE)
            rows.append(row)
        return padded(rows)

    def _chosen(self, choice: ChoiceRequest | SampleRequest | ThoughtfulChoice, item: int, *, has_thought: bool) -> int:
        """Return the index of the label that is chosen."""
        if self._rule.first_letter:
            return 0
        question = choice.prompt.messages[-1].text
        offered = dict(OPTION.findall(question))
        try:
            places = [self._place_of[offered[label] or label] for label in choice.options]
        except KeyError as error:
            raise EngineError(
                f"engine.scale lacks {error}; allowed: the texts of the task's options, the lowest first"
            ) from None
        before = question[: match.start()] if (match := OPTION.search(question)) else question
        if said := [text for text in self._writes if text in before]:
            return places.index(self._place_of[max(said, key=len)])
        asked = [dict(OPTION.findall(text)) for role, text in choice.prompt.messages[:-1] if role == "user"]
        item += sum(offered.keys() == each.keys() for each in asked)
        situation = Situation.of(choice.prompt)
        if self._rule.only_thinking and not has_thought:
            situation = situation._replace(persona="")
        return places.index(self._answer(situation, item, len(places)))

    def _answer(self, situation: Situation, item: int | str, n_places: int) -> int:
        """Return the place of an answer on the scale, from 0."""
        kept, shift = self._rule.share, self._rule.shift
        if self._rule.half_life is not None:
            kept *= 2 ** (-situation.n_messages / self._rule.half_life)
        stays = _normal("persona", situation.persona, item)
        varies = _normal("conversation", situation.persona, situation.conversation, item)
        level = ndtr(np.sqrt(kept) * stays + np.sqrt(1 - kept) * varies)
        unmoved = int(level * (n_places - 2 * shift)) + shift
        moves = np.random.default_rng(derive_seed("shift", situation.opening, item))
        return unmoved + int(moves.integers(-shift, shift, endpoint=True))


def _normal(*labels: str | int) -> float:
    """Return a standard normal number that depends on the labels alone."""
    return float(np.random.default_rng(derive_seed("control", *labels)).standard_normal())
