"""The upload of a run's record to MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from valstab.tracking.client import TrackingError, mlflow_errors
from valstab.tracking.experiment import open_experiment
from valstab.tracking.record import Record

Entity = TypeVar("Entity")


RESUME_TAG = "valstab.ticket"
"""The tag with the resume token, by which an interrupted run is found again."""


ENTITIES_PER_REQUEST = 100
"""Maximum number of parameters, tags or metrics in one request to MLflow."""


CONTENTION_MESSAGES = ("database is locked", "IntegrityError", "UniqueViolation")
"""Parts of database errors that concurrent writers cause, such as two processes that add the same dataset."""


CONTENTION_SECONDS = 300
"""Seconds during which an upload is retried while other processes write."""


def _is_contention(error: BaseException) -> bool:
    """Return whether concurrent writers caused an error, for example by a lock longer than MLflow waits."""
    return isinstance(error, TrackingError) and any(message in str(error) for message in CONTENTION_MESSAGES)


@retry(
    retry=retry_if_exception(_is_contention),
    wait=wait_random(1, 10),
    stop=stop_after_delay(CONTENTION_SECONDS),
    reraise=True,
)
def publish(record: Record, results: Path | None = None) -> str:
    """Bring MLflow up to date with a record, and return the run's id; repeating it changes nothing.

    Args:
        record: the run's record.
        results: the folder of the run's results; its files are uploaded when the run has ended.

    Raises:
        TrackingUnavailableError: if MLflow's server does not answer at the moment.
        TrackingError: if MLflow cannot be used for another reason.
    """
    experiment_id = open_experiment(record.experiment)
    with mlflow_errors():
        client = mlflow.MlflowClient()
        run_id = _find_or_create_run(client, experiment_id, record)
        for parameters in _batches([Param(*each) for each in record.parameters.items()]):
            client.log_batch(run_id, params=parameters)
        for tags in _batches([RunTag(*each) for each in record.tags.items()]):
            client.log_batch(run_id, tags=tags)
        if record.inputs:
            client.log_inputs(run_id, [_dataset(each) for each in record.inputs])
        if record.ended is None:
            return run_id
        points = [
            Metric(name, value, record.ended, step)
            for name, values in record.metrics.items()
            for step, value in enumerate(values)
            if value is not None
        ]
        for metrics in _batches(points):
            client.log_batch(run_id, metrics=metrics)
        if results is not None:
            client.log_artifacts(run_id, str(results))
        client.set_terminated(run_id, record.status, record.ended)
        return run_id


def _find_or_create_run(client: mlflow.MlflowClient, experiment_id: str, record: Record) -> str:
    """Return the id of the run with the record's resume token, or of a new run."""
    runs = client.search_runs([experiment_id], f"tags.`{RESUME_TAG}` = '{record.resume_token}'")
    if not runs:
        tags = resolve_tags({RESUME_TAG: record.resume_token})
        created: str = client.create_run(experiment_id, record.began, tags, record.name).info.run_id
        return created
    run = runs[0]
    run_id: str = run.info.run_id
    if record.ended is None and run.info.status != "RUNNING":
        client.update_run(run_id, "RUNNING")
    if "error" in run.data.tags and "error" not in record.tags:
        client.delete_tag(run_id, "error")
    return run_id


def _batches(entities: Sequence[Entity]) -> Iterator[Sequence[Entity]]:
    for start in range(0, len(entities), ENTITIES_PER_REQUEST):
        yield entities[start : start + ENTITIES_PER_REQUEST]


def _dataset(fields: Mapping[str, str]) -> DatasetInput:
    of_dataset = {name: value for name, value in fields.items() if name != "context"}
    return DatasetInput(Dataset(**of_dataset), [InputTag(MLFLOW_DATASET_CONTEXT, fields["context"])])
