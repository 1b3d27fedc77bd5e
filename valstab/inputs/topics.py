"""Contexts across which stability is measured: topics of a conversation, or the neutral context."""

from dataclasses import dataclass

import yaml

from valstab.config.schema import TopicsConfig
from valstab.errors import ConfigError, allowed, require_text
from valstab.inputs.files import locate, read_text

YAML_TEXT_TAG = "tag:yaml.org,2002:str"
"""Tag of text nodes in YAML."""


@dataclass(frozen=True)
class Context:
    """One context: a topic, or the neutral context."""

    name: str
    opening: str | None
    """First message of the interlocutor; None in the neutral context, which has no conversation."""


NEUTRAL = Context("neutral", None)


def load_contexts(config: TopicsConfig, n_messages: int) -> tuple[Context, ...]:
    """Return the contexts of a run: its topics, or only the neutral context if `n_messages` is 0.

    Raises:
        ConfigError: if the file can't be used, a topic is unknown, or there are no topics for a conversation.
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
    setting = "topics.openings"
    path = locate(setting, name)
    try:
        # Nodes, not objects: `2024-01-01` is no text, and a repeated name would be lost in a dictionary.
        document = yaml.compose(read_text(setting, path), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(setting, path, f"must be a YAML file ({error})") from None
    openings: dict[str, str] = {}
    for pair in document.value if isinstance(document, yaml.MappingNode) else [()]:
        if not all(node.tag == YAML_TEXT_TAG and node.value.strip() for node in pair) or not pair:
            raise ConfigError(setting, path, "must map each topic's name to its opening message")
        name, opening = (_join_surrogates(node.value) for node in pair)
        if name in openings:
            raise ConfigError(setting, path, f"has {name} twice; each topic may occur only once")
        require_text(setting, path, name + opening)
        openings[name] = opening
    return openings


def _join_surrogates(text: str) -> str:
    """Return a text with its surrogate pairs joined, as which JSON (a kind of YAML) writes some characters."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
