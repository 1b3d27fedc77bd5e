"""Find a chat template's markers, and break them in messages, so that no message becomes a turn of its own."""

import re
from typing import Any

from valstab.engines.prompts.chat_template import PROBE_SYSTEM, PROBE_TALK, ChatTemplate

BRACKETED = re.compile(r"<+[^<>\s]+>+|\[/?[A-Z][A-Z_]+\]")
"""A marker in brackets, such as `<|user|>`, `</think>` or `[INST]`."""


LABEL = re.compile(r"^[ \t]*([^\s:][^:\n]*:)", re.MULTILINE)
"""A marker that is a label at the start of a line, such as `USER:` or `### Instruction:`."""


def break_pattern(tokenizer: Any, template: ChatTemplate | None) -> re.Pattern[str] | None:
    """Return a pattern of what must not stand in a message: control tokens and the chat template's markers.

    Control tokens that are white space or a single character are left out.

    Raises:
        EngineError: if the chat template can't be read.
    """
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    marks = {token for token in special.union(tokenizer.all_special_tokens) if len(token.strip()) > 1}
    labels: set[str] = set()
    if template is not None:
        pieces = _between_messages(template)
        marks.update(mark for text in (*template.literals, *pieces) for mark in BRACKETED.findall(text))
        # Before the first message there may be a system text, whose labels are no markers.
        labels.update(label for text in pieces[1:] for label in LABEL.findall(BRACKETED.sub("\n", text)))
    patterns = [re.escape(mark) for mark in sorted(marks, key=len, reverse=True)]
    patterns += [rf"^{re.escape(label)}" for label in sorted(labels)]
    return re.compile("|".join(patterns), re.MULTILINE) if patterns else None


def break_markers(text: str, pattern: re.Pattern[str] | None) -> str:
    """Return a text with a space after the first character of each marker: `< |user|>`, `[ INST]`."""
    return pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text) if pattern else text


def _between_messages(template: ChatTemplate) -> list[str]:
    """Return the texts that the template writes before, between and after the messages of a dialogue."""
    head = (PROBE_SYSTEM,) if template.shape.system_slot else ()
    texts = [message.text for message in (*head, *PROBE_TALK)]
    return re.split("|".join(map(re.escape, texts)), template.write((*head, *PROBE_TALK), template.shape))
