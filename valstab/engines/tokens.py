"""Prompts as tokens, by a tokenizer of transformers: its chat template, and the tokens that are an option's letter."""

from collections.abc import Sequence
from typing import Any

from valstab.engine import EngineError, Prompt

OPENED = "("
"""What stands before an answer's letter."""


class Tokens:
    """Encodes prompts for one model, and decodes what it says."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._letters: dict[str, list[int]] = {}

    def encode(self, prompt: Prompt) -> list[int]:
        """Give the tokens of a prompt: the chat template's own special tokens, or a base model's usual ones."""
        if not prompt.messages:
            return list(self.tokenizer(prompt.text).input_ids)
        messages = [{"role": message.role, "content": message.text} for message in prompt.messages]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self.tokenizer(text + prompt.text, add_special_tokens=False).input_ids)

    def of_letter(self, letter: str) -> list[int]:
        """Give every token that is exactly this letter where it follows a bracket.

        Alone, a token that begins with a space may decode without it.

        Raises:
            EngineError: if there is none.
        """
        if not self._letters:
            bracket = self.tokenizer(OPENED, add_special_tokens=False).input_ids
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
