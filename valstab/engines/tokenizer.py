"""Encode prompts with a tokenizer of transformers, and find the tokens of an option's letter."""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from valstab.engines.base import EngineError, Message, Prompt

OPENED_BRACKET = "("
"""The text before an answer's letter."""


PROBE_DIALOGUE = (Message("user", ""), Message("assistant", "Hello."), Message("user", "Who are you?"))
"""A dialogue as the interlocutor sees it, to try a chat template on."""


class PromptTokenizer:
    """Encodes prompts for one model, and decodes what it generates.

    Args:
        tokenizer: of transformers.
        arguments: further arguments of its chat template.
    """

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = tokenizer
        self._arguments = dict(arguments or {})
        self._tokens_by_text: dict[str, list[int]] = {}
        self._controls = _control_pattern(tokenizer)

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the tokens of a prompt, special tokens included.

        These are the chat template's, or for a base model the tokenizer's usual ones. Text in a message that looks like
        a control token (`<|im_end|>`) stays text: a space is inserted.

        Raises:
            EngineError: if the chat template refuses the dialogue, or leaves its system message out.
        """
        (tokens,) = self.encode_all([prompt])
        return tokens

    def encode_all(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the tokens of each prompt; prompts are encoded in parallel.

        Raises:
            EngineError: as `encode`.
        """
        rows: list[list[int]] = []
        for is_base, alike in itertools.groupby(prompts, lambda prompt: not prompt.messages):
            texts = [
                self._escape_controls(prompt.text) if is_base else self._render(prompt.messages) + prompt.text
                for prompt in alike
            ]
            rows += self.tokenizer(texts, add_special_tokens=is_base).input_ids
        return rows

    def has_template(self) -> bool:
        """Return whether there is a chat template; a base model has none."""
        return self.tokenizer.chat_template is not None

    def has_system_slot(self) -> bool:
        """Return whether the chat template accepts a system message before a dialogue that the user opens."""
        try:
            self._render((Message("system", "You are Gandalf."), *PROBE_DIALOGUE))
        except EngineError:
            return False
        return True

    def template_digest(self) -> str:
        """Return a hash of the chat template and of a dialogue that it renders; `none` for a base model.

        The dialogue is hashed too, since some templates contain today's date.
        """
        if not self.has_template():
            return "none"
        try:
            rendered = self._render(PROBE_DIALOGUE)
        except EngineError as error:
            rendered = str(error)
        content = [str(self.tokenizer.chat_template), self._arguments, rendered]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def _render(self, messages: Sequence[Message]) -> str:
        plain = [{"role": message.role, "content": self._escape_controls(message.text)} for message in messages]
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

    def _escape_controls(self, text: str) -> str:
        return self._controls.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text) if self._controls else text

    def of_letter(self, letter: str) -> list[int]:
        """Return every token that decodes to exactly this letter after a bracket.

        Without the bracket, a token that begins with a space may decode without it.

        Raises:
            EngineError: if there is none.
        """
        if not self._tokens_by_text:
            bracket = self.tokenizer(OPENED_BRACKET, add_special_tokens=False).input_ids
            opened = self.tokenizer.decode(bracket)
            texts = self.tokenizer.batch_decode([[*bracket, token] for token in range(len(self.tokenizer))])
            for token, text in enumerate(texts):
                self._tokens_by_text.setdefault(text.removeprefix(opened), []).append(token)
        if letter not in self._tokens_by_text:
            raise EngineError(f"no token of the model decodes to the letter {letter}")
        return self._tokens_by_text[letter]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of generated tokens, without special ones."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def _control_pattern(tokenizer: Any) -> re.Pattern[str] | None:
    """Return a pattern of a tokenizer's control tokens, except those that are white space or a single character."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    controls = [token for token in special.union(tokenizer.all_special_tokens) if len(token.strip()) > 1]
    return re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True)))) if controls else None


def _advice(messages: Sequence[Message]) -> str:
    """Return what may help against an error of a chat template."""
    return "; it may have no system slot: try model.system_prompt=false" if messages[0].role == "system" else ""
