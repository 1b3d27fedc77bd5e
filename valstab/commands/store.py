"""List, export or prune the store of conversations and answers: `python -m valstab store list`."""

import argparse
import re
import shutil
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from valstab.commands.parser import Parser
from valstab.engines.received import read_json
from valstab.errors import one_line, printable
from valstab.protocol.store import IDENTITY_FILE, NAMES_FILE, open_log, read_names

MB = 1e6
"""A megabyte, in bytes."""


DAY = 86_400
"""A day, in seconds."""


MODEL_NAME = re.compile(r"[0-9a-f]{32}")
"""The name of a model's folder: a hash of its identity."""


def main(arguments: list[str] | None = None) -> None:
    """List, export or prune the store that the arguments name.

    Raises:
        SystemExit: with one line, if the store or the model does not exist.
    """
    options = _parse(arguments)
    if not options.path.is_dir():
        sys.exit(f"valstab: --path={options.path}: no such store")
    folders = {folder.name: folder for folder in sorted(options.path.iterdir()) if _is_model(folder)}
    if options.command == "list":
        _list(folders.values())
    elif options.command == "export":
        for folder in folders.values():
            _export(folder, options.destination / folder.name)
    else:
        for folder in _to_prune(options, folders):
            _prune(folder)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m valstab store", description="List, export or prune the store of conversations and answers."
    )
    parser.add_argument("--path", type=Path, default=Path(".valstab"), help="the store's folder (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print each model, its logs, their records and sizes, and the total")
    export = commands.add_parser(
        "export", help="copy the store, each log as one file, without damaged or double records"
    )
    export.add_argument("destination", type=Path)
    prune = commands.add_parser("prune", help="remove all records of some models, and name these")
    prune.add_argument("identity", nargs="*", metavar="MODEL", help="a model's folder or name, as `list` prints it")
    prune.add_argument("--older", type=float, metavar="DAYS", help="models without a new record for so many days")
    prune.add_argument("--to", type=float, metavar="MB", help="the models with the oldest records, down to this size")
    options = parser.parse_args(arguments)
    if options.command == "prune" and not options.identity and options.older is None and options.to is None:
        prune.error("needs a MODEL, --older DAYS or --to MB")
    return options


def _to_prune(options: argparse.Namespace, folders: Mapping[str, Path]) -> list[Path]:
    """Return the folders that options name, by their names, their age or the size of the store.

    Raises:
        SystemExit: if there is no model of a name.
    """
    chosen: dict[Path, None] = {}
    for name in options.identity:
        named = [folder for folder in folders.values() if name in {folder.name, *read_names(folder)}]
        if not named:
            sys.exit(f"valstab: prune {name}: no such model in {options.path}; `list` names them")
        chosen |= dict.fromkeys(named)
    ages = {folder: (time.time() - _written(folder)) / DAY for folder in folders.values()}
    if options.older is not None:
        chosen |= dict.fromkeys(folder for folder, age in ages.items() if age > options.older)
    if options.to is not None:
        left = {folder: _size(folder) for folder in sorted(ages, key=ages.__getitem__) if folder not in chosen}
        while left and sum(left.values()) > options.to * MB:
            folder, _ = left.popitem()
            chosen[folder] = None
    return list(chosen)


def _is_model(folder: Path) -> bool:
    """Return whether a folder has the records of a model; its identity.json may be lost."""
    return (folder / IDENTITY_FILE).exists() or bool(MODEL_NAME.fullmatch(folder.name) and _log_folders(folder))


def _list(folders: Collection[Path]) -> None:
    records = 0
    for folder in folders:
        day = time.strftime("%Y-%m-%d", time.localtime(_written(folder)))
        sys.stdout.write(f"{_shown(folder)}, last written on {day}\n  {_described(folder)}\n")
        for path in _log_folders(folder):
            log = open_log(path, path.name)
            records += len(log)
            damaged = f", {len(log.damaged)} damaged" if log.damaged else ""
            sys.stdout.write(f"  {path.name:30} {len(log):8,} records  {_size(path) / MB:8.1f} MB{damaged}\n")
    size = sum(map(_size, folders))
    models = f"{len(folders)} model{'' if len(folders) == 1 else 's'}"
    sys.stdout.write(f"total: {models}, {records:,} records, {size / MB:.1f} MB\n")


def _shown(folder: Path) -> str:
    names = printable(", ".join(read_names(folder))) or "a model without a name"
    return f"{folder.name}  {names}"


def _size(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _written(folder: Path) -> float:
    """Return when a record of a model was last written, in seconds since 1970; the folder's time if it has none."""
    times = [file.stat().st_mtime for path in _log_folders(folder) for file in path.iterdir()]
    return max(times, default=folder.stat().st_mtime)


def _described(folder: Path) -> str:
    """Return the identity of a model in one line."""
    try:
        identity = read_json((folder / IDENTITY_FILE).read_text(encoding="utf-8"))
        return one_line(", ".join(f"{name} {value}" for name, value in identity.items()))
    except (OSError, ValueError, AttributeError):
        return f"{IDENTITY_FILE} can't be read; the next run of the model writes it again"


def _export(folder: Path, destination: Path) -> None:
    """Copy what another store lacks of a model's records."""
    destination.mkdir(parents=True, exist_ok=True)
    for name in (IDENTITY_FILE, NAMES_FILE):
        with suppress(FileNotFoundError):
            shutil.copy(folder / name, destination)
    for path in _log_folders(folder):
        open_log(path, path.name).copy_to(destination / path.name)


def _prune(folder: Path) -> None:
    removed = f"removed {_shown(folder)}, {_size(folder) / MB:.1f} MB\n"
    try:
        shutil.rmtree(folder)
    except OSError as error:
        sys.exit(f"valstab: prune {folder.name}: {one_line(str(error))}; a run that uses the model writes to it")
    sys.stdout.write(removed)


def _log_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
