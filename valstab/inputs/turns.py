"""The recorded turns of a person who takes the interlocutor's place."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from valstab.errors import ConfigError
from valstab.inputs.files import locate
from valstab.inputs.population import Persona
from valstab.inputs.tables import read_table
from valstab.inputs.topics import Context

SETTING = "interlocutor.turns"
"""The setting that names the file."""


class Turns(NamedTuple):
    """Recorded turns, in the order in which they were said."""

    by_persona: Mapping[tuple[str, str], tuple[str, ...]]
    """By topic and persona; those for everybody else have an empty persona."""

    def of(self, topic: str, persona: str) -> tuple[str, ...]:
        """Return the turns on a topic with a persona; empty if there are none."""
        return self.by_persona.get((topic, persona), self.by_persona.get((topic, ""), ()))


def load_turns(name: str, contexts: Iterable[Context], personas: Iterable[Persona], n_turns: int) -> Turns:
    """Return the turns in a file, which must be enough for each conversation.

    Args:
        name: the file's name.
        contexts: the contexts of the run; the neutral one needs no turns.
        personas: its personas.
        n_turns: turns of a conversation, without its opening.

    Raises:
        ConfigError: if the file can't be used, or has too few turns.
    """
    path = locate(SETTING, name)
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for row in read_table(SETTING, path, ("topic", "text"), ("persona",)).rows:
        if not row["topic"] or not row["text"]:
            raise ConfigError(SETTING, path, "has a row without a topic or without a text")
        place = row["topic"], row.get("persona", "")
        found[place] = (*found.get(place, ()), row["text"])
    turns, people = Turns(found), list(personas)
    for context in contexts:
        for persona in people if context.openings else ():
            number = len(turns.of(context.name, persona.name))
            if number < n_turns:
                raise ConfigError(
                    SETTING,
                    path,
                    f"has {number} turns on {context.name} with {persona.name}; this many messages need {n_turns}",
                )
    return turns
