"""What a conversation is about: the contexts across which stability is measured."""

from dataclasses import dataclass

import yaml

from valstab.config.schema import TopicsConfig
from valstab.errors import ConfigError, allowed, require_text
from valstab.inputs.files import locate, read_text

YAML_TEXT_TAG = "tag:yaml.org,2002:str"


@dataclass(frozen=True)
class Context:
    """A topic and the interlocutor's first message; the neutral context has no conversation and so no opening."""

    name: str
    opening: str | None


NEUTRAL = Context("neutral", None)


def load_contexts(config: TopicsConfig, n_messages: int) -> tuple[Context, ...]:
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
        # Not built into objects: a file says text where it means text, and a name that is there twice shows.
        document = yaml.compose(read_text(key, path), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(key, path, f"must be a YAML file ({error})") from None
    openings: dict[str, str] = {}
    for pair in document.value if isinstance(document, yaml.MappingNode) else [()]:
        if not all(node.tag == YAML_TEXT_TAG and node.value.strip() for node in pair) or not pair:
            raise ConfigError(key, path, "must map each topic's name to its opening message")
        name, opening = (_joined(node.value) for node in pair)
        if name in openings:
            raise ConfigError(key, path, f"has {name} twice; each topic may stand only once")
        require_text(key, path, name + opening)
        openings[name] = opening
    return openings


def _joined(text: str) -> str:
    """Join the halves that JSON, which is YAML, writes of characters beyond 16 bits; a lone half stays what it is."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
