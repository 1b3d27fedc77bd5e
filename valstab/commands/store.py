"""List, export or prune the store of conversations and answers: `python -m valstab store list`."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from valstab.protocol.store import RecordLog


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
    folders = {file.parent.name: file.parent for file in sorted(options.path.glob("*/identity.json"))}
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
            shutil.rmtree(folders[name])


def _list(folder: Path) -> None:
    identity = json.loads((folder / "identity.json").read_text(encoding="utf-8"))
    sys.stdout.write(f"{folder.name}  {', '.join(f'{name} {value}' for name, value in identity.items())}\n")
    for path in _log_folders(folder):
        log = RecordLog(path)
        size = sum(file.stat().st_size for file in path.iterdir())
        damaged = f", {log.damaged} damaged" if log.damaged else ""
        sys.stdout.write(f"  {path.name:30} {len(log):8,} records  {size / 1e6:8.1f} MB{damaged}\n")


def _export(folder: Path, destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "identity.json", destination)
    for path in _log_folders(folder):
        RecordLog(path).copy_to(destination / path.name)


def _log_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())
