"""List, export or prune the store of conversations and answers."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from valstab.protocol.store import RecordLog


def main(arguments: list[str] | None = None) -> None:
    """List, export or prune a store."""
    parser = argparse.ArgumentParser(prog="python -m valstab.store", description="Look after a store.")
    parser.add_argument("--path", type=Path, default=Path(".valstab"), help="the store (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what it holds: each model's records, by kind, with their size")
    export = commands.add_parser("export", help="copy it, each kind in one file, without what is damaged or double")
    export.add_argument("destination", type=Path)
    prune = commands.add_parser("prune", help="remove everything of some models")
    prune.add_argument("identity", nargs="+", help="as `list` names them")
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
    for kind in _kinds(folder):
        shelf = RecordLog(kind)
        size = sum(path.stat().st_size for path in kind.iterdir())
        damaged = f", {shelf.damaged} damaged" if shelf.damaged else ""
        sys.stdout.write(f"  {kind.name:30} {len(shelf):8,} records  {size / 1e6:8.1f} MB{damaged}\n")


def _export(folder: Path, destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "identity.json", destination)
    for kind in _kinds(folder):
        RecordLog(kind).copy_to(destination / kind.name)


def _kinds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())
