"""The thoughts of models that think before they answer: how a chat template marks them, and answers after them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from valstab.engines.base import ChoiceRequest, GenerationRequest, Prompt, Reply, ThoughtfulChoice
from valstab.engines.prompts.assistant_turn import THOUGHT
from valstab.engines.prompts.chat_template import ChatTemplate

ANALYSIS_CHANNEL = "<|channel|>analysis"
"""How templates with channels name the one that thoughts are in."""


class ThoughtFormat(NamedTuple):
    """How a thought stands in a prompt: `opens`, the thought, `closes`, then the answer."""

    opens: str
    closes: str
    end: str
    """The marker that ends a thought as the model writes it."""

    def starts(self, rendered: str) -> str:
        """Return what opens a thought after a rendered prompt, if the chat template has not opened it."""
        return "" if rendered.rstrip().endswith(self.opens.rstrip()) else self.opens

    def cut(self, generated: str) -> str:
        """Return a generated thought without its end."""
        return generated.split(self.end, maxsplit=1)[0].strip()


CHANNELS = ThoughtFormat(
    opens="<|channel|>analysis<|message|>", closes="<|end|><|start|>assistant<|channel|>final<|message|>", end="<|end|>"
)


def thought_format(template: ChatTemplate) -> ThoughtFormat | None:
    """Return how a chat template marks thoughts; None if it has no markers of them.

    A marker with only its end in the template, as in some that leave thoughts out of earlier messages, has the usual
    beginning.
    """
    source = "".join(template.literals)
    if ANALYSIS_CHANNEL in source:
        return CHANNELS
    ends = [match[0] for match in THOUGHT.finditer(source) if match["closing"]]
    if not ends:
        return None
    end = ends[0]
    opens = re.sub("END_OF_|end_of_", "", end.replace("/", ""))
    opens = opens.replace("END_", "START_").replace("end_", "start_")
    return ThoughtFormat(f"{opens}\n", f"\n{end}\n\n", end)


Think = Callable[[Sequence[GenerationRequest]], Iterator[tuple[int, str]]]
"""Yields the index and the thought of each request."""


Score = Callable[[Iterable[Sequence[ChoiceRequest]]], Iterator[tuple[int, NDArray[np.float64]]]]
"""The method `score_options` of an engine."""


def think_then_score(
    think: Think, score: Score, dialogues: Iterable[Sequence[ThoughtfulChoice]]
) -> Iterator[tuple[int, list[str], NDArray[np.float64]]]:
    """Yield each dialogue's index, thoughts and log-probabilities; see `Engine.think_options`."""
    for index, choices in enumerate(dialogues):
        requests = [GenerationRequest(each.prompt, each.seed, each.max_thought_tokens) for each in choices]
        thoughts = dict(think(requests))
        answers = [
            ChoiceRequest(each.prompt._replace(thought=thoughts[place]), each.options, each.seed)
            for place, each in enumerate(choices)
        ]
        ((_, logprobs),) = score([answers])
        yield index, [thoughts[place] for place in range(len(choices))], logprobs


def thoughts_of(think: Think, requests: Sequence[GenerationRequest]) -> dict[int, str]:
    """Return the thoughts before the messages of those requests whose model thinks, by the requests' index."""
    thoughts = {index: "" for index, each in enumerate(requests) if each.max_thought_tokens is not None}
    places = [index for index in thoughts if requests[index].max_thought_tokens]
    asked = [replace(requests[index], max_new_tokens=requests[index].max_thought_tokens or 0) for index in places]
    return thoughts | {places[place]: thought for place, thought in (think(asked) if asked else ())}


def prompts_after(thoughts: Mapping[int, str], requests: Sequence[GenerationRequest]) -> list[Prompt]:
    """Return the requests' prompts, each with its thought if the model thinks; `thoughts` is that of `thoughts_of`."""
    return [
        each.prompt._replace(thought=thoughts.get(index, each.prompt.thought)) for index, each in enumerate(requests)
    ]


def reply_after(thoughts: Mapping[int, str], index: int, text: str) -> str:
    """Return the text of a request, with its thought if the model thinks."""
    return Reply(text, thoughts[index]) if index in thoughts else text
