"""Log runs that ended while MLflow could not be reached: `python -m valstab sync [FOLDER ...]`."""

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from valstab.errors import UserError
from valstab.tracking.record import SUFFIX, Record, read_record, results_of

DEFAULT_FOLDERS = (Path("outputs"), Path("multirun"))
"""The folders in the launch directory that runs and sweeps write to."""


def main(arguments: list[str] | None = None) -> None:
    """Log the runs below the folders that the arguments name.

    Raises:
        SystemExit: with one line, if a folder does not exist or MLflow can't be used.
    """
    parser = argparse.ArgumentParser(
        prog="python -m valstab sync", description="Log to MLflow the runs that it could not be reached for."
    )
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="a folder with results at any depth (default: outputs multirun)",
    )
    given = parser.parse_args(arguments).folders
    for folder in given:
        if not folder.is_dir():
            sys.exit(f"valstab: {folder}: no such folder; allowed: a folder with results below it")
    try:
        for line in sync(given or DEFAULT_FOLDERS):
            sys.stdout.write(f"{line}\n")
    except UserError as error:
        sys.exit(f"valstab: {error}")


def sync(folders: Iterable[Path]) -> Iterator[str]:
    """Log every run that has ended and is not in MLflow yet, and yield a line for each; then close their sweeps.

    Raises:
        TrackingError: if MLflow cannot be used. Another call continues from there.
    """
    # Imported only here, since this takes seconds.
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    from valstab.sweeps.parent import finish_sweep
    from valstab.tracking.publish import publish

    sweeps: dict[str, Path] = {}
    waiting = [(file, record) for file, record in _records(folders) if record.ended is not None and not record.logged]
    for file, record in waiting:
        results = results_of(file)
        run_id = publish(record, results)
        record.logged = True
        record.write(results)
        if parent := record.tags.get(MLFLOW_PARENT_RUN_ID):
            sweeps[parent] = file.parent.parent
        yield f"logged  {results}  (run {run_id})"
    for parent, folder in sweeps.items():
        finish_sweep(parent, folder)
    if not waiting:
        yield f"nothing to log below {shlex.join(map(str, folders))}"


def _records(folders: Iterable[Path]) -> Iterator[tuple[Path, Record]]:
    for folder in folders:
        for file in sorted(folder.rglob(f"*{SUFFIX}")):
            yield file, read_record(file)
