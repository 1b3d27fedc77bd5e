"""The paper's prompts (B.2): the three formats of Fig. 11, for the tested model and for its interlocutor.

A conversation is a list of texts, the opening first. Texts with an even index are the interlocutor's, texts with an
odd index the tested model's. `docs/protocol.md` shows the prompts.
"""

import re
from collections.abc import Sequence
from enum import Enum
from string import ascii_uppercase

from valstab.engines.base import Message, Prompt
from valstab.inputs.population import Persona

PROTOCOL_VERSION = 1
"""Part of every store key. Raise it when a prompt changes, so that records of older prompts are not reused."""


QUERY = "Answer: ("
"""The query string, which opens the tested model's answer."""


ACKNOWLEDGMENT = "OK"
"""Reply to a persona instruction that is given as a user message."""


NEUTRAL_LABEL = "CHATBOT"
"""Label of the tested model's messages without a persona or a name, in the base format."""


TESTED_ROLES = ("user", "assistant")
"""Roles of texts with even and odd index, as the tested model sees them."""


INTERLOCUTOR_ROLES = ("assistant", "user")
"""Roles of texts with even and odd index, as the interlocutor sees them."""


class ChatFormat(Enum):
    """Format of the prompts (paper B.2). Store keys contain the names."""

    BASE = "base"
    SYSTEM = "tuned, with a system slot"
    NO_SYSTEM = "tuned, without a system slot"


def reply_prompt(chat_format: ChatFormat, persona: Persona, conversation: Sequence[str]) -> Prompt:
    """Return the prompt for the next message of a `conversation`.

    The tested model speaks after an odd number of texts, the interlocutor after an even number.

    Raises:
        ValueError: if the conversation has no opening.
    """
    if not conversation:
        raise ValueError("a conversation starts with its opening")
    if len(conversation) % 2 == 1:
        return _tested_prompt(chat_format, persona, conversation, "")
    if chat_format is ChatFormat.BASE:
        return _lines(
            f"The following is a conversation between a human and a chatbot. {_persona_sentence(persona)}"
            "The human's every reply must be in one sentence only.",
            ("HUMAN", _chatbot_label(persona)),
            conversation,
        )
    instruction = (
        f"You are simulating a human using a chatbot. {_persona_sentence(persona)}"
        "Your every reply must be in one sentence only."
    )
    messages = _alternate(INTERLOCUTOR_ROLES, conversation)
    if chat_format is ChatFormat.SYSTEM:
        return Prompt((Message("system", instruction), Message("user", ""), *messages), "")
    return Prompt((Message("user", instruction), *messages), "")


def question_prompt(chat_format: ChatFormat, persona: Persona, conversation: Sequence[str], question: str) -> Prompt:
    """Return the prompt for the answer to `question` after a `conversation`; an empty one is the neutral context.

    It ends with the query string, so that the next token is a letter.
    """
    if chat_format is ChatFormat.NO_SYSTEM and persona.introduction is not None and not conversation:
        return Prompt((Message("user", f"You are {persona.introduction}\n\n{question}"),), QUERY)
    return _tested_prompt(chat_format, persona, [*conversation, question], QUERY)


def question_text(description: str | None, item: str, options: Sequence[str], labels: str = "letters") -> str:
    """Return the text of a question: the questionnaire's description, the item, and the options in the given order.

    Args:
        description: of the questionnaire, if there is one.
        item: the item's text.
        options: the options' texts.
        labels: the kind of labels, as for `option_labels`.
    """
    names = option_labels(labels, options)
    shown = [""] * len(options) if labels == "words" else [f" {option}" for option in options]
    text = "\n".join([item, *(f"({name}){option}" for name, option in zip(names, shown, strict=True))])
    return text if description is None else f"{description}\n\n{text}"


def option_labels(labels: str, options: Sequence[str]) -> Sequence[str]:
    """Return the labels of options: letters, numbers from 1, or (`words`) the options' own texts."""
    if labels == "words":
        return tuple(options)
    return letters(len(options)) if labels == "letters" else [str(number + 1) for number in range(len(options))]


def letters(number: int) -> str:
    """Return the letters of `number` options: A, B, ..."""
    return ascii_uppercase[:number]


def stop_pattern(chat_format: ChatFormat, persona: Persona) -> str | None:
    """Return the regular expression that ends a base model's message: a line that starts with a label."""
    if chat_format is not ChatFormat.BASE:
        return None
    labels = ("CONTEXT", "USER", _tested_label(persona), _chatbot_label(persona), "HUMAN")
    # Models also write the label without the space, as the paper does.
    patterns = (re.escape(label).replace(r"\ \(CHATBOT\)", r"\ ?\(CHATBOT\)") for label in labels)
    return rf"\n(?:{'|'.join(patterns)}):"


def _tested_prompt(chat_format: ChatFormat, persona: Persona, texts: Sequence[str], turn: str) -> Prompt:
    if chat_format is ChatFormat.BASE:
        instruction = persona.introduction and f"The following is a conversation with {persona.introduction}"
        prompt = _lines(instruction, ("USER", _tested_label(persona)), texts)
        return Prompt((), prompt.text + turn)
    messages = _alternate(TESTED_ROLES, texts)
    if persona.introduction is None:
        return Prompt(messages, turn)
    instruction = f"You are {persona.introduction}"
    if chat_format is ChatFormat.SYSTEM:
        return Prompt((Message("system", instruction), *messages), turn)
    return Prompt((Message("user", instruction), Message("assistant", ACKNOWLEDGMENT), *messages), turn)


def _alternate(roles: tuple[str, str], texts: Sequence[str]) -> tuple[Message, ...]:
    return tuple(Message(roles[i % 2], text) for i, text in enumerate(texts))


def _lines(instruction: str | None, labels: tuple[str, str], texts: Sequence[str]) -> Prompt:
    lines = [] if instruction is None else [f"CONTEXT:{instruction}"]
    lines += [f"{labels[i % 2]}:{text}" for i, text in enumerate(texts)]
    return Prompt((), "\n".join([*lines, f"{labels[len(texts) % 2]}:"]))


def _persona_sentence(persona: Persona) -> str:
    if persona.introduction is None:
        return ""
    who = persona.name if persona.is_named else persona.introduction.rstrip(". ")
    return f"The chatbot is pretending to be {who}. "


def _tested_label(persona: Persona) -> str:
    return persona.name.upper() if _has_label(persona) else NEUTRAL_LABEL


def _chatbot_label(persona: Persona) -> str:
    return f"{persona.name.upper()} (CHATBOT)" if _has_label(persona) else NEUTRAL_LABEL


def _has_label(persona: Persona) -> bool:
    return persona.introduction is not None and persona.is_named
