"""Prompts as tokens, by a tokenizer of transformers: its chat template, and the tokens that are an option's letter."""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from valstab.engines.base import EngineError, Message, Prompt

OPENED_BRACKET = "("
"""What stands before an answer's letter."""


PROBE_DIALOGUE = (Message("user", ""), Message("assistant", "Hello."), Message("user", "Who are you?"))
"""A dialogue as the interlocutor sees it."""


class PromptTokenizer:
    """Encodes prompts for one model, and decodes what it says.

    Args:
        tokenizer: of transformers.
        arguments: of its chat template.
    """

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = tokenizer
        self._arguments = dict(arguments or {})
        self._letters: dict[str, list[int]] = {}
        self._controls = _pattern(tokenizer)

    def encode(self, prompt: Prompt) -> list[int]:
        """Give the tokens of a prompt: the chat template's own special tokens, or a base model's usual ones.

        What a message has that looks like a control token (`<|im_end|>`) stays text: it is shown with a space in it.

        Raises:
            EngineError: if the chat template refuses the dialogue, or leaves its system message out.
        """
        (tokens,) = self.encode_all([prompt])
        return tokens

    def encode_all(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Give the tokens of each prompt; together they are encoded on all cores.

        Raises:
            EngineError: as `encode`.
        """
        rows: list[list[int]] = []
        for is_base, alike in itertools.groupby(prompts, lambda prompt: not prompt.messages):
            texts = [
                self._harmless(prompt.text) if is_base else self._render(prompt.messages) + prompt.text
                for prompt in alike
            ]
            rows += self.tokenizer(texts, add_special_tokens=is_base).input_ids
        return rows

    def has_template(self) -> bool:
        """Say whether there is a chat template; a base model has none."""
        return self.tokenizer.chat_template is not None

    def has_system_slot(self) -> bool:
        """Say whether the chat template takes a system message before a dialogue that the user opens."""
        try:
            self._render((Message("system", "You are Gandalf."), *PROBE_DIALOGUE))
        except EngineError:
            return False
        return True

    def template_digest(self) -> str:
        """Tell what a model is shown of messages: a hash of the template and what it makes of a dialogue.

        Some templates write today's date.
        """
        if not self.has_template():
            return "none"
        try:
            shown = self._render(PROBE_DIALOGUE)
        except EngineError as error:
            shown = str(error)
        content = [str(self.tokenizer.chat_template), self._arguments, shown]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def _render(self, messages: Sequence[Message]) -> str:
        plain = [{"role": message.role, "content": self._harmless(message.text)} for message in messages]
        if not self.has_template():
            raise EngineError("the tokenizer has no chat template: model.format must be base, for a base model")
        try:
            text: str = self.tokenizer.apply_chat_template(
                plain, tokenize=False, add_generation_prompt=True, **self._arguments
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise EngineError(f"the model's chat template refuses a dialogue ({error}){_advice(messages)}") from error
        if messages[0].role == "system" and plain[0]["content"].strip() not in text:
            raise EngineError(f"the model's chat template leaves the system message out{_advice(messages)}")
        return text

    def _harmless(self, text: str) -> str:
        return self._controls.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text) if self._controls else text

    def of_letter(self, letter: str) -> list[int]:
        """Give every token that is exactly this letter where it follows a bracket.

        Alone, a token that begins with a space may decode without it.

        Raises:
            EngineError: if there is none.
        """
        if not self._letters:
            bracket = self.tokenizer(OPENED_BRACKET, add_special_tokens=False).input_ids
            opened = self.tokenizer.decode(bracket)
            texts = self.tokenizer.batch_decode([[*bracket, token] for token in range(len(self.tokenizer))])
            for token, text in enumerate(texts):
                self._letters.setdefault(text.removeprefix(opened), []).append(token)
        if letter not in self._letters:
            raise EngineError(f"no token of the model decodes to the letter {letter}")
        return self._letters[letter]

    def decode(self, tokens: Sequence[int]) -> str:
        """Give the text of what was generated."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def _pattern(tokenizer: Any) -> re.Pattern[str] | None:
    """Give what finds a tokenizer's control tokens in a text; those that are white space or one character are text."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    controls = [token for token in special.union(tokenizer.all_special_tokens) if len(token.strip()) > 1]
    return re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True)))) if controls else None


def _advice(messages: Sequence[Message]) -> str:
    return "; it may have no system slot: try model.system_prompt=false" if messages[0].role == "system" else ""
