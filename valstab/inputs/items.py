"""The items of a task, read from a table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valstab.config.inputs import TaskConfig
from valstab.errors import ConfigError
from valstab.inputs.files import locate
from valstab.inputs.genders import GENDER_NAMES, PRONOUNS, Gender, agree, read_gender, without_they
from valstab.inputs.keying import BOOLEANS, REVERSED_COLUMN, SIGN_COLUMN, reversed_rows
from valstab.inputs.tables import DESCRIPTION, Table, read_table
from valstab.inputs.templates import fields_of, render

ALL = "all"
"""Value of `task.dialogue` that puts all items into one dialogue; it is no column."""


ITEM_NUMBER = re.compile(r"\d{1,9}")
"""Pattern of the column `item`."""


GENDERS: tuple[Gender, ...] = ("F", "M")
"""Genders that every item is worded for. Its wording with they (X) may be missing."""


TEXT_COLUMN = "text"
"""Column of a file of texts."""


FILLER_COLUMN = "filler"
"""Column that is true for items that are asked but not scored."""


OPTIONAL_COLUMNS = ("item", "gender", FILLER_COLUMN, REVERSED_COLUMN, SIGN_COLUMN)
"""Columns of a file of items that have a meaning, and may be missing."""


@dataclass(frozen=True)
class Item:
    """One question of a task."""

    number: int
    """Number of the item, from 1."""
    key: str
    """Scale that the item is summed into, for instance a value or a race; empty for a filler, which is in none."""
    text: Mapping[Gender, str]
    options: Mapping[Gender, tuple[str, ...]]
    """Options in the order of the scale; an item may have fewer than others."""
    reversed: bool = False
    """Whether the item is reverse-keyed, so that the scores of its options are in the opposite order."""
    dialogue: str = ""
    """The list whose items are asked in one dialogue; empty where each is asked by itself."""
    short: Mapping[Gender, str] = field(default_factory=dict)
    """The item as an option of an anchoring question."""

    @property
    def is_filler(self) -> bool:
        """Whether the item is asked but not scored."""
        return not self.key

    @property
    def n_options(self) -> int:
        """Number of the item's options."""
        return len(self.options["F"])


def item_content(item: Item) -> list[Any]:
    """Return the content of an item for the task's digest."""
    text, options = ({gender: wording[gender] for gender in GENDERS} for wording in (item.text, item.options))
    # Only reverse-keyed items have the last entry: older digests, under which answers are stored, do not have it.
    return [item.number, item.key, text, options, *([REVERSED_COLUMN] if item.reversed else [])]


def read_item_table(path: Path, config: TaskConfig) -> Table:
    """Return the table in a file of items.

    Raises:
        ConfigError: if the file can't be used.
    """
    return read_table("task.items", path, (config.key,), OPTIONAL_COLUMNS)


def read_items(path: Path, config: TaskConfig) -> list[Item]:
    """Return the items of a file. Without a column `item`, they are numbered by row, from 1.

    Raises:
        ConfigError: if the file can't be used.
    """
    rows = read_item_table(path, config).rows
    _number("task.items", path, rows)
    if config.texts is not None:
        _add_texts(rows, config.texts)
    elif TEXT_COLUMN in fields_of([config.text]) and TEXT_COLUMN not in rows[0]:
        raise ConfigError("task.texts", None, f"must be a file with the texts, since {path.name} has no column text")
    reverse = reversed_rows(path, rows, config.key)
    return [_item(path, row, config, is_reversed=one) for row, one in zip(rows, reverse, strict=True)]


def _number(setting: str, path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Number rows that have no column `item`, and check the numbers of others."""
    for number, row in enumerate(rows, 1):
        if not ITEM_NUMBER.fullmatch(row.setdefault("item", str(number))):
            raise ConfigError(setting, path, f"item {row['item']!r} must be a whole number")


def _add_texts(rows: Sequence[dict[str, str]], file: str) -> None:
    """Give each row the text that a file of texts has for its item."""
    setting, path = "task.texts", locate("task.texts", file)
    given = read_table(setting, path, optional=("item", TEXT_COLUMN)).rows
    _number(setting, path, given)
    column = next((name for name in (TEXT_COLUMN, DESCRIPTION) if name in given[0]), None)
    if column is None:
        raise ConfigError(setting, path, f"lacks the column {TEXT_COLUMN}; it has {', '.join(given[0])}")
    texts = {int(row["item"]): row[column] for row in given}
    numbers = [int(row["item"]) for row in rows]
    if len(texts) < len(given) or texts.keys() != set(numbers):
        raise ConfigError(setting, path, f"must have a text for each of the {len(rows)} items, and no others")
    for number, row in zip(numbers, rows, strict=True):
        row[TEXT_COLUMN] = texts[number]


def _item(path: Path, row: Mapping[str, str], config: TaskConfig, *, is_reversed: bool) -> Item:
    setting, own = "task.items", None
    # Pronouns follow the item's own gender (a recipient's), else the gender of the persona that is asked.
    if cell := row.get("gender"):
        own = read_gender(cell)
        if own is None:
            raise ConfigError(setting, path, f"item {row['item']} has gender {cell!r}; allowed: {GENDER_NAMES}")
    short = config.short if config.anchors else ""
    used = fields_of([config.text, short, *config.options])
    cells = {column: cell for column, cell in row.items() if column in used}
    lacking = without_they([config.text, *config.options, *cells.values()])
    if own == "X" and lacking:
        raise ConfigError(setting, path, f"item {row['item']} has gender {cell}, but {lacking} has no form for they")
    genders = GENDERS if lacking and not own else (*GENDERS, "X")
    text: dict[Gender, str] = {}
    shorts: dict[Gender, str] = {}
    options: dict[Gender, tuple[str, ...]] = {}
    for gender in genders:
        of = own or gender
        filled = {column: render(setting, agree(cell, of), PRONOUNS[of]) for column, cell in cells.items()}
        fields = {**PRONOUNS[of], **row, **filled}
        text[gender] = render("task.text", agree(config.text, of), fields)
        shorts[gender] = render("task.short", agree(short, of), fields)
        rendered = [render("task.options", agree(option, of), fields) for option in config.options]
        options[gender] = _without_empty_end(rendered)
    return Item(
        int(row["item"]), _key(path, row, config), text, options, is_reversed, _dialogue(path, row, config), shorts
    )


def _dialogue(path: Path, row: Mapping[str, str], config: TaskConfig) -> str:
    """Return the list that an item is asked in; none where each is asked by itself."""
    if config.dialogue in {None, ALL}:
        return config.dialogue or ""
    if not row.get(config.dialogue):
        raise ConfigError("task.dialogue", config.dialogue, f"is no column of {path} that all items have")
    return row[config.dialogue]


def _without_empty_end(options: Sequence[str]) -> tuple[str, ...]:
    """Return the options up to the last that has a text: an item may have fewer than others."""
    return tuple(options[: max((place + 1 for place, option in enumerate(options) if option.strip()), default=0)])


def _key(path: Path, row: Mapping[str, str], config: TaskConfig) -> str:
    """Return the scale of an item; none for a filler."""
    cell = row.get(FILLER_COLUMN, "").lower()
    if cell not in BOOLEANS:
        raise ConfigError("task.items", path, f"item {row['item']} has {FILLER_COLUMN} {cell!r}; allowed: true, false")
    if BOOLEANS[cell]:
        return ""
    if not row[config.key]:
        raise ConfigError("task.items", path, f"item {row['item']} has no {config.key}, and is no {FILLER_COLUMN}")
    return row[config.key]


def check_count(path: Path, number: int, config: TaskConfig) -> None:
    """Raise `ConfigError` unless a file has the number of items that the task needs."""
    if number != config.n_items:
        raise ConfigError("task.items", path, f"has {number} items; allowed: {config.n_items} (task.n_items)")
