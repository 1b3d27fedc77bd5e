"""Find and read input files: those that come with valstab, and users' own."""

from pathlib import Path

from valstab.errors import ConfigError, allowed

DATA = Path(__file__).parent / "data"
"""Folder of the personas, openings and items that come with valstab."""


INPUT_SETTINGS = (
    ("task", "items"),
    ("task", "texts"),
    ("task", "rubric"),
    ("population", "personas"),
    ("population", "interlocutors"),
    ("topics", "openings"),
    ("topics", "posts"),
    ("interlocutor", "turns"),
)
"""The settings that name a file that a run reads, as group and name."""


def locate(setting: str, name: str) -> Path:
    """Return the file or folder that a setting names: a file that comes with valstab, or a path.

    A file of the user's own with the name of one that comes with valstab is named by its folder too: `./openings.yaml`.

    Raises:
        ConfigError: if there is neither.
    """
    path = DATA / name if is_packaged(name) else find_path(name)
    if path is not None:
        return path
    shipped = sorted(path.name for path in DATA.iterdir() if path.suffix in {".csv", ".yaml"})
    raise ConfigError(setting, name, f"no such file; {allowed(name, ['a path', *shipped])}")


def is_packaged(name: str) -> bool:
    """Return whether this is the name of a file that comes with valstab, without a folder."""
    return name == Path(name).name and find_path(DATA / name) is not None


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
