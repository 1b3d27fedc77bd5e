"""Read an option's letter in a written answer, and sample such answers with any engine."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from valstab.engines.base import UNREAD, GenerationRequest, SampleRequest

FIRST_LETTER = re.compile(r"\s*(?:answer\s*:?\s*)?\(?([A-Z])(?:\)|[.:,](?=\s|$)|\s*$)", re.IGNORECASE)
"""The letter that a written answer begins with."""


LETTER_IN_BRACKETS = re.compile(r"\(([A-Z])\)")
"""An option that a written answer names in brackets."""


ANSWER_TOKENS = 16
"""Maximum length of a written answer, in tokens."""


Generate = Callable[[Sequence[GenerationRequest]], Iterator[tuple[int, str]]]
"""The method `generate` of an engine."""


def read_letter(text: str, options: str) -> str | None:
    """Return the option that a written answer chooses, or None if it is not clear.

    The text must begin with an offered letter: `B`, `(B)`, `B)`, `B.`, `B:` or `B,`. Upper and lower case count, and
    `Answer:` may stand before it. The text may not name another option in brackets. A letter that begins a word or a
    sentence ("A good one") is not an answer.
    """
    beginning = FIRST_LETTER.match(text)
    if beginning is None:
        return None
    letter = beginning[1].upper()
    others = {other.upper() for other in LETTER_IN_BRACKETS.findall(text)} - {letter}
    return letter if letter in options and not others & set(options) else None


def sample_by_writing(
    generate: Generate, dialogues: Iterable[Sequence[SampleRequest]]
) -> Iterator[tuple[int, list[str]]]:
    """Yield each dialogue's index and sampled answers, read from generated text; see `Engine.sample_options`."""
    for index, choices in enumerate(dialogues):
        requests = [
            GenerationRequest(choice.prompt, seed, ANSWER_TOKENS, options=choice.options)
            for choice in choices
            for seed in choice.seeds
        ]
        texts = dict(generate(requests))
        answers, place = [], 0
        for choice in choices:
            written = [texts[number] for number in range(place, place + len(choice.seeds))]
            answers.append("".join(read_letter(text, choice.options) or UNREAD for text in written))
            place += len(choice.seeds)
        yield index, answers
