"""The texts of a language, and the checks that none is missing and that each has its fields."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from omegaconf import MISSING, DictConfig, OmegaConf

from valstab.errors import ConfigError

FIELDS: Mapping[str, tuple[str, ...]] = {
    "you_are": ("{introduction}",),
    "interlocutor": ("{pretending}",),
    "pretending": ("{name}",),
    "base_persona": ("{introduction}",),
    "base_interlocutor": ("{pretending}",),
    "persona_interlocutor": ("{introduction}", "{name}"),
    "base_persona_interlocutor": ("{introduction}", "{name}"),
    "reminder": ("{introduction}",),
}
"""The fields of each text that has some."""


OPTIONAL = ("persona_interlocutor", "base_persona_interlocutor", "reminder")
"""Texts that only some runs need: populations with interlocutors, and those with reminders."""


OPENED_BRACKET = "("
"""The end of what opens an answer: the model reads letters after it, and writes them after it."""


@dataclass
class LanguageConfig:
    """The language of the prompts: all that valstab adds to people, topics and questionnaire (paper B.2)."""

    name: str = MISSING
    """The language's name in results."""
    you_are: str = MISSING
    """The persona's instruction, with `{introduction}`."""
    acknowledgment: str = MISSING
    """The model's reply to an instruction that is given in a user message."""
    interlocutor: str = MISSING
    """The instruction of the interlocutor, a simulated human, with `{pretending}`."""
    pretending: str = MISSING
    """What the interlocutor is told of the persona, with `{name}`; nothing without a persona."""
    answer: str = MISSING
    """What opens an answer; it ends with the bracket before the letter."""
    base_persona: str = MISSING
    """The persona's instruction for a base model, with `{introduction}`."""
    base_interlocutor: str = MISSING
    """The interlocutor's instruction for a base model, with `{pretending}`."""
    persona_interlocutor: str = ""
    """The instruction of an interlocutor who is a persona, with its `{introduction}` and the other's `{name}`.

    This text and the next are needed only where a population has interlocutors.
    """
    base_persona_interlocutor: str = ""
    """The same for a base model."""
    reminder: str = ""
    """What reminds of the persona, with `{introduction}`; needed only where `reminder.every` asks for it."""
    context_label: str = MISSING
    """For a base model: what stands before the instruction."""
    user_label: str = MISSING
    """What stands before the other's messages, as the tested model reads them."""
    human_label: str = MISSING
    """The same, as the interlocutor reads them."""
    chatbot_label: str = MISSING
    """What stands before the messages of a persona without a name; it is added to a name for the interlocutor."""


def refuse_incomplete_language(composed: DictConfig) -> None:
    """Raise `ConfigError` with all texts that a composed configuration's language lacks, if it lacks any."""
    missing = [str(key) for key in OmegaConf.missing_keys(composed)]
    lacking = {key.removeprefix("language.") for key in missing if key.startswith("language.")}
    if lacking:
        names = [field.name for field in fields(LanguageConfig) if field.name in lacking]
        what = composed.language if OmegaConf.is_missing(composed.language, "name") else composed.language.name
        raise ConfigError("language", what, f"lacks {', '.join(names)}")


def check_language(language: LanguageConfig) -> None:
    """Check that the texts of a language have their fields and no others.

    Raises:
        ConfigError: at the first that has not.
    """
    for name, text in vars(language).items():
        if not text and name in OPTIONAL:
            continue
        wanted = sorted(FIELDS.get(name, ()))
        if sorted(re.findall(r"\{[^{}]*\}", text)) != wanted:
            fields_once = f"{' and '.join(wanted)} once{'' if len(wanted) == 1 else ' each'}"
            rule = f"must have {fields_once}, and no other field" if wanted else "must have no field in braces"
            raise ConfigError(f"language.{name}", text, rule)
        if not text.strip():
            raise ConfigError(f"language.{name}", text, "must have a text")
    if not language.answer.endswith(OPENED_BRACKET):
        raise ConfigError("language.answer", language.answer, f"must end with {OPENED_BRACKET}, as Answer: ( does")
