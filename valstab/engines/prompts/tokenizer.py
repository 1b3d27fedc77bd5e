"""Encode prompts with a tokenizer of transformers, and find the tokens of an option's label."""

import hashlib
import itertools
import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from valstab.engines.base import EngineError, Message, Prompt
from valstab.engines.labels import CLOSING, Ending, are_whole
from valstab.engines.prompts.assistant_turn import assistant_turn
from valstab.engines.prompts.chat_template import PROBE_DIALOGUE, ChatTemplate
from valstab.engines.prompts.markers import break_markers, break_pattern
from valstab.engines.prompts.thoughts import ThoughtFormat, thought_format

OPENED_BRACKET = "("
"""The text before an answer's letter."""


class PromptTokenizer:
    """Encodes prompts for one model, and decodes what it generates.

    Args:
        tokenizer: of transformers.
        arguments: further arguments of its chat template.

    Raises:
        EngineError: if the tokenizer's maximum length is no number.
    """

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any] | None = None) -> None:
        longest = getattr(tokenizer, "model_max_length", 0)
        if not isinstance(longest, int | float):
            raise EngineError(f"model.path: model_max_length={longest!r} in tokenizer_config.json is no number")
        self.tokenizer = tokenizer
        self._endings: dict[str, list[Ending]] = {}
        self.template = None if tokenizer.chat_template is None else ChatTemplate(tokenizer, arguments or {})

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the tokens of a prompt, special tokens included.

        These are the chat template's, or for a base model the tokenizer's usual ones.

        Raises:
            EngineError: as `render`.
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
            texts = [self.render(prompt) for prompt in alike]
            rows += self.tokenizer(texts, add_special_tokens=is_base).input_ids
        return rows

    def encode_before_thoughts(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the tokens of each prompt up to its thought, as `render_thought` shows it.

        Raises:
            EngineError: as `render_thought`.
        """
        rows: list[list[int]] = self.tokenizer(
            [self.render_thought(prompt) for prompt in prompts], add_special_tokens=False
        ).input_ids
        return rows

    def render(self, prompt: Prompt) -> str:
        """Return a prompt as the model reads it, but for what the tokenizer adds to a base model's.

        Text in a message that looks like a control token (`<|im_end|>`) or a marker of the chat template (`[INST]`)
        stays text: a space is inserted. A turn that the chat template opens only in part is opened as it writes one.

        Raises:
            EngineError: if there is no chat template, or it refuses the dialogue, leaves a message out or moves it.
        """
        if not prompt.messages:
            return break_markers(prompt.text, self._markers)
        if self.template is None:
            raise EngineError("the tokenizer has no chat template: model.format must be base, for a base model")
        rendered = self.template.render(self.as_text(prompt.messages))
        if prompt.thought is None:
            return rendered + self._missing + prompt.text
        form = self.thoughts
        thought = break_markers(prompt.thought.strip(), self._markers)
        return f"{rendered}{form.starts(rendered)}{thought}{form.closes}{prompt.text}"

    def render_thought(self, prompt: Prompt) -> str:
        """Return a prompt as the model reads it before it thinks.

        Raises:
            EngineError: as `render`, or if the chat template has no markers of thoughts.
        """
        rendered = self.render(prompt._replace(thought="", text=""))
        return rendered.removesuffix(self.thoughts.closes)

    def render_start(self, prompt: Prompt, max_thought_tokens: int | None) -> str:
        """Return a prompt as the model reads it before it writes anything, its thought included.

        Args:
            prompt: without a thought.
            max_thought_tokens: maximum length of the thought; 0 for none. None for a model that does not think.

        Raises:
            EngineError: as `render_thought`.
        """
        if max_thought_tokens:
            return self.render_thought(prompt)
        return self.render(prompt if max_thought_tokens is None else prompt._replace(thought=""))

    @cached_property
    def thoughts(self) -> ThoughtFormat:
        """How the chat template marks thoughts.

        Raises:
            EngineError: if it has no markers of them.
        """
        form = None if self.template is None else thought_format(self.template)
        if form is None:
            raise EngineError("the model's chat template has no markers of a thought: it can't think")
        return form

    @cached_property
    def thought_end(self) -> int | None:
        """The token that ends a thought; None if it takes several."""
        tokens = self.tokenizer(self.thoughts.end, add_special_tokens=False).input_ids
        return int(tokens[0]) if len(tokens) == 1 else None

    def as_text(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return messages in which nothing is a control token or a marker."""
        return tuple(message._replace(text=break_markers(message.text, self._markers)) for message in messages)

    def has_template(self) -> bool:
        """Return whether there is a chat template; a base model has none."""
        return self.template is not None

    def has_system_slot(self) -> bool:
        """Return whether the chat template shows a system message before a dialogue that the user opens."""
        return self.template is not None and self.template.shape.system_slot

    def template_digest(self) -> str:
        """Return a hash of the chat template and of a dialogue that it renders; `none` for a base model.

        The dialogue is hashed too, since arguments may change it. What is done to suit a template is hashed only where
        it changes prompts that were possible without it: other digests stay as they were.
        """
        if self.template is None:
            return "none"
        try:
            rendered = self.template.write(PROBE_DIALOGUE)
        except EngineError as error:
            rendered = str(error)
        content = [str(self.tokenizer.chat_template), self.template.arguments, rendered]
        content += [self._missing] if self._missing else []
        content += ["blocks"] if "user" in self.template.shape.block_roles else []
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def _missing(self) -> str:
        """What the chat template leaves out as it opens the assistant's turn."""
        try:
            return "" if self.template is None else assistant_turn(self.template).missing
        except EngineError:  # of a template that refuses any dialogue
            return ""

    @cached_property
    def _markers(self) -> re.Pattern[str] | None:
        return break_pattern(self.tokenizer, self.template)

    def of_letter(self, letter: str) -> list[int]:
        """Return every token that decodes to exactly this letter after a bracket.

        Without the bracket, a token that begins with a space may decode without it.

        Raises:
            EngineError: if there is none.
        """
        if letter not in self._tokens_by_text:
            raise EngineError(f"no token of the model decodes to the letter {letter}")
        return self._tokens_by_text[letter]

    def of_labels(self, labels: Sequence[str]) -> list[list[Ending]]:
        """Return all ways to write each label of a question after a bracket; `valstab.engines.labels` describes them.

        Raises:
            EngineError: if a label can't be written.
        """
        if not are_whole(labels):
            return [[Ending((), self.of_letter(label))] for label in labels]
        for label in labels:
            if label not in self._endings:
                self._endings[label] = self._of_label(label)
        return [self._endings[label] for label in labels]

    def _of_label(self, label: str) -> list[Ending]:
        written, closed = self._write(label), f"{label}{CLOSING}"
        endings = []
        for length in range(len(written) + 1):
            start = self._after_bracket(written[:length])
            # In the middle of a character no text is a beginning of the label.
            completing = self._starting_with(closed.removeprefix(start)) if closed.startswith(start) else []
            if completing:
                endings.append(Ending(tuple(written[:length]), completing))
        return endings

    def _write(self, label: str) -> list[int]:
        """Return the tokens of a label after a bracket."""
        whole = self.tokenizer(f"{OPENED_BRACKET}{label}", add_special_tokens=False).input_ids
        alone = self.tokenizer(label, add_special_tokens=False).input_ids
        for written in (whole[len(self._bracket) :], alone):
            if self._after_bracket(written) == label:
                return list(written)
        raise EngineError(
            f"the model's tokens can't write the label {label} after a bracket: set option_labels=letters"
        )

    def _starting_with(self, text: str) -> list[int]:
        """Return every token that begins with this text."""
        texts = self._sorted_texts
        first = bisect_left(texts, text)
        found = itertools.takewhile(lambda each: each.startswith(text), itertools.islice(texts, first, None))
        return sorted(token for each in found for token in self._tokens_by_text[each])

    def _after_bracket(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode([*self._bracket, *tokens])).removeprefix(self.tokenizer.decode(self._bracket))

    @cached_property
    def _bracket(self) -> list[int]:
        return list(self.tokenizer(OPENED_BRACKET, add_special_tokens=False).input_ids)

    @cached_property
    def _tokens_by_text(self) -> dict[str, list[int]]:
        """The tokens that decode to each text after a bracket."""
        opened = self.tokenizer.decode(self._bracket)
        texts = self.tokenizer.batch_decode([[*self._bracket, token] for token in range(len(self.tokenizer))])
        found: dict[str, list[int]] = {}
        for token, text in enumerate(texts):
            found.setdefault(text.removeprefix(opened), []).append(token)
        return found

    @cached_property
    def _sorted_texts(self) -> list[str]:
        return sorted(self._tokens_by_text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of generated tokens, without special ones."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))
