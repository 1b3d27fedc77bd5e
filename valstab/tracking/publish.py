"""The upload of a run's record to MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlparse
from urllib.request import url2pathname

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_delay, wait_random

from valstab.config.terminal import warn
from valstab.tracking.client import (
    TrackingError,
    TrackingUnavailableError,
    mlflow_errors,
    patient,
    tracking_client,
)
from valstab.tracking.experiment import open_experiment
from valstab.tracking.record import FINISHED, Record
from valstab.tracking.view import describe_experiment
from valstab.tracking.waiting import NOTICE_SECONDS

Entity = TypeVar("Entity")


RESUME_TAG = "valstab.ticket"
"""The tag with the resume token, by which an interrupted run is found again."""


START_TAG = "valstab.start"
"""The tag with the time of the start that was logged last, in milliseconds since 1970."""


ENTITIES_PER_REQUEST = 100
"""Maximum number of parameters, tags or metrics in one request to MLflow."""


CONTENTION_MESSAGES = ("database is locked", "IntegrityError", "UniqueViolation")
"""Parts of database errors that concurrent writers cause, such as two processes that add the same dataset."""


CONTENTION_SECONDS = 300
"""Seconds during which an upload is retried while other processes write."""


class PublishedRun(NamedTuple):
    """A run in MLflow."""

    id: str
    experiment_id: str
    is_outdated: bool = False
    """Whether a record was not published, since MLflow has a later start of the run, or has it as finished."""


def _is_contention(error: BaseException) -> bool:
    """Return whether concurrent writers caused an error, for example by a lock longer than MLflow waits."""
    return isinstance(error, TrackingError) and any(message in str(error) for message in CONTENTION_MESSAGES)


def _say_contention(state: RetryCallState) -> None:
    if (state.seconds_since_start or 0) >= NOTICE_SECONDS:
        warn("valstab: waiting for other processes that write to MLflow's database")


@retry(
    retry=retry_if_exception(_is_contention),
    wait=wait_random(1, 10),
    stop=stop_after_delay(CONTENTION_SECONDS),
    before_sleep=_say_contention,
    reraise=True,
)
@patient
def publish(
    record: Record, results: Path | None = None, *, uploaded: set[Path] | None = None, late: bool = False
) -> PublishedRun:
    """Bring MLflow up to date with a record, and return the run; repeating it changes nothing.

    Args:
        record: the run's record.
        results: the folder of the run's results; its files are uploaded when the run has ended.
        uploaded: the files that MLflow has; those that are uploaded are added.
        late: whether the run's process has ended, so that another start of the run may have logged more since. Then
            nothing is changed, nor where a finished run was started again and has not finished.

    Raises:
        TrackingUnavailableError: if MLflow's server does not answer at the moment.
        TrackingError: if MLflow cannot be used for another reason, or refuses a file; all else is then there.
    """
    experiment_id = open_experiment(record.experiment)
    with mlflow_errors():
        client = tracking_client()
        run = _find_or_create_run(client, experiment_id, record)
        run_id: str = run.info.run_id
        if _is_outdated(record, run, late=late):
            return PublishedRun(run_id, experiment_id, is_outdated=True)
        _log_start(client, run, record)
        if record.ended is None:
            return PublishedRun(run_id, experiment_id)
        _log_metrics(client, run_id, record)
    problem = upload(run_id, results, set() if uploaded is None else uploaded) if results else ""
    with mlflow_errors():
        client.set_terminated(run_id, record.status, record.ended)
        is_only = _remove_doubles(client, run_id, _runs_of(client, experiment_id, record))
    if not is_only:
        return publish(record, results, late=late)
    if problem:
        raise TrackingError(problem)
    return PublishedRun(run_id, experiment_id)


@patient
def amend(run_id: str, record: Record, results: Path, uploaded: set[Path]) -> None:
    """Log what was added to a published run: files, and the tag `error`.

    Args:
        run_id: the id of the run.
        record: the run's record.
        results: the folder of the run's results.
        uploaded: the files that MLflow has; those that are uploaded are added.

    Raises:
        TrackingUnavailableError: if MLflow's server does not answer at the moment.
        TrackingError: if MLflow cannot be used for another reason, or refuses a file.
    """
    if "error" in record.tags:
        with mlflow_errors():
            tracking_client().set_tag(run_id, "error", record.tags["error"])
    if problem := upload(run_id, results, uploaded):
        raise TrackingError(problem)


def _link(file: Path, artifacts: str, place: Path) -> bool:
    """Make MLflow's file a hard link to one of the results, which takes no space, and return whether that worked.

    It does where the artifacts are a folder on the same file system.

    Args:
        file: a file of the results.
        artifacts: the URI of the run's artifacts.
        place: of the file among them.
    """
    address = urlparse(artifacts)
    if address.scheme not in {"", "file"}:
        return False
    target = Path(url2pathname(address.path), place)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # of an earlier start of the run
        target.hardlink_to(file)
    except OSError:
        with suppress(OSError):
            target.parent.rmdir()  # if nothing is in it
        return False
    return True


def upload(run_id: str, folder: Path, uploaded: set[Path]) -> str:
    """Upload the files of a folder that MLflow lacks, and return which it refused and why; an empty text if none.

    Files whose names start with a dot are drafts, and are not uploaded.

    Args:
        run_id: the id of the run.
        folder: its files become the run's artifacts.
        uploaded: the files that MLflow has; those that are uploaded are added.

    Raises:
        TrackingUnavailableError: if MLflow's server does not answer at the moment.
    """
    refused = []
    with mlflow_errors():
        artifacts = tracking_client().get_run(run_id).info.artifact_uri
    for file in sorted(folder.rglob("*")):
        if file in uploaded or file.name.startswith(".") or not file.is_file():
            continue
        place = file.relative_to(folder)
        below = None if place.parent == Path() else place.parent.as_posix()
        try:
            if not _link(file, artifacts, place):
                with mlflow_errors():
                    tracking_client().log_artifact(run_id, str(file), below)
            uploaded.add(file)
        except TrackingUnavailableError:
            raise
        except TrackingError as error:
            refused.append(f"{place}: {error}")
    return "; ".join(refused)


def _runs_of(client: mlflow.MlflowClient, experiment_id: str, record: Record) -> list[Run]:
    """Return the runs with the record's resume token: one, or several that processes have created at the same time.

    All processes get them in the same order.
    """
    found = client.search_runs([experiment_id], f"tags.`{RESUME_TAG}` = '{record.resume_token}'")
    return sorted(found, key=lambda run: str(run.info.run_id))


def _find_or_create_run(client: mlflow.MlflowClient, experiment_id: str, record: Record) -> Run:
    """Return the run with the record's resume token, or a new run."""
    if runs := _runs_of(client, experiment_id, record):
        return runs[0]
    describe_experiment(experiment_id)
    tags = resolve_tags({RESUME_TAG: record.resume_token})
    return client.create_run(experiment_id, record.began, tags, record.name)


def _remove_doubles(client: mlflow.MlflowClient, run_id: str, found: Sequence[Run]) -> bool:
    """Delete runs that several processes have created for one record at the same time, all but the first.

    Each process deletes its own, and those that have ended: another process may still log to the others, and deletes
    them at its own end.

    Args:
        client: MLflow's client.
        run_id: the run that this process has logged, which has ended.
        found: what `_runs_of` returns after that.

    Returns:
        Whether the first is that of this process.
    """
    first, *others = found
    for run in others:
        if run.info.run_id == run_id or run.info.status != "RUNNING":
            client.delete_run(run.info.run_id)
    return bool(first.info.run_id == run_id)


def _is_outdated(record: Record, run: Run, *, late: bool) -> bool:
    """Return whether MLflow has the run as finished, which no other start undoes, or has a later start of it."""
    undoes = run.info.status == FINISHED and record.status != FINISHED
    return undoes or (late and int(run.data.tags.get(START_TAG, 0)) > record.began)


def _log_start(client: mlflow.MlflowClient, run: Run, record: Record) -> None:
    """Log what is known when a run starts."""
    run_id = run.info.run_id
    if record.ended is None and run.info.status != "RUNNING":
        client.update_run(run_id, "RUNNING")
    if "error" in run.data.tags and "error" not in record.tags:
        client.delete_tag(run_id, "error")
    for parameters in batches([Param(*each) for each in record.parameters.items()]):
        client.log_batch(run_id, params=parameters)
    for tags in batches([RunTag(*each) for each in {**record.tags, START_TAG: str(record.began)}.items()]):
        client.log_batch(run_id, tags=tags)
    if record.inputs:
        client.log_inputs(run_id, [_dataset(each) for each in record.inputs])


def _log_metrics(client: mlflow.MlflowClient, run_id: str, record: Record) -> None:
    points = [
        Metric(name, value, record.ended, step)
        for name, values in record.metrics.items()
        for step, value in enumerate(values)
        if value is not None
    ]
    for metrics in batches(points):
        client.log_batch(run_id, metrics=metrics)


def batches(entities: Sequence[Entity]) -> Iterator[Sequence[Entity]]:
    """Yield the entities in groups that fit one request."""
    for start in range(0, len(entities), ENTITIES_PER_REQUEST):
        yield entities[start : start + ENTITIES_PER_REQUEST]


def _dataset(fields: Mapping[str, str]) -> DatasetInput:
    of_dataset = {name: value for name, value in fields.items() if name != "context"}
    return DatasetInput(Dataset(**of_dataset), [InputTag(MLFLOW_DATASET_CONTEXT, fields["context"])])
