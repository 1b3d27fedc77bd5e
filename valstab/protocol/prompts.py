"""The paper's prompts (B.2): the three formats of Fig. 11, for the tested model and for its interlocutor.

A conversation is a list of texts, the opening first. Texts with an even index are the interlocutor's, texts with an
odd index the tested model's. `docs/protocol.md` shows the prompts.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from enum import Enum
from string import ascii_uppercase
from typing import Self

from valstab.config.language import OPTIONAL, LanguageConfig
from valstab.engines.base import Message, Prompt
from valstab.hashing import content_hash
from valstab.inputs.population import Persona
from valstab.inputs.templates import render

PROTOCOL_VERSION = 1
"""Part of every store key. Raise it when a prompt changes, so that records of older prompts are not reused."""


ENGLISH = "f4b9edbb72f884d21d072a07fc7b117f"
"""Digest of the paper's English: its keys are those of stores that know no languages."""


TESTED_ROLES = ("user", "assistant")
"""Roles of texts with even and odd index, as the tested model sees them."""


INTERLOCUTOR_ROLES = ("assistant", "user")
"""Roles of texts with even and odd index, as the interlocutor sees them."""


NOBODY = Persona("", "F")
"""Who has no persona."""


class ChatFormat(Enum):
    """Format of the prompts (paper B.2). Store keys contain the names."""

    BASE = "base"
    SYSTEM = "tuned, with a system slot"
    NO_SYSTEM = "tuned, without a system slot"


class Reminded(str):
    """A message with a reminder of the persona before it."""

    __slots__ = ("in_system", "reminder")
    reminder: str
    in_system: bool
    """Whether it is a system message, or a line of its own, instead of the beginning of the message."""

    def __new__(cls, text: str, reminder: str, *, in_system: bool) -> Self:
        """Return the text, with its reminder."""
        message = super().__new__(cls, text)
        message.reminder, message.in_system = reminder, in_system
        return message


def language_key(language: LanguageConfig) -> tuple[str, ...]:
    """Return the part of a store key that keeps languages apart; none for the paper's English."""
    # Keys of messages have the optional texts where they are used.
    digest = content_hash({name: text for name, text in asdict(language).items() if name not in {"name", *OPTIONAL}})
    return () if digest == ENGLISH else (f"in the language {digest}",)


def reply_prompt(
    chat_format: ChatFormat,
    persona: Persona,
    conversation: Sequence[str],
    *,
    language: LanguageConfig,
    interlocutor: Persona | None = None,
) -> Prompt:
    """Return the prompt for the next message of a `conversation`.

    The tested model speaks after an odd number of texts, the interlocutor after an even number.

    Args:
        chat_format: the format of the speaker's prompts.
        persona: the tested model's persona.
        conversation: the texts so far.
        language: the texts of the prompts.
        interlocutor: the interlocutor's persona; None for a human without a name.

    Raises:
        ValueError: if the conversation has no opening.
    """
    if not conversation:
        raise ValueError("a conversation starts with its opening")
    if len(conversation) % 2 == 1:
        return _tested_prompt(chat_format, persona, conversation, "", language)
    instruction = interlocutor_instruction(chat_format, persona, interlocutor, language=language)
    if chat_format is ChatFormat.BASE:
        return _lines(instruction, _labels_of_interlocutor(persona, interlocutor, language), conversation, language)
    messages = _alternate(INTERLOCUTOR_ROLES, conversation)
    if chat_format is ChatFormat.SYSTEM:
        return Prompt((Message("system", instruction), Message("user", ""), *messages), "")
    return Prompt((Message("user", instruction), *messages), "")


def interlocutor_instruction(
    chat_format: ChatFormat, persona: Persona, interlocutor: Persona | None, *, language: LanguageConfig
) -> str:
    """Return what the interlocutor is told: that it is a human, or a persona, and with whom it speaks."""
    is_base = chat_format is ChatFormat.BASE
    if interlocutor is None:
        pretending = "" if persona.introduction is None else language.pretending.replace("{name}", _who(persona))
        text = language.base_interlocutor if is_base else language.interlocutor
        return text.replace("{pretending}", pretending)
    text = language.base_persona_interlocutor if is_base else language.persona_interlocutor
    fields = {"introduction": interlocutor.introduction or "", "name": _who(persona)}
    return render("language", text, fields)


def question_prompt(
    chat_format: ChatFormat,
    persona: Persona,
    conversation: Sequence[str],
    question: str,
    *,
    language: LanguageConfig,
) -> Prompt:
    """Return the prompt for the answer to `question` after a `conversation`; an empty one is the neutral context.

    It ends with the query string, so that the next token is a letter.
    """
    return _asked(chat_format, persona, [*conversation, question], language.answer, language)


def open_prompt(
    chat_format: ChatFormat, persona: Persona, conversation: Sequence[str], question: str, *, language: LanguageConfig
) -> Prompt:
    """Return the prompt for an answer in the model's own words: that of `question_prompt`, without the query string."""
    return _asked(chat_format, persona, [*conversation, question], "", language)


def judge_prompt(chat_format: ChatFormat, question: str, *, language: LanguageConfig) -> Prompt:
    """Return the prompt of a judge: a question to somebody who has no persona and has not spoken before."""
    return question_prompt(chat_format, NOBODY, (), question, language=language)


def question_prompts(
    chat_format: ChatFormat,
    persona: Persona,
    conversation: Sequence[str],
    questions: Iterable[str],
    *,
    language: LanguageConfig,
) -> list[Prompt]:
    """Return the prompt of each question, as `question_prompt` does; they share the messages before them."""
    if chat_format is ChatFormat.BASE:
        return [question_prompt(chat_format, persona, conversation, text, language=language) for text in questions]
    without = question_prompt(chat_format, persona, conversation, "", language=language)
    *before, (role, start) = without.messages
    return [Prompt((*before, Message(role, start + text)), without.text) for text in questions]


def instruction_of(introduction: str, language: LanguageConfig) -> str:
    """Return the instruction of a chat model that plays a persona."""
    return language.you_are.replace("{introduction}", introduction)


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


def stop_pattern(
    chat_format: ChatFormat, persona: Persona, *, language: LanguageConfig, interlocutor: Persona | None = None
) -> str | None:
    """Return the regular expression that ends a base model's message: a line that starts with a label.

    The persona of an `interlocutor` has a label in its own prompts only.
    """
    if chat_format is not ChatFormat.BASE:
        return None
    tested = (_tested_label(persona, language), _chatbot_label(persona, language))
    own = (interlocutor.name.upper(),) if interlocutor and _has_label(interlocutor) else ()
    labels = (language.context_label, language.user_label, *tested, language.human_label, *own)
    # Models also write the label without the space, as the paper does.
    chatbot = re.escape(f"({language.chatbot_label})")
    patterns = (re.escape(label).replace(rf"\ {chatbot}", rf"\ ?{chatbot}") for label in labels)
    return rf"\n(?:{'|'.join(patterns)}):"


def _asked(
    chat_format: ChatFormat, persona: Persona, texts: Sequence[str], turn: str, language: LanguageConfig
) -> Prompt:
    """Return the prompt for the answer to the last of some texts, which begins with `turn`."""
    if chat_format is ChatFormat.NO_SYSTEM and persona.introduction is not None and len(texts) == 1:
        text = f"{instruction_of(persona.introduction, language)}\n\n{texts[0]}"
        return Prompt((Message("user", text),), turn)
    return _tested_prompt(chat_format, persona, texts, turn, language)


def _tested_prompt(
    chat_format: ChatFormat, persona: Persona, texts: Sequence[str], turn: str, language: LanguageConfig
) -> Prompt:
    if chat_format is ChatFormat.BASE:
        introduction = persona.introduction
        instruction = introduction and language.base_persona.replace("{introduction}", introduction)
        prompt = _lines(instruction, (language.user_label, _tested_label(persona, language)), texts, language)
        return Prompt((), prompt.text + turn)
    messages = _alternate(TESTED_ROLES, texts)
    if persona.introduction is None:
        return Prompt(messages, turn)
    instruction = instruction_of(persona.introduction, language)
    if chat_format is ChatFormat.SYSTEM:
        return Prompt((Message("system", instruction), *messages), turn)
    return Prompt((Message("user", instruction), Message("assistant", language.acknowledgment), *messages), turn)


def _alternate(roles: tuple[str, str], texts: Sequence[str]) -> tuple[Message, ...]:
    said = ((roles[i % 2], text) for i, text in enumerate(texts))
    return tuple(Message(each or role, part) for role, text in said for each, part in _with_reminder(text, "system"))


def _with_reminder(text: str, slot: str) -> list[tuple[str, str]]:
    """Return a text as parts: after the slot of a reminder, or after none for the speaker's own."""
    if not isinstance(text, Reminded):
        return [("", text)]
    return [(slot, text.reminder), ("", str(text))] if text.in_system else [("", f"{text.reminder}\n\n{text}")]


def _lines(instruction: str | None, labels: tuple[str, str], texts: Sequence[str], language: LanguageConfig) -> Prompt:
    lines = [] if instruction is None else [f"{language.context_label}:{instruction}"]
    said = ((labels[i % 2], text) for i, text in enumerate(texts))
    parts = (
        (each or label, part) for label, text in said for each, part in _with_reminder(text, language.context_label)
    )
    lines += [f"{label}:{part}" for label, part in parts]
    return Prompt((), "\n".join([*lines, f"{labels[len(texts) % 2]}:"]))


def _who(persona: Persona) -> str:
    """Return the name of a persona, or its introduction within a sentence if it has none."""
    return persona.name if persona.is_named else (persona.introduction or "").rstrip(". \u3002")


def _labels_of_interlocutor(
    persona: Persona, interlocutor: Persona | None, language: LanguageConfig
) -> tuple[str, str]:
    """Return the labels of the interlocutor's and of the tested model's messages, as the interlocutor reads them."""
    if interlocutor is None:
        return language.human_label, _chatbot_label(persona, language)
    own = interlocutor.name.upper() if _has_label(interlocutor) else language.human_label
    return own, _tested_label(persona, language)


def _tested_label(persona: Persona, language: LanguageConfig) -> str:
    return persona.name.upper() if _has_label(persona) else language.chatbot_label


def _chatbot_label(persona: Persona, language: LanguageConfig) -> str:
    label = language.chatbot_label
    return f"{persona.name.upper()} ({label})" if _has_label(persona) else label


def _has_label(persona: Persona) -> bool:
    return persona.introduction is not None and persona.is_named
