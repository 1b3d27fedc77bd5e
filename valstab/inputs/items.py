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


GENDERS: tuple[Gender, ...] = ("F", "M")


REVERSED_COLUMN = "reversed"
"""The column of a CSV file that says which items are put the other way round."""


BOOLEANS: Mapping[str, bool] = {"true": True, "false": False, "": False}


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


def item_content(item: Item) -> list[Any]:
    """Give all that an item says; the last only where it is so, since answers are stored under older digests."""
    return [item.number, item.key, dict(item.text), dict(item.options), *([REVERSED_COLUMN] if item.reversed else [])]


def read_items(path: Path, config: TaskConfig) -> list[Item]:
    """Read the items of a CSV file."""
    key = "task.items"
    items = []
    for row in read_table(key, path, ("item", config.key)):
        if not ITEM_NUMBER.fullmatch(row["item"]):
            raise ConfigError(key, path, f"item {row['item']!r} must be a whole number")
        # Pronouns follow the item's own gender (a recipient's), or else that of the persona who is asked.
        own = row.get("gender")
        if own is not None and own not in PRONOUNS:
            raise ConfigError(key, path, f"item {row['item']} has gender {own!r}; allowed: F, M")
        turned = row.get(REVERSED_COLUMN, "").lower()
        if turned not in BOOLEANS:
            raise ConfigError(key, path, f"item {row['item']} has {REVERSED_COLUMN} {turned!r}; allowed: true, false")
        fields = {}
        for gender in GENDERS:
            pronouns = PRONOUNS[own or gender]
            fields[gender] = pronouns | {column: render(key, cell, pronouns) for column, cell in row.items()}
        items.append(
            Item(
                number=int(row["item"]),
                key=row[config.key],
                text={gender: render("task.text", config.text, fields[gender]) for gender in GENDERS},
                options={
                    gender: tuple(render("task.options", option, fields[gender]) for option in config.options)
                    for gender in GENDERS
                },
                reversed=BOOLEANS[turned],
            )
        )
    return items


def check_count(path: Path, number: int, config: TaskConfig) -> None:
    """Check that a file has the number of items that the task needs."""
    if number != config.n_items:
        raise ConfigError("task.items", path, f"has {number} items; allowed: {config.n_items} (task.n_items)")
