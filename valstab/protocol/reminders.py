"""Reminders of the persona between the messages of a conversation, which the tested model alone reads.

A reminder stands before a message of the interlocutor, every so many messages. A question has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from valstab.config.schema import Config
from valstab.errors import ConfigError
from valstab.inputs.population import Persona
from valstab.inputs.templates import render
from valstab.protocol.prompts import ChatFormat, Reminded


@dataclass(frozen=True)
class Reminder:
    """How the tested model is reminded of its persona."""

    every: int
    """Number of messages from one reminder to the next, and of the opening and messages before the first; even."""
    slot: str
    """`user` or `system`."""
    text: str
    """A template with `{introduction}`."""

    def seen(self, persona: Persona, texts: Sequence[str]) -> list[str]:
        """Return the texts of a conversation as the tested model reads them, the opening first."""
        places = self._places(len(texts))
        return [self.before(persona, text) if place in places else text for place, text in enumerate(texts)]

    def before(self, persona: Persona, text: str) -> Reminded:
        """Return a message with a reminder before it."""
        return Reminded(text, self._of(persona), in_system=self.slot == "system")

    def key(self, persona: Persona, n_texts: int, n_dropped: int) -> tuple[str, ...]:
        """Return the part of a store key that keeps what was said after reminders apart; none before the first.

        Args:
            persona: who is reminded.
            n_texts: number of texts before.
            n_dropped: number of the oldest of them that are left out.
        """
        places = [place for place in self._places(n_texts) if place >= n_dropped]
        return (f"reminded in the {self.slot} slot before {places}", self._of(persona)) if places else ()

    def _places(self, n_texts: int) -> range:
        return range(self.every, n_texts, self.every)

    def _of(self, persona: Persona) -> str:
        return render("reminder.text", self.text, {"introduction": persona.introduction or ""})


def load_reminder(config: Config, chat_format: ChatFormat, personas: Sequence[Persona]) -> Reminder | None:
    """Return the reminder that a configuration asks for; None for none.

    Raises:
        ConfigError: if it can't be given to these personas in this format.
    """
    every, slot = config.reminder.every, config.reminder.slot
    if not every:
        return None
    if personas[0].introduction is None:
        raise ConfigError("reminder.every", every, "reminds of the persona, and the population has none; allowed: 0")
    if slot == "system" and chat_format is ChatFormat.NO_SYSTEM:
        raise ConfigError("reminder.slot", slot, "the model's prompts have no system message; allowed: user")
    text = config.language.reminder if config.reminder.text is None else config.reminder.text
    if not text.strip():
        raise ConfigError("reminder.text", text or "null", f"must have a text, since {config.language.name} has none")
    reminder = Reminder(every, slot, text)
    reminder.before(personas[0], "")
    return reminder
