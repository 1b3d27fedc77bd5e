"""The items of a task, read from a CSV file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valstab.config.schema import TaskConfig
from valstab.errors import ConfigError
from valstab.inputs.files import read_table
from valstab.inputs.population import Gender
from valstab.inputs.templates import PRONOUNS, render

ITEM_NUMBER = re.compile(r"\d{1,9}")
"""Pattern of the column `item`."""


GENDERS: tuple[Gender, ...] = ("F", "M")
"""Genders that an item is worded for."""


REVERSED_COLUMN = "reversed"
"""Column of a CSV file that marks reverse-keyed items."""


BOOLEANS: Mapping[str, bool] = {"true": True, "false": False, "": False}
"""Values of a cell in `REVERSED_COLUMN`."""


@dataclass(frozen=True)
class Item:
    """One question of a task."""

    number: int
    """Number of the item, from 1."""
    key: str
    """Scale that the item is summed into, for instance a value or a race."""
    text: Mapping[Gender, str]
    options: Mapping[Gender, tuple[str, ...]]
    """Options in the order of the scale."""
    reversed: bool = False
    """Whether the item is reverse-keyed, so that the scores of its options are in the opposite order."""


def item_content(item: Item) -> list[Any]:
    """Return the content of an item for the task's digest."""
    # Only reverse-keyed items have the last entry: older digests, under which answers are stored, do not have it.
    return [item.number, item.key, dict(item.text), dict(item.options), *([REVERSED_COLUMN] if item.reversed else [])]


def read_items(path: Path, config: TaskConfig) -> list[Item]:
    """Return the items of a CSV file.

    Raises:
        ConfigError: if the file can't be used.
    """
    setting = "task.items"
    items = []
    for row in read_table(setting, path, ("item", config.key), ("gender", REVERSED_COLUMN)):
        if not ITEM_NUMBER.fullmatch(row["item"]):
            raise ConfigError(setting, path, f"item {row['item']!r} must be a whole number")
        # Pronouns follow the item's own gender (a recipient's), else the gender of the persona that is asked.
        own = row.get("gender")
        if own is not None and own not in PRONOUNS:
            raise ConfigError(setting, path, f"item {row['item']} has gender {own!r}; allowed: F, M")
        reverse_cell = row.get(REVERSED_COLUMN, "").lower()
        if reverse_cell not in BOOLEANS:
            raise ConfigError(
                setting, path, f"item {row['item']} has {REVERSED_COLUMN} {reverse_cell!r}; allowed: true, false"
            )
        fields: dict[Gender, Mapping[str, str]] = {}
        for gender in GENDERS:
            pronouns = PRONOUNS[own or gender]
            fields[gender] = pronouns | {column: render(setting, cell, pronouns) for column, cell in row.items()}
        items.append(
            Item(
                number=int(row["item"]),
                key=row[config.key],
                text={gender: render("task.text", config.text, fields[gender]) for gender in GENDERS},
                options={
                    gender: tuple(render("task.options", option, fields[gender]) for option in config.options)
                    for gender in GENDERS
                },
                reversed=BOOLEANS[reverse_cell],
            )
        )
    return items


def check_count(path: Path, number: int, config: TaskConfig) -> None:
    """Raise `ConfigError` unless a file has the number of items that the task needs."""
    if number != config.n_items:
        raise ConfigError("task.items", path, f"has {number} items; allowed: {config.n_items} (task.n_items)")
