"""Log runs that ended while MLflow could not be reached: `python -m valstab sync [FOLDER ...]`."""

import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from valstab.commands.parser import Parser
from valstab.config.terminal import OutputError, say
from valstab.errors import UserError, one_line
from valstab.tracking.record import FINISHED, SUFFIX, Record, RecordError, read_record, results_of

DEFAULT_FOLDERS = (Path("outputs"), Path("multirun"))
"""The folders in the launch directory that runs and sweeps write to."""


def main(arguments: list[str] | None = None) -> None:
    """Log the runs below the folders that the arguments name.

    Raises:
        SystemExit: if a folder does not exist, MLflow can't be used, or some records can't be logged.
    """
    parser = Parser(
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
    problems: list[str] = []
    unsaid: OutputError | None = None
    try:
        for line in sync(given or DEFAULT_FOLDERS, problems):
            try:
                say(line)
            except OutputError as error:
                unsaid = error  # the rest is logged all the same
    except UserError as error:
        problems.append(str(error))
    if unsaid:
        problems.append(str(unsaid))
    if problems:
        sys.exit("\n".join(f"valstab: {one_line(problem)}" for problem in problems))


def sync(folders: Iterable[Path], problems: list[str]) -> Iterator[str]:
    """Log every run that has ended and is not in MLflow yet, and yield a line for each; then close their sweeps.

    Args:
        folders: where records are, at any depth.
        problems: a line is added for each record that can't be logged, and for each sweep that can't be closed.

    Raises:
        TrackingError: if MLflow cannot be used at all. Another call continues from there.
    """
    # Imported only here, since this takes seconds.
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    from valstab.sweeps.parent import finish_sweep
    from valstab.tracking.client import TrackingError, require_mlflow

    sweeps: dict[str, Path] = {}
    is_idle = True
    for file, record in _waiting(folders, problems):
        is_idle = False
        try:
            yield _log(record, results_of(file))
        except (RecordError, OSError) as error:
            problems.append(str(error))
        except TrackingError as error:
            require_mlflow()
            problems.append(f"{results_of(file)}: {error}")
        else:
            if parent := record.tags.get(MLFLOW_PARENT_RUN_ID):
                sweeps[parent] = file.parent.parent
    for parent, folder in sweeps.items():
        try:
            finish_sweep(parent, folder)
        except TrackingError as error:
            require_mlflow()
            problems.append(f"{folder}: the sweep's run {parent} can't be closed: {error}")
    if is_idle and not problems:
        yield f"nothing to log below {shlex.join(map(str, folders))}"


def _waiting(folders: Iterable[Path], problems: list[str]) -> Iterator[tuple[Path, Record]]:
    """Yield the file and the record of each run that has ended and is not in MLflow yet."""
    for folder in folders:
        for file in sorted(folder.rglob(f"*{SUFFIX}")):
            try:
                record = read_record(file)
            except RecordError as error:
                problems.append(str(error))
            else:
                if record.ended is not None and not record.logged:
                    yield file, record


def _log(record: Record, results: Path) -> str:
    """Log a run and note that in its record; return a line that says so.

    Raises:
        RecordError: if the results are gone.
        TrackingError: if MLflow does not answer or refuses something.
    """
    from valstab.tracking.publish import publish

    if not results.is_dir() or (record.status == FINISHED and not (results / "stability.json").is_file()):
        raise RecordError(f"{results}: the results are gone, so the run is not logged")
    run = publish(record, results, late=True)
    record.logged = True
    record.write(results)
    if run.is_outdated:
        return f"passed  {results}  (run {run.id} has a later start of it)"
    return f"logged  {results}  (run {run.id})"
