"""List, export or prune the store of conversations and answers: `python -m valstab store list`."""

import argparse
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from valstab.engines.received import read_json
from valstab.errors import one_line
from valstab.protocol.store import IDENTITY_FILE, open_log

MODEL_NAME = re.compile(r"[0-9a-f]{32}")
"""The name of a model's folder: a hash of its identity."""


def main(arguments: list[str] | None = None) -> None:
    """List, export or prune the store that the arguments name.

    Raises:
        SystemExit: with one line, if the store or the model does not exist.
    """
    parser = argparse.ArgumentParser(
        prog="python -m valstab store", description="List, export or prune the store of conversations and answers."
    )
    parser.add_argument("--path", type=Path, default=Path(".valstab"), help="the store's folder (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print each model, its logs, and their records and sizes")
    export = commands.add_parser(
        "export", help="copy the store, each log as one file, without damaged or double records"
    )
    export.add_argument("destination", type=Path)
    prune = commands.add_parser("prune", help="remove all records of some models")
    prune.add_argument("identity", nargs="+", metavar="MODEL", help="the name of a model, as `list` prints it")
    options = parser.parse_args(arguments)
    if not options.path.is_dir():
        sys.exit(f"valstab: --path={options.path}: no such store")
    folders = {folder.name: folder for folder in sorted(options.path.iterdir()) if _is_model(folder)}
    if options.command == "list":
        for folder in folders.values():
            _list(folder)
    elif options.command == "export":
        for folder in folders.values():
            _export(folder, options.destination / folder.name)
    else:
        for name in options.identity:
            if name not in folders:
                sys.exit(f"valstab: prune {name}: no such model in {options.path}; `list` names them")
        for name in options.identity:
            _prune(folders[name])


def _is_model(folder: Path) -> bool:
    """Return whether a folder has the records of a model; its identity.json may be lost."""
    return (folder / IDENTITY_FILE).exists() or bool(MODEL_NAME.fullmatch(folder.name) and _log_folders(folder))


def _list(folder: Path) -> None:
    sys.stdout.write(f"{folder.name}  {_described(folder)}\n")
    for path in _log_folders(folder):
        log = open_log(path, path.name)
        size = sum(file.stat().st_size for file in path.iterdir())
        damaged = f", {len(log.damaged)} damaged" if log.damaged else ""
        sys.stdout.write(f"  {path.name:30} {len(log):8,} records  {size / 1e6:8.1f} MB{damaged}\n")


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
    with suppress(FileNotFoundError):
        shutil.copy(folder / IDENTITY_FILE, destination)
    for path in _log_folders(folder):
        open_log(path, path.name).copy_to(destination / path.name)


def _prune(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        sys.exit(f"valstab: prune {folder.name}: {one_line(str(error))}; a run that uses the model writes to it")


def _log_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
