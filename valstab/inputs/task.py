"""What is asked: the items of a questionnaire or of a behavioural task, their options and what these count."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase

from valstab.config.schema import TaskConfig
from valstab.errors import ConfigError, allowed
from valstab.inputs.files import locate
from valstab.inputs.items import Item, check_count, item_content, read_items
from valstab.inputs.published_wording import read_published_wording

MAX_SCORE = 1e9
"""What an option may count: sums and squares of it are far from where floats end."""


@dataclass(frozen=True)
class Task:
    """A questionnaire or a behavioural task."""

    name: str
    description: str | None
    items: tuple[Item, ...]
    keys: tuple[str, ...]
    scores: tuple[float, ...]
    """What each option counts, in the order of the scale, unless the item is reversed."""
    centred: bool
    wording: str
    """The name of the items' source."""

    def scores_of(self, item: Item) -> tuple[float, ...]:
        """Give what each option of an item counts, in the order of the scale: the last first if it is reversed."""
        return self.scores[::-1] if item.reversed else self.scores

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that is asked and how it counts."""
        content = [
            self.description,
            self.scores,
            self.centred,
            [item_content(item) for item in self.items],
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def load_task(config: TaskConfig) -> Task:
    """Load a task's items from a CSV file, or from a folder with the published PVQ wording.

    Raises:
        ConfigError: if items are missing, of an unknown key, or don't fit the scale.
    """
    path = locate("task.items", config.items)
    if not 1 < len(config.options) <= len(ascii_uppercase):
        raise ConfigError("task.options", config.options, "needs 2 to 26 options, one letter each")
    if len(config.scores) != len(config.options):
        raise ConfigError("task.scores", config.scores, f"needs one score for each of {len(config.options)} options")
    if not all(abs(number) <= MAX_SCORE for number in config.scores):
        raise ConfigError("task.scores", config.scores, f"must be finite numbers, of {MAX_SCORE:.0e} at most")
    if config.keys is not None and (not config.keys or len(set(config.keys)) < len(config.keys)):
        raise ConfigError("task.keys", f"[{','.join(config.keys)}]", "needs at least one key, each only once")
    items = read_published_wording(path, config) if path.is_dir() else read_items(path, config)
    items.sort(key=lambda item: item.number)
    keys = list(dict.fromkeys(item.key for item in items)) if config.keys is None else config.keys
    _check_items(path, items, keys, config)
    return Task(
        name=config.name,
        description=config.description,
        items=tuple(items),
        keys=tuple(keys),
        scores=tuple(config.scores),
        centred=config.centred,
        wording=path.stem,
    )


def _check_items(path: Path, items: Sequence[Item], keys: Sequence[str], config: TaskConfig) -> None:
    key = "task.items"
    check_count(path, len(items), config)
    numbers = sorted(item.number for item in items)
    if numbers != list(range(1, len(items) + 1)):
        raise ConfigError(key, path, f"must number its items 1 to {len(items)}, each once")
    for item in items:
        if item.key not in keys:
            raise ConfigError(
                key, path, f"item {item.number} has unknown {config.key} {item.key}; {allowed(item.key, keys)}"
            )
        if any(not text.strip() for text in item.text.values()):
            raise ConfigError(key, path, f"item {item.number} has no text")
        if not item.key:
            raise ConfigError(key, path, f"item {item.number} has no {config.key}")
    unused = [name for name in keys if name not in {item.key for item in items}]
    if unused:
        raise ConfigError(key, path, f"has no item for the {config.key} {', '.join(unused)}")
