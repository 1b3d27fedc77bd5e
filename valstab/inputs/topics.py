"""Contexts across which stability is measured: topics of a conversation, or the neutral context."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from valstab.config.inputs import TopicsConfig
from valstab.errors import ConfigError, allowed
from valstab.inputs.openings import Openings, read_openings
from valstab.inputs.population import Persona


@dataclass(frozen=True)
class Context:
    """One context: a topic, or the neutral context."""

    name: str
    opening: str | None
    """First message of the interlocutor; None in the neutral context, which has no conversation.

    None also where each persona has an opening of its own.
    """
    own_openings: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The openings of personas by their names, where these differ."""
    between_personas: bool = True
    """Whether the interlocutors of the population speak, if it has some; otherwise a human without a name does."""

    def opening_for(self, persona: str) -> str | None:
        """Return the interlocutor's first message to a persona; None in the neutral context."""
        return self.own_openings.get(persona, self.opening)

    @property
    def openings(self) -> list[str]:
        """The different openings; none in the neutral context."""
        return list(dict.fromkeys([*([self.opening] if self.opening else []), *self.own_openings.values()]))


NEUTRAL = Context("neutral", None)


def load_contexts(config: TopicsConfig, n_messages: int, personas: Sequence[Persona] = ()) -> tuple[Context, ...]:
    """Return the contexts of a run: its topics, or only the neutral context if `n_messages` is 0.

    Args:
        config: the topics.
        n_messages: messages of a conversation.
        personas: those who need an opening.

    Raises:
        ConfigError: if a file can't be used, a topic is unknown, there are no topics for a conversation, or a persona
            has no opening.
    """
    if n_messages == 0:
        return (NEUTRAL if config.neutral is None else Context(config.neutral, None),)
    if config.openings is None:
        raise ConfigError("topics", config.name, "has no opening for a conversation; allowed only with n_messages=0")
    openings = read_openings("topics.openings", config.openings)
    if config.posts is not None:
        openings |= read_openings("topics.posts", config.posts)
    names = list(openings) if config.names is None else config.names
    for name in names:
        if name not in openings:
            raise ConfigError(
                "topics.names", f"[{','.join(names)}]", f"unknown topic {name}; {allowed(name, openings)}"
            )
    if not names or len(set(names)) < len(names):
        raise ConfigError("topics.names", f"[{','.join(names)}]", "needs at least one topic, each only once")
    between = names if config.between_personas is None else config.between_personas
    _check_between(config, openings, personas)
    topics = tuple(
        replace(_topic(name, openings[name], [persona.name for persona in personas]), between_personas=name in between)
        for name in names
    )
    if config.neutral is None:
        return topics
    if config.neutral in names or not config.neutral.strip():
        raise ConfigError("topics.neutral", config.neutral, "must be another name than those of the topics")
    return (Context(config.neutral, None), *topics)


def _check_between(config: TopicsConfig, known: Collection[str], personas: Sequence[Persona]) -> None:
    for name in config.between_personas or ():
        if name not in known:
            raise ConfigError("topics.between_personas", name, f"unknown topic; {allowed(name, known)}")
    if config.between_personas and personas and personas[0].interlocutor is None:
        raise ConfigError(
            "topics.between_personas",
            f"[{','.join(config.between_personas)}]",
            "the population has no interlocutors; name them in population.interlocutors=FILE, or set "
            "topics.between_personas=null",
        )


def _topic(name: str, openings: Openings, personas: Sequence[str]) -> Context:
    """Return a topic with an opening for each persona."""
    if not openings.own and len(openings.others) == 1:
        return Context(name, openings.others[0])
    own = openings.of(personas)
    if lacking := [persona for persona in personas if persona not in own]:
        raise ConfigError(
            "topics", name, f"has no opening for {lacking[0]}{f' and {n} more' if (n := len(lacking) - 1) else ''}"
        )
    return Context(name, None, own)
