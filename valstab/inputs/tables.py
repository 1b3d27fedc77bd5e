"""Read a table from a file: CSV, a list of JSON objects, or text with a description on each line."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from valstab.errors import ConfigError, require_text
from valstab.inputs.files import read_text

SIMILARITY = 0.8
"""Similarity (0 to 1) from which on the name of a column is taken for a mistyped one: `reverse` for `reversed`."""


DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""Characters between the cells of a CSV file, and their names."""


JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
"""Ends of the names of files with objects."""


TEXT_SUFFIX = ".txt"
"""End of the name of a file with a description on each line."""


DESCRIPTION = "description"
"""Column of a text file."""


class Table(NamedTuple):
    """The rows of a file."""

    rows: list[dict[str, str]]
    """One dictionary per row, each with all columns; at least one."""
    form: str
    """How the file was read, for the user."""

    def describe(self) -> str:
        """Return how the file was read, with the number of its rows and the names of its columns."""
        return f"{self.form}: {len(self.rows)} rows of {', '.join(self.rows[0])}"


_Lines = Iterator[tuple[str, list[str]]]
"""The cells of the header and of each row, after their place in the file, such as `line 3`."""


def read_table(setting: str, path: Path, columns: tuple[str, ...] = (), optional: tuple[str, ...] = ()) -> Table:
    """Return the table in a file, which has at least `columns`.

    The end of its name says what it has: objects (`JSON_SUFFIXES`: a list, or one on each line), descriptions
    (`TEXT_SUFFIX`: one on each line, in the column `description`), or else CSV, with the delimiter that fits the
    header. White space around names and cells is removed. Blank rows and columns without a name are left out. Upper
    and lower case are the same in the names of `columns` and of the `optional` ones.

    Raises:
        ConfigError: if a column is missing, repeated or nearly has the name of an optional one, a row has too few or
            too many cells, or there are no rows.
    """
    text = read_text(setting, path)
    if path.suffix.lower() in JSON_SUFFIXES:
        form, lines = "JSON objects", _objects(setting, path, text)
    elif path.suffix.lower() == TEXT_SUFFIX:
        form, lines = "lines with a description each", _descriptions(text)
    else:
        delimiter = _delimiter(text, columns + optional)
        form, lines = f"CSV with {DELIMITERS[delimiter]}", _cells(setting, path, text, delimiter)
    header = [_known(name.strip(), columns + optional) for name in next(lines, ("", []))[1]]
    _check_header(setting, path, header, columns, optional)
    rows = []
    for place, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            rule = f"must have {len(header)} cells ({', '.join(header)}); it has {len(cells)}"
            raise ConfigError(setting, path, f"{place} {rule}")
        rows.append({name: cell.strip() for name, cell in zip(header, cells, strict=True) if name})
    if not rows:
        raise ConfigError(setting, path, "has no rows")
    return Table(rows, form)


def _check_header(
    setting: str, path: Path, header: list[str], columns: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    names = [name for name in header if name]
    missing = [column for column in columns if column not in names]
    if missing or not names:
        lacking = f"lacks the column {missing[0]}" if missing else "has no column with a name"
        raise ConfigError(setting, path, f"{lacking}; it has {', '.join(names) or 'none'}")
    doubled = [name for name, number in Counter(names).items() if number > 1]
    if doubled:
        raise ConfigError(setting, path, f"has the column {doubled[0]} twice")
    for name in set(names) - {*columns, *optional}:
        near = get_close_matches(name.casefold(), set(optional) - set(names), cutoff=SIMILARITY)
        if near:
            raise ConfigError(
                setting, path, f"has the column {name}: call it {near[0]}, or something else if it is not that"
            )


def _known(name: str, known: tuple[str, ...]) -> str:
    """Return the known name that this is, but for upper and lower case; otherwise the name itself."""
    return next((each for each in known if each.casefold() == name.casefold()), name)


def _delimiter(text: str, known: tuple[str, ...]) -> str:
    """Return the delimiter with which the header of a CSV file has most of the known names, or else most names."""
    wanted = {name.casefold() for name in known}

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
        except csv.Error:
            return 0, 0
        return len(wanted & {name.strip().casefold() for name in header}), len(header)

    return max(DELIMITERS, key=fit)


def _cells(setting: str, path: Path, text: str, delimiter: str) -> _Lines:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield f"line {reader.line_num}", cells
    except csv.Error as error:
        raise ConfigError(setting, path, f"line {reader.line_num} is not valid CSV ({error})") from None


def _descriptions(text: str) -> _Lines:
    yield "", [DESCRIPTION]
    for number, line in enumerate(text.splitlines(), 1):
        yield f"line {number}", [line]


def _objects(setting: str, path: Path, text: str) -> _Lines:
    objects = _parsed(setting, path, text)
    names = list(dict.fromkeys(name for each in objects for name in each))
    for name in names:
        require_text(setting, path, name)
    yield "", names
    for number, each in enumerate(objects, 1):
        cells = [each.get(name, "") for name in names]
        require_text(setting, path, "".join(cells))
        yield f"object {number}", cells


def _parsed(setting: str, path: Path, text: str) -> list[dict[str, str]]:
    """Return the objects in JSON, a list of them or one on each line, with their values as text."""
    place = ""
    try:
        if text.lstrip().startswith("["):
            objects = json.loads(text)
        else:
            objects = []
            for number, line in enumerate(text.split("\n"), 1):
                place = f"line {number} "
                if line.strip():
                    objects.append(json.loads(line))
        if all(isinstance(each, dict) for each in objects):
            return [{name: _as_cell(value) for name, value in each.items()} for each in objects]
    except (ValueError, RecursionError) as error:
        raise ConfigError(setting, path, f"{place}is not valid JSON ({error})") from None
    raise ConfigError(setting, path, 'must have objects only, such as {"name": "Ada"}: a list, or one on each line')


def _as_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
