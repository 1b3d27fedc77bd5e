"""Find and read input files: those that come with valstab, and users' own."""

import csv
import io
from collections import Counter
from difflib import get_close_matches
from pathlib import Path

from valstab.errors import ConfigError, allowed

DATA = Path(__file__).parent / "data"
"""Folder of the personas, openings and items that come with valstab."""


SIMILARITY = 0.8
"""Similarity (0 to 1) from which on the name of a column is taken for a mistyped one: `reverse` for `reversed`."""


def locate(setting: str, name: str) -> Path:
    """Return the file or folder that a setting names: a path, or a file that comes with valstab.

    Raises:
        ConfigError: if there is neither.
    """
    path = find_path(name) or find_path(DATA / name)
    if path is not None:
        return path
    shipped = sorted(path.name for path in DATA.iterdir() if path.suffix in {".csv", ".yaml"})
    raise ConfigError(setting, name, f"no such file; {allowed(name, ['a path', *shipped])}")


def _known(name: str, known: tuple[str, ...]) -> str:
    """Return the known name that this is, but for upper and lower case; otherwise the name itself."""
    return next((each for each in known if each.casefold() == name.casefold()), name)


def find_path(name: str | Path) -> Path | None:
    """Return the file or folder of this name (`~` is the home folder), or None if there is none.

    Pipes and devices do not count: reading one might never end.
    """
    try:
        path = Path(name).expanduser()
        return path if path.is_file() or path.is_dir() else None
    except (OSError, RuntimeError):  # name too long, no permission for a folder, unknown ~user
        return None


def read_text(setting: str, path: Path) -> str:
    """Return the content of a UTF-8 text file, with its own line breaks.

    Raises:
        ConfigError: if the file can't be read, is not UTF-8, or has NUL characters.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(setting, path, f"must be a readable UTF-8 text file ({error})") from None
    if "\0" in text:
        raise ConfigError(setting, path, "must be a readable UTF-8 text file (it has NUL characters)")
    return text


def read_table(
    setting: str, path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[dict[str, str]]:
    """Return the rows of a CSV file as dictionaries. Its header has at least `columns`.

    White space around names and cells is removed. Upper and lower case are the same in the names of `columns` and of
    the `optional` ones.

    Raises:
        ConfigError: if a column is missing, repeated or nearly has the name of an optional one, a row has too few or
            too many cells, or there are no rows.
    """
    reader = csv.DictReader(io.StringIO(read_text(setting, path), newline=""), strict=True)
    rows = []
    try:
        reader.fieldnames = header = [_known(name.strip(), columns + optional) for name in reader.fieldnames or ()]
        missing = [column for column in columns if column not in header]
        if missing:
            raise ConfigError(setting, path, f"lacks the column {missing[0]}; it has {', '.join(header) or 'none'}")
        doubled = [column for column, number in Counter(header).items() if number > 1]
        if doubled:
            raise ConfigError(setting, path, f"has the column {doubled[0] or 'without a name'} twice")
        for column in set(header) - {*columns, *optional}:
            near = get_close_matches(column.casefold(), set(optional) - set(header), cutoff=SIMILARITY)
            if near:
                raise ConfigError(
                    setting, path, f"has the column {column}: call it {near[0]}, or something else if it is not that"
                )
        for row in reader:
            if None in row or None in row.values():
                raise ConfigError(setting, path, f"line {reader.line_num} must have {len(header)} cells")
            rows.append({column: cell.strip() for column, cell in row.items()})
    except csv.Error as error:
        raise ConfigError(setting, path, f"line {reader.line_num} is not valid CSV ({error})") from None
    if not rows:
        raise ConfigError(setting, path, "has no rows")
    return rows
