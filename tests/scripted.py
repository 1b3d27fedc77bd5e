"""Engines whose answers are known."""

import re

import numpy as np

from valstab.streams import stream_seed


class PersonaEngine:
    """Answers each item by the persona alone: the same option in every context, wherever it is offered."""

    def __init__(self, model, quantization):
        self.properties = {"quantization": quantization}

    def continue_dialogues(self, requests):
        for index, request in enumerate(requests):
            yield index, f"Reply {request.seed}"

    def choose(self, dialogues):
        for index, choices in enumerate(dialogues):
            yield index, np.array([self._answer(choice) for choice in choices])

    def _answer(self, choice):
        persona = next(message.text for message in choice.prompt.messages if message.role == "system")
        item, *_ = choice.prompt.messages[-1].text.split("\n(A) ")
        offered = dict(re.findall(r"^\((\w)\) (.*)$", choice.prompt.messages[-1].text, re.MULTILINE))
        wanted = sorted(offered.values())[stream_seed(persona, item) % len(offered)]
        return [np.log(0.9) if offered[letter] == wanted else np.log(0.01) for letter in choice.options]


class NanEngine(PersonaEngine):
    """Gives no probabilities."""

    def _answer(self, choice):
        return [np.nan] * len(choice.options)
