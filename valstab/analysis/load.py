"""Find finished runs in MLflow and in folders, and read them.

A run is read from its results folder: an MLflow run's artifacts, a job's folder of a sweep, or results of the
paper's published code (`valstab.analysis.published_code`).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from valstab.analysis.published_code import RESULTS_FILE, read_published
from valstab.analysis.read import DOCUMENT, read_run
from valstab.analysis.repetitions import without_repetitions
from valstab.analysis.run_labels import with_unique_labels
from valstab.analysis.runs import Run, Runs
from valstab.config.schema import ROUNDINGS
from valstab.config.secrets import redact
from valstab.errors import ConfigError, require
from valstab.inputs import files
from valstab.statistics.scores import Rounding


def load_runs(
    experiments: Iterable[str] = (),
    *,
    filter_string: str | None = None,
    runs: Iterable[str] = (),
    folders: Iterable[str | Path] = (),
    rounding: Rounding = "nine_decimals",
) -> Runs:
    """Load finished runs.

    Args:
        experiments: names of MLflow experiments. Without any, and without `runs` and `folders`: all experiments.
        filter_string: as MLflow's search takes it, for instance "params.task = 'pvq' and metrics.rank_order > 0.1".
        runs: ids of MLflow runs; that of a sweep's parent stands for its jobs.
        folders: a run's folder, a sweep's folder in `multirun/`, or one with results of the published code.
        rounding: which scores count as equal in ranks; "none" is what the published code does.

    Returns:
        The runs, older ones first. No seed counts twice: see `valstab.analysis.repetitions.without_repetitions`.

    Raises:
        ConfigError: if a name, an id, a folder or a rounding is unknown, or nothing is found.
    """
    require("rounding", rounding, ROUNDINGS)
    experiments, runs, folders = list(experiments), list(runs), list(folders)
    found: list[Run] = []
    if experiments or filter_string or not (runs or folders):
        found += _tracked(experiments, filter_string)
    for identifier in runs:
        found += _with_children(identifier)
    for folder in folders:
        found += _in_folder(Path(folder))
    if not found:
        where = ", ".join([*experiments, *runs, *map(str, folders)]) or "MLflow"
        raise ConfigError(
            "runs", where, "there is no finished run" + (f" with {filter_string}" if filter_string else "")
        )
    if rounding == "none":
        found = [run.unrounded() for run in found]
    return without_repetitions(with_unique_labels(found))


def existing_experiments(names: Iterable[str]) -> list[str]:
    """Return those of some MLflow experiments that exist, in the given order."""
    known = {experiment.name for experiment in mlflow.MlflowClient().search_experiments()}
    return [name for name in names if name in known]


def _tracked(experiments: Sequence[str], filter_string: str | None) -> list[Run]:
    client = mlflow.MlflowClient()
    known = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
    for name in experiments:
        if name not in known:
            raise ConfigError(
                "experiments", name, f"no such MLflow experiment in {_location()}; there are: {', '.join(known)}"
            )
    conditions = ["attributes.status = 'FINISHED'", "metrics.queries > 0", *([filter_string] if filter_string else [])]
    ids = [known[name] for name in experiments] or list(known.values())
    found: list[Any] = []
    token = None
    try:
        while token or not found:
            page = client.search_runs(
                ids, " and ".join(conditions), order_by=["attributes.start_time"], page_token=token
            )
            found += page
            token = page.token
            if not token:
                break
    except MlflowException as error:
        raise ConfigError("filter", filter_string, f"MLflow can't use it: {' '.join(str(error).split())}") from None
    return [_downloaded(run.info.run_id) for run in found]


def artifact_folders(identifier: str) -> list[Path]:
    """Return the results of an MLflow run, or those of a sweep's finished jobs, as folders on this machine.

    Raises:
        ConfigError: if there is no such run.
    """
    return [_artifacts(run_id) for run_id in _jobs_or_run(identifier)]


def _with_children(identifier: str) -> list[Run]:
    return [_downloaded(run_id) for run_id in _jobs_or_run(identifier)]


def _jobs_or_run(identifier: str) -> list[str]:
    """Return the ids of a sweep's finished jobs, or that of a run."""
    client = mlflow.MlflowClient()
    try:
        run = client.get_run(identifier)
    except MlflowException as error:
        raise ConfigError("runs", identifier, f"no such MLflow run in {_location()} ({error.error_code})") from None
    children = client.search_runs(
        [run.info.experiment_id],
        f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{identifier}' and attributes.status = 'FINISHED' and metrics.queries > 0",
        order_by=["attributes.start_time"],
    )
    return [each.info.run_id for each in children or [run]]


def _downloaded(identifier: str) -> Run:
    return read_run(_artifacts(identifier), identifier)


def _artifacts(identifier: str) -> Path:
    try:
        return Path(mlflow.artifacts.download_artifacts(run_id=identifier))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        place = redact(str(mlflow.MlflowClient().get_run(identifier).info.artifact_uri))
        raise ConfigError(
            "runs",
            identifier,
            f"its files are not where MLflow has them, {place}; if they were moved, name folders=[...]",
        ) from None


def _location() -> str:
    return redact(str(mlflow.get_tracking_uri()))


def _in_folder(folder: Path) -> list[Run]:
    place = files.find_path(folder)
    if place is None or not place.is_dir():
        raise ConfigError("folders", folder, "no such folder; allowed: a run's, a sweep's, or one of published results")
    found = sorted(path.parent for path in place.rglob(DOCUMENT))
    if found:
        return [read_run(path) for path in found]
    if any(place.rglob(RESULTS_FILE)):
        return read_published(place)
    raise ConfigError("folders", folder, f"holds no results: neither {DOCUMENT} nor {RESULTS_FILE} anywhere in it")
