"""Read the openings of topics: for everybody, or for each persona its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from valstab.errors import ConfigError, require_text
from valstab.inputs.files import locate, read_text
from valstab.inputs.tables import read_table

YAML_TEXT_TAG = "tag:yaml.org,2002:str"
"""Tag of text nodes in YAML."""


TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Ends of the names of files with a table; a `.json` file is one if it has a list."""


COLUMNS = ("topic", "text")
"""Columns of a table of openings."""


PERSONA = "persona"
"""The column of a table with the persona whose opening a row has; it may be missing, and cells may be empty."""


@dataclass
class Openings:
    """The openings of one topic, as its file has them."""

    own: dict[str, str] = field(default_factory=dict)
    """The openings of personas, by their names."""
    others: list[str] = field(default_factory=list)
    """Openings without a persona: one for everybody else, or several that are dealt out in order."""

    def of(self, personas: Sequence[str]) -> dict[str, str]:
        """Return the opening of each persona that has one.

        Where several have no persona, the first is that of the first persona without an opening of its own.
        """
        without = [name for name in personas if name not in self.own]
        dealt = self.others * len(without) if len(self.others) == 1 else self.others
        found = {**self.own, **dict(zip(without, dealt, strict=False))}
        return {name: found[name] for name in personas if name in found}


def read_openings(setting: str, name: str) -> dict[str, Openings]:
    """Return the openings of each topic in a file.

    A YAML file maps a topic to its opening, or to a mapping of personas to theirs. A table (CSV or JSON) has a row for
    each opening, with the columns topic, text and, optionally, persona.

    Raises:
        ConfigError: if the file can't be used.
    """
    path = locate(setting, name)
    openings = _read_rows(setting, path) if _is_table(setting, path) else _read_mapping(setting, path)
    for topic, each in openings.items():
        require_text(setting, path, "".join([topic, *each.own, *each.own.values(), *each.others]))
    return openings


def _is_table(setting: str, path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in TABLE_SUFFIXES or (suffix == ".json" and read_text(setting, path).lstrip().startswith("["))


def _read_rows(setting: str, path: Path) -> dict[str, Openings]:
    found: dict[str, Openings] = {}
    for row in read_table(setting, path, COLUMNS, (PERSONA,)).rows:
        topic, persona, text = row["topic"], row.get(PERSONA, ""), row["text"]
        if not topic or not text:
            raise ConfigError(setting, path, "has a row without a topic or without a text")
        openings = found.setdefault(topic, Openings())
        if not persona:
            openings.others.append(text)
        elif persona in openings.own:
            raise ConfigError(setting, path, f"has two openings of {persona} on {topic}; each may occur only once")
        else:
            openings.own[persona] = text
    return found


def _read_mapping(setting: str, path: Path) -> dict[str, Openings]:
    rule = "must map each topic's name to its opening message, or to a mapping of personas to theirs"
    try:
        # Nodes, not objects: `2024-01-01` is no text, and a repeated name would be lost in a dictionary.
        document = yaml.compose(read_text(setting, path), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(setting, path, f"must be a YAML file ({error})") from None
    found: dict[str, Openings] = {}
    for topic, value in _pairs(setting, path, document, rule):
        if isinstance(value, yaml.MappingNode):
            own = {persona: _text(setting, path, node, rule) for persona, node in _pairs(setting, path, value, rule)}
            found[topic] = Openings(own=own)
        else:
            found[topic] = Openings(others=[_text(setting, path, value, rule)])
    return found


def _pairs(setting: str, path: Path, node: yaml.Node | None, rule: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the names and values of a mapping that is not empty.

    Raises:
        ConfigError: if it is something else, or a name is repeated.
    """
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise ConfigError(setting, path, rule)
    names: set[str] = set()
    for key, value in node.value:
        name = _text(setting, path, key, rule)
        if name in names:
            raise ConfigError(setting, path, f"has {name} twice; each topic may occur only once")
        names.add(name)
        yield name, value


def _text(setting: str, path: Path, node: yaml.Node, rule: str) -> str:
    if node.tag != YAML_TEXT_TAG or not node.value.strip():
        raise ConfigError(setting, path, rule)
    return _join_surrogates(node.value)


def _join_surrogates(text: str) -> str:
    """Return a text with its surrogate pairs joined, as which JSON (a kind of YAML) writes some characters."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
