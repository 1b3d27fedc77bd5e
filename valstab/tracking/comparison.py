"""A comparison as an MLflow run."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path

from mlflow.entities import Metric, Param
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from valstab.tracking.client import TrackingError, mlflow_errors, patient, tracking_client
from valstab.tracking.experiment import open_experiment
from valstab.tracking.names import metric_names, shorten
from valstab.tracking.publish import batches, upload
from valstab.tracking.record import FINISHED


@contextmanager
def tracked_comparison(
    experiment: str, name: str, parameters: Mapping[str, str], compared: Iterable[str]
) -> Iterator[Callable[[Mapping[str, float], str, Path], None]]:
    """Open an MLflow run for a comparison, and yield a function that logs its results.

    The function takes the numbers by name (levels of a name are separated by `/`), the summary in Markdown, and the
    folder whose files become the run's artifacts.

    Args:
        experiment: the name of the MLflow experiment.
        name: the name of the MLflow run.
        parameters: the settings of the comparison.
        compared: the ids of the compared runs.

    Raises:
        TrackingError: if MLflow cannot be reached or used.
    """
    run_id = _open(experiment, name)

    @patient
    def log(numbers: Mapping[str, float], summary: str, folder: Path) -> None:
        names = metric_names(tuple(key.split("/")) for key in numbers)
        now = time.time_ns() // 1_000_000
        finite = [
            Metric(names[tuple(key.split("/"))], value, now, 0) for key, value in numbers.items() if isfinite(value)
        ]
        with mlflow_errors():
            for metrics in batches(finite):
                tracking_client().log_batch(run_id, metrics=metrics)
            tracking_client().set_tag(run_id, MLFLOW_RUN_NOTE, summary)
        if problem := upload(run_id, folder, set()):
            raise TrackingError(problem)

    try:
        _describe(run_id, parameters, compared)
        yield log
    except BaseException:
        _close(run_id, "FAILED")
        raise
    _close(run_id, FINISHED)


@patient
def _open(experiment: str, name: str) -> str:
    """Create the run, and return its id."""
    experiment_id = open_experiment(experiment)
    with mlflow_errors():
        run_id: str = tracking_client().create_run(experiment_id, tags=resolve_tags(), run_name=name).info.run_id
    return run_id


@patient
def _describe(run_id: str, parameters: Mapping[str, str], compared: Iterable[str]) -> None:
    """Log what is known before the comparison."""
    with mlflow_errors():
        client = tracking_client()
        for params in batches([Param(key, shorten(value)) for key, value in parameters.items()]):
            client.log_batch(run_id, params=params)
        client.log_dict(run_id, {"compared": list(compared)}, "compared.json")


@patient
def _close(run_id: str, status: str) -> None:
    with mlflow_errors():
        tracking_client().set_terminated(run_id, status)
