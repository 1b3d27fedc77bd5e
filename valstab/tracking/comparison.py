"""A comparison as an MLflow run."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from valstab.tracking.client import mlflow_errors
from valstab.tracking.experiment import open_experiment
from valstab.tracking.names import metric_names, shorten


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
    experiment_id = open_experiment(experiment)
    with mlflow_errors(), mlflow.start_run(experiment_id=experiment_id, run_name=name):
        mlflow.log_params({key: shorten(value) for key, value in parameters.items()})
        mlflow.log_dict({"compared": list(compared)}, "compared.json")

        def log(numbers: Mapping[str, float], summary: str, folder: Path) -> None:
            names = metric_names(tuple(key.split("/")) for key in numbers)
            finite = {key: value for key, value in numbers.items() if math.isfinite(value)}
            mlflow.log_metrics({names[tuple(key.split("/"))]: value for key, value in finite.items()})
            mlflow.set_tag(MLFLOW_RUN_NOTE, summary)
            mlflow.log_artifacts(str(folder))

        yield log
