"""What a conversation is about: the contexts across which stability is measured."""

from dataclasses import dataclass

import yaml

from valstab.config import ConfigError, Topics, allowed
from valstab.data import locate, read_text


@dataclass(frozen=True)
class Context:
    """A topic and the interlocutor's first message; the neutral context has no conversation and so no opening."""

    name: str
    opening: str | None


NEUTRAL = Context("neutral", None)


def load_contexts(config: Topics, n_messages: int) -> tuple[Context, ...]:
    """Load the topics' openings; with no messages there is the neutral context alone.

    Raises:
        ConfigError: if the file can't be used, a topic is unknown, or messages are asked for without topics.
    """
    if n_messages == 0:
        return (NEUTRAL,)
    if config.openings is None:
        raise ConfigError("topics", config.name, "has no opening for a conversation; allowed only with n_messages=0")
    openings = _read_openings(config.openings)
    names = list(openings) if config.names is None else config.names
    for name in names:
        if name not in openings:
            raise ConfigError(
                "topics.names", f"[{','.join(names)}]", f"unknown topic {name}; {allowed(name, openings)}"
            )
    if not names or len(set(names)) < len(names):
        raise ConfigError("topics.names", f"[{','.join(names)}]", "needs at least one topic, each only once")
    return tuple(Context(name, openings[name]) for name in names)


def _read_openings(name: str) -> dict[str, str]:
    key = "topics.openings"
    path = locate(key, name)
    try:
        openings = yaml.safe_load(read_text(key, path))
    except yaml.YAMLError as error:
        raise ConfigError(key, path, f"must be a YAML file ({error})") from None
    if not isinstance(openings, dict) or not all(
        isinstance(topic, str) and isinstance(opening, str) and opening for topic, opening in openings.items()
    ):
        raise ConfigError(key, path, "must map each topic's name to its opening message")
    return openings
