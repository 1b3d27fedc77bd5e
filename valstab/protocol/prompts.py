"""The paper's prompts: the three formats of Fig. 11, for the tested model and for its interlocutor.

PROTOCOL: a conversation is a list of texts, the opening first. The interlocutor wrote the texts with an
even index, the tested model those with an odd one.
"""

import re
from collections.abc import Sequence
from enum import Enum
from string import ascii_uppercase

from valstab.engines.base import Message, Prompt
from valstab.inputs.population import Persona

PROTOCOL_VERSION = 1
"""Goes up when what a model is told changes: what was stored before is then not used any more."""


QUERY = "Answer: ("


ACKNOWLEDGMENT = "OK"


NOBODY = "CHATBOT"


TESTED_ROLES = ("user", "assistant")


INTERLOCUTOR_ROLES = ("assistant", "user")


class Format(Enum):
    """How a model is talked to (paper B.2)."""

    BASE = "base"
    SYSTEM = "tuned, with a system slot"
    NO_SYSTEM = "tuned, without a system slot"


def reply_prompt(form: Format, persona: Persona, conversation: Sequence[str]) -> Prompt:
    """Ask for the next message of a `conversation`: the tested model's after an odd number of texts.

    Raises:
        ValueError: if there is no opening yet.
    """
    if not conversation:
        raise ValueError("a conversation starts with its opening")
    if len(conversation) % 2 == 1:
        return _tested_prompt(form, persona, conversation, "")
    if form is Format.BASE:
        return _lines(
            f"The following is a conversation between a human and a chatbot. {_pretending(persona)}"
            "The human's every reply must be in one sentence only.",
            ("HUMAN", _chatbot_label(persona)),
            conversation,
        )
    instruction = (
        f"You are simulating a human using a chatbot. {_pretending(persona)}"
        "Your every reply must be in one sentence only."
    )
    messages = _alternate(INTERLOCUTOR_ROLES, conversation)
    if form is Format.SYSTEM:
        return Prompt((Message("system", instruction), Message("user", ""), *messages), "")
    return Prompt((Message("user", instruction), *messages), "")


def question_prompt(form: Format, persona: Persona, conversation: Sequence[str], question: str) -> Prompt:
    """Ask `question` after a `conversation` that the tested model ended, or after none (an empty one).

    The model's turn is opened with the query string, so that a letter comes next.
    """
    if form is Format.NO_SYSTEM and persona.introduction is not None and not conversation:
        return Prompt((Message("user", f"You are {persona.introduction}\n\n{question}"),), QUERY)
    return _tested_prompt(form, persona, [*conversation, question], QUERY)


def question_text(description: str | None, item: str, options: Sequence[str]) -> str:
    """Write a question: the questionnaire's description, the item, and the options in the order offered."""
    lines = [item, *(f"({letter}) {option}" for letter, option in zip(letters(len(options)), options, strict=True))]
    text = "\n".join(lines)
    return text if description is None else f"{description}\n\n{text}"


def letters(number: int) -> str:
    """Give the letters of `number` options."""
    return ascii_uppercase[:number]


def stop_pattern(form: Format, persona: Persona) -> str | None:
    """Give the regular expression at which a base model's message ends: a line that starts with a label."""
    if form is not Format.BASE:
        return None
    labels = ("CONTEXT", "USER", _tested_label(persona), _chatbot_label(persona), "HUMAN")
    # The space before "(CHATBOT)" may be missing.
    patterns = (re.escape(label).replace(r"\ \(CHATBOT\)", r"\ ?\(CHATBOT\)") for label in labels)
    return rf"\n(?:{'|'.join(patterns)}):"


def _tested_prompt(form: Format, persona: Persona, texts: Sequence[str], turn: str) -> Prompt:
    if form is Format.BASE:
        instruction = persona.introduction and f"The following is a conversation with {persona.introduction}"
        prompt = _lines(instruction, ("USER", _tested_label(persona)), texts)
        return Prompt((), prompt.text + turn)
    messages = _alternate(TESTED_ROLES, texts)
    if persona.introduction is None:
        return Prompt(messages, turn)
    instruction = f"You are {persona.introduction}"
    if form is Format.SYSTEM:
        return Prompt((Message("system", instruction), *messages), turn)
    return Prompt((Message("user", instruction), Message("assistant", ACKNOWLEDGMENT), *messages), turn)


def _alternate(roles: tuple[str, str], texts: Sequence[str]) -> tuple[Message, ...]:
    return tuple(Message(roles[i % 2], text) for i, text in enumerate(texts))


def _lines(instruction: str | None, labels: tuple[str, str], texts: Sequence[str]) -> Prompt:
    lines = [] if instruction is None else [f"CONTEXT:{instruction}"]
    lines += [f"{labels[i % 2]}:{text}" for i, text in enumerate(texts)]
    return Prompt((), "\n".join([*lines, f"{labels[len(texts) % 2]}:"]))


def _pretending(persona: Persona) -> str:
    return "" if persona.introduction is None else f"The chatbot is pretending to be {persona.name}. "


def _tested_label(persona: Persona) -> str:
    return NOBODY if persona.introduction is None else persona.name.upper()


def _chatbot_label(persona: Persona) -> str:
    return NOBODY if persona.introduction is None else f"{persona.name.upper()} (CHATBOT)"
