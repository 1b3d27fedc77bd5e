"""The personas, openings and items that come with valstab, and the reading of users' own files of the same kind."""

import csv
import io
from pathlib import Path

from valstab.config import ConfigError, allowed

HERE = Path(__file__).parent


def locate(key: str, name: str) -> Path:
    """Find the file or folder that the setting `key` names: a path, or else one that comes with valstab.

    Raises:
        ConfigError: if there is neither.
    """
    for path in (Path(name).expanduser(), HERE / name):
        if path.exists():
            return path
    shipped = sorted(path.name for path in HERE.iterdir() if path.suffix in {".csv", ".yaml"})
    raise ConfigError(key, name, f"no such file; {allowed(name, ['a path', *shipped])}")


def read_text(key: str, path: Path) -> str:
    """Read a UTF-8 text file.

    Raises:
        ConfigError: if it is no such file.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(key, path, f"must be a readable UTF-8 text file ({error})") from None


def read_table(key: str, path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a CSV file with a header that has at least `columns`, one dictionary a row.

    Raises:
        ConfigError: if a column is missing, a row has too few or too many cells, or there is no row.
    """
    reader = csv.DictReader(io.StringIO(read_text(key, path), newline=""), strict=True)
    header = reader.fieldnames or ()
    missing = [column for column in columns if column not in header]
    if missing:
        raise ConfigError(key, path, f"lacks the column {missing[0]}; it has {', '.join(header) or 'none'}")
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ConfigError(key, path, f"line {reader.line_num} must have {len(header)} cells")
            rows.append({column: cell.strip() for column, cell in row.items()})
    except csv.Error as error:
        raise ConfigError(key, path, f"line {reader.line_num} is not valid CSV ({error})") from None
    if not rows:
        raise ConfigError(key, path, "has no rows")
    return rows
