"""Run valstab's command in a fork of this process: as real as a new one, without importing everything again."""

import hashlib
import importlib
import multiprocessing
import os
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

IMPORTED = ("mlflow", "valstab.__main__", "valstab.run", "valstab.sync")
FILES = ("answers.parquet", "conversations.jsonl", "profiles.csv", "stability.json")
SPENT = ("seconds", "per_second", "_gib", "reused_", "_tokens")
"""In the names of metrics that say what a run cost, not what it found."""
WAIT = 600


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    said: str
    """On standard output and standard error."""


def launch(folder: Path, *arguments: str, module: str = "valstab.__main__", **environment: str) -> Ended:
    """Run a command in a folder until it ends."""
    folder.mkdir(exist_ok=True)
    log = folder.with_name(f"{folder.name}.log")
    process = begin(folder, log, arguments, environment, module)
    process.join(WAIT)
    if process.exitcode is None:
        process.kill()
        process.join()
    return Ended(process.exitcode or 0, log.read_text(errors="replace"))


def begin(
    folder: Path,
    log: Path,
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    module: str = "valstab.__main__",
) -> multiprocessing.process.BaseProcess:
    """Start the command in a folder, and let it go on."""
    for name in IMPORTED:
        importlib.import_module(name)
    process = multiprocessing.get_context("fork").Process(
        target=_run, args=(folder, log, arguments, environment, module)
    )
    process.start()
    return process


def outcome(folder: Path) -> dict[str, object]:
    """Return what a fault must not change: hashes of the newest results, and MLflow's runs and metrics."""
    results = max(folder.glob("outputs/*/*/results.mlflow.json")).with_name("results")
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        statuses = database.execute("select status, name from runs order by start_time").fetchall()
        metrics = database.execute("select key, value, step from latest_metrics order by key").fetchall()
    return {
        **{name: hashlib.sha256((results / name).read_bytes()).hexdigest() for name in FILES},
        "runs": statuses,
        "metrics": [each for each in metrics if not any(part in each[0] for part in SPENT)],
    }


def differences(expected: Mapping[str, object], found: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Return the differences from the expected outcome, by name, and print them on standard error."""
    different = {key: (value, found.get(key)) for key, value in expected.items() if value != found.get(key)}
    if different:
        print(different, file=sys.stderr)
    return different


def _run(folder: Path, log: Path, arguments: tuple[str, ...], environment: Mapping[str, str], module: str) -> None:
    os.chdir(folder)
    opened = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(opened, stream)
    sys.stdout = sys.stderr = os.fdopen(opened, "w", buffering=1)  # pytest has put others there
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ.update(environment)
    sys.argv = ["valstab", *arguments]
    importlib.import_module(module).main()
