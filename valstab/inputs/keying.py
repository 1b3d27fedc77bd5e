"""The direction of items: which are worded in the opposite direction, as a table says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from valstab.errors import ConfigError

REVERSED_COLUMN = "reversed"
"""Column that is true for reverse-keyed items."""


SIGN_COLUMN = "keyed"
"""Column with the sign of each item, as in published scoring keys."""


OTHER_SIGN_COLUMN = "key"
"""Column that has the sign in other published keys, such as IPIP's, unless it has the scale."""


BOOLEANS: Mapping[str, bool] = {"true": True, "false": False, "": False}
"""Whether an item is reversed, by its cell in `REVERSED_COLUMN`."""


SIGNS: Mapping[str, bool] = {"+1": False, "1": False, "+": False, "-1": True, "-": True, "\N{MINUS SIGN}1": True}
"""The same by its sign."""


def reversed_rows(path: Path, rows: Sequence[Mapping[str, str]], key: str) -> list[bool]:
    """Return for each item of a table whether it is reversed.

    Args:
        path: the file, for messages.
        rows: the rows, with a column `item`.
        key: the column with the scale of each item, which never has its sign.

    Raises:
        ConfigError: if a cell says neither, or two columns contradict each other.
    """
    signed = all(row.get(OTHER_SIGN_COLUMN) in SIGNS for row in rows)
    meanings = {REVERSED_COLUMN: BOOLEANS, SIGN_COLUMN: SIGNS} | ({OTHER_SIGN_COLUMN: SIGNS} if signed else {})
    columns = {name: meaning for name, meaning in meanings.items() if name in rows[0] and name != key}
    return [_is_reversed(path, row, columns) for row in rows]


def _is_reversed(path: Path, row: Mapping[str, str], columns: Mapping[str, Mapping[str, bool]]) -> bool:
    found = set()
    for name, meaning in columns.items():
        cell = row[name].lower()
        if cell not in meaning:
            raise ConfigError(
                "task.items",
                path,
                f"item {row['item']} has {name} {cell!r}; allowed: {', '.join(filter(None, meaning))}",
            )
        found.add(meaning[cell])
    if len(found) > 1:
        raise ConfigError("task.items", path, f"item {row['item']} is reversed by one of {' and '.join(columns)} only")
    return True in found
