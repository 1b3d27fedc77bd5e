"""Read an option's label in a written answer, and sample such answers with any engine."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from valstab.engines.base import UNREAD, GenerationRequest, SampleRequest
from valstab.engines.labels import are_whole

ANSWER_TOKENS = 16
"""Maximum length of a written answer that chooses a letter, in tokens."""


NARROW = str.maketrans({"\uff08": "(", "\uff09": ")", "\uff1a": ": ", "\uff0c": ", ", "\u3002": ". "})
"""The brackets and marks of Chinese and Japanese, and what they are read as."""


LAST_WORD = re.compile(r"(\w+)\W*$")
"""The last word of what opens an answer."""


MAX_WORD_CHARACTERS = 64
"""Number of last characters of an opening in which the word is looked for."""


Generate = Callable[[Sequence[GenerationRequest]], Iterator[tuple[int, str]]]
"""The method `generate` of an engine."""


def answer_tokens(labels: Sequence[str]) -> int:
    """Return the maximum length of a written answer that chooses one of the labels, in tokens."""
    return ANSWER_TOKENS + (max(map(len, labels)) if are_whole(labels) else 0)


def read_label(text: str, labels: Sequence[str], opening: str) -> str | None:
    """Return the label that a written answer chooses, or None if it is not clear.

    The text must begin with an offered label: `B`, `(B)`, `B)`, `B.`, `B:` or `B,`. Upper and lower case count, and the
    last word of the `opening` (`Answer: (`) may stand before it. The text may not name another option in brackets. A
    letter that begins a word or a sentence ("A good one") is not an answer.
    """
    word = LAST_WORD.search(opening[-MAX_WORD_CHARACTERS:])
    label_of = {label.translate(NARROW).casefold(): label for label in labels}
    first, bracketed = _patterns(tuple(label_of), word[1] if word else "")
    text = text.translate(NARROW)
    beginning = first.match(text)
    if beginning is None:
        return None
    label = label_of.get(beginning[1].casefold())
    named = {label_of.get(other.casefold()) for other in bracketed.findall(text)}
    return label if named <= {label} else None


@lru_cache(maxsize=1 << 12)
def _patterns(labels: tuple[str, ...], word: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of an answer's beginning, in which the word may come first, and of a label in brackets."""
    any_label = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    first = rf"\s*(?:{re.escape(word)}\s*:?\s*)?\(?({any_label})(?:\)|[.:,](?=\s|$)|\s*$)"
    return re.compile(first, re.IGNORECASE), re.compile(rf"\(({any_label})\)", re.IGNORECASE)


def sample_by_writing(
    generate: Generate, dialogues: Iterable[Sequence[SampleRequest]]
) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield each dialogue's index and sampled answers, read from generated text; see `Engine.sample_options`."""
    for index, choices in enumerate(dialogues):
        requests = [
            GenerationRequest(choice.prompt, seed, answer_tokens(choice.options), options=choice.options)
            for choice in choices
            for seed in choice.seeds
        ]
        texts = dict(generate(requests))
        answers: list[list[str]] = []
        place = 0
        for choice in choices:
            written = [texts[number] for number in range(place, place + len(choice.seeds))]
            answers.append([read_label(text, choice.options, choice.prompt.text) or UNREAD for text in written])
            place += len(choice.seeds)
        yield index, answers
