"""Compare how a chat template opens the assistant's turn with what it writes before an assistant's text."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from valstab.engines.base import EngineError, Message
from valstab.engines.prompts.chat_template import PROBE_TALK, ChatTemplate

MARK = "Ulkmarke"
"""A word that no chat template contains, to find an assistant's text by."""


NEXT_MESSAGE = Message("user", "Nachwort")
"""A message after the assistant's, for templates that refuse a dialogue whose last message is the assistant's."""


THOUGHT = re.compile(
    r"[<\[]\|?(?P<closing>/|end_(?:of_)?)?(?:\w+:|begin_of_|start_)?(?:think|thought|reasoning|analysis)\w*\|?[>\]]",
    re.IGNORECASE,
)
"""A marker that opens or closes a thought, in the families known."""


CLOSED = re.compile(r"(?:[<\[]\|?/|<\|end_)[^<>\[\]]*[>\]]$", re.IGNORECASE)
"""The end of a part that closes what it opened, such as an empty thought."""


class Turn(NamedTuple):
    """How a chat template opens the assistant's turn."""

    opened: str
    """What it writes after the last message to open the turn."""
    missing: str = ""
    """What it writes after that before an assistant's text, such as the name of a channel."""
    fault: str = ""
    """What is wrong with the opened turn, if it can't be continued with an answer."""


def assistant_turn(template: ChatTemplate, messages: Sequence[Message] = PROBE_TALK, start: str = "") -> Turn:
    """Return how a template opens the turn after a dialogue.

    Args:
        template: the chat template.
        messages: the dialogue; the last message is not empty.
        start: the start of the assistant's text.

    Raises:
        EngineError: if the template refuses the dialogue.
    """
    last = messages[-1].text.strip()
    opened = template.render(messages).rpartition(last)[2]
    written = _written(template, messages, last, start)
    if written is None:
        return Turn(opened, fault=_open_thought(opened))
    bare, goal = _without_space(opened), _without_space(written)
    if bare == goal or (bare.startswith(goal) and CLOSED.search(bare.removeprefix(goal))):
        return Turn(opened, fault=_open_thought(opened))
    if goal.startswith(bare):
        missing = _after(written, bare)
        return Turn(opened, missing.lstrip() if opened[-1:].isspace() else missing, _open_thought(written))
    wrong = f"it opens the turn with {opened.strip()!r} and writes {written.strip()!r} before an assistant's text"
    return Turn(opened, fault=_open_thought(opened) or wrong)


def _written(template: ChatTemplate, messages: Sequence[Message], last: str, start: str) -> str | None:
    """Return what the template writes between the last message and an assistant's text; None if it can't be seen."""
    reply = Message("assistant", start + MARK)
    for after in ((reply,), (reply, NEXT_MESSAGE)):
        try:
            text = template.write((*messages, *after), template.shape, opens=False)
        except EngineError:
            continue
        before, found, _ = text.rpartition(reply.text)
        _, shown, written = before.rpartition(last)
        if found and shown:
            return written
    return None


def _open_thought(text: str) -> str:
    marks = list(THOUGHT.finditer(text))
    return f"it opens a thought ({marks[-1][0]})" if marks and not marks[-1]["closing"] else ""


def _without_space(text: str) -> str:
    return "".join(text.split())


def _after(text: str, bare: str) -> str:
    """Return the text after the shortest start that is `bare`, white space apart."""
    return next(text[end:] for end in range(len(text) + 1) if _without_space(text[:end]) == bare)
