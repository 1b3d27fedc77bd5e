"""What is asked: the items of a questionnaire or of a behavioural task, their options and what these count."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from valstab import config as conf
from valstab.config import ConfigError, allowed
from valstab.data import locate, read_table, read_text
from valstab.population import Gender
from valstab.wording import PRONOUNS, fill

WHOLE = re.compile(r"\d{1,9}")
LARGEST = 1e9
"""What an option may count: sums and squares of it are far from where floats end."""
GENDERS: tuple[Gender, ...] = ("F", "M")
REVERSED = "reversed"
"""The column of a CSV file that says which items are put the other way round."""
TRUTH: Mapping[str, bool] = {"true": True, "false": False, "": False}
PUBLISHED: Mapping[Gender, str] = {"F": "pvq_female_test.csv", "M": "pvq_male_test.csv"}


@dataclass(frozen=True)
class Item:
    """One question: its 1-based number, the key (value, race) that it measures, its text and options by gender.

    The options are in the order of the scale.
    """

    number: int
    key: str
    text: Mapping[Gender, str]
    options: Mapping[Gender, tuple[str, ...]]
    reversed: bool = False
    """Whether it says the opposite of what its key measures, so that its options count the other way round."""


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
            [_content(item) for item in self.items],
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _content(item: Item) -> list[Any]:
    """Give all that an item says; the last only where it is so, since answers are stored under older digests."""
    return [item.number, item.key, dict(item.text), dict(item.options), *([REVERSED] if item.reversed else [])]


def load_task(config: conf.Task) -> Task:
    """Load a task's items from a CSV file, or from a folder with the published PVQ wording.

    Raises:
        ConfigError: if items are missing, of an unknown key, or don't fit the scale.
    """
    path = locate("task.items", config.items)
    if not 1 < len(config.options) <= len(ascii_uppercase):
        raise ConfigError("task.options", config.options, "needs 2 to 26 options, one letter each")
    if len(config.scores) != len(config.options):
        raise ConfigError("task.scores", config.scores, f"needs one score for each of {len(config.options)} options")
    if not all(abs(number) <= LARGEST for number in config.scores):
        raise ConfigError("task.scores", config.scores, f"must be finite numbers, of {LARGEST:.0e} at most")
    if config.keys is not None and (not config.keys or len(set(config.keys)) < len(config.keys)):
        raise ConfigError("task.keys", f"[{','.join(config.keys)}]", "needs at least one key, each only once")
    items = _read_published(path, config) if path.is_dir() else _read_items(path, config)
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


def _read_items(path: Path, config: conf.Task) -> list[Item]:
    key = "task.items"
    items = []
    for row in read_table(key, path, ("item", config.key)):
        if not WHOLE.fullmatch(row["item"]):
            raise ConfigError(key, path, f"item {row['item']!r} must be a whole number")
        # Pronouns follow the item's own gender (a recipient's), or else that of the persona who is asked.
        own = row.get("gender")
        if own is not None and own not in PRONOUNS:
            raise ConfigError(key, path, f"item {row['item']} has gender {own!r}; allowed: F, M")
        turned = row.get(REVERSED, "").lower()
        if turned not in TRUTH:
            raise ConfigError(key, path, f"item {row['item']} has {REVERSED} {turned!r}; allowed: true, false")
        fields = {}
        for gender in GENDERS:
            pronouns = PRONOUNS[own or gender]
            fields[gender] = pronouns | {column: fill(key, cell, pronouns) for column, cell in row.items()}
        items.append(
            Item(
                number=int(row["item"]),
                key=row[config.key],
                text={gender: fill("task.text", config.text, fields[gender]) for gender in GENDERS},
                options={
                    gender: tuple(fill("task.options", option, fields[gender]) for option in config.options)
                    for gender in GENDERS
                },
                reversed=TRUTH[turned],
            )
        )
    return items


def _read_published(folder: Path, config: conf.Task) -> list[Item]:
    """Read `test/pvq_{male,female}_test.csv` (headless: text, options, an unused cell) and `raw/values.json`."""
    setting = "task.items"
    try:
        values = json.loads(read_text(setting, folder / "raw" / "values.json"))
        key_of = {
            int(number): str(value)
            for value, numbers in values.items()
            if not value.startswith("_")
            for number in numbers
        }
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(setting, folder, f"raw/values.json must map each value to item numbers ({error})") from None
    rows: dict[Gender, list[list[str]]] = {}
    for gender in GENDERS:
        path = folder / "test" / PUBLISHED[gender]
        try:
            rows[gender] = [row for row in csv.reader(io.StringIO(read_text(setting, path), newline="")) if row]
        except csv.Error as error:
            raise ConfigError(setting, path, f"is not valid CSV ({error})") from None
        _check_count(path, len(rows[gender]), config)
        for line, row in enumerate(rows[gender], 1):
            if len(row) < 1 + len(config.scores):
                raise ConfigError(setting, path, f"line {line} must have a text and {len(config.scores)} options")
    return [
        Item(
            number=number,
            key=key_of.get(number, "(none)"),
            text={gender: rows[gender][number - 1][0].strip() for gender in GENDERS},
            options={gender: tuple(rows[gender][number - 1][1 : 1 + len(config.scores)]) for gender in GENDERS},
        )
        for number in range(1, config.n_items + 1)
    ]


def _check_items(path: Path, items: Sequence[Item], keys: Sequence[str], config: conf.Task) -> None:
    key = "task.items"
    _check_count(path, len(items), config)
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


def _check_count(path: Path, number: int, config: conf.Task) -> None:
    if number != config.n_items:
        raise ConfigError("task.items", path, f"has {number} items; allowed: {config.n_items} (task.n_items)")
