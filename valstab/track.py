"""Log a run to MLflow. Where is MLflow's own setting (MLFLOW_TRACKING_URI), by default beside the launch directory."""

import hashlib
import json
import logging
import math
import os
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlparse

import mlflow
import platformdirs
from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_RUN_NOTE
from sqlalchemy.exc import SQLAlchemyError
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from valstab.config import Config, UserError
from valstab.plan import Plan
from valstab.provenance import provenance
from valstab.record import Record
from valstab.results import Results, Work
from valstab.secrecy import redacted
from valstab.settings import flat, model_label
from valstab.store import record_key
from valstab.unfinished import ticket

SHORT = 250
"""Longer parameter values are cut: the whole configuration is the artifact `config.yaml`."""

UNCOMPARED = re.compile(
    # `quantization` is what counts, and begins as the model's.
    r"model\.quantization|.*\b_target_$|.*\.name$|(task|store|tracking|dry_run)\b"
    r"|population\.(personas|introduction|seeds)|topics\.openings"
)
"""Settings that are no parameters."""

LONGEST = 200
"""Characters of a metric's name; MLflow allows 250."""

REFUSED = re.compile(r"[^\w\-. ]")
"""Characters that MLflow does not allow in a metric's name, or that would make another level of it."""


Entity = TypeVar("Entity")

TICKET = "valstab.ticket"
"""The tag by which an unfinished run is found again."""

SQLITE = "sqlite:///"
SQL = re.compile(r" \[SQL: .*| \(Background on this error at: .*")
"""What a database's error says beside what went wrong."""

BATCH = 100
"""The most parameters, tags or metrics that MLflow takes at once."""

UNAVAILABLE = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
"""What MLflow calls the failures of a server that waiting may mend."""

RETRIES = "3"
"""How often a request to a server is tried again, over about 12 seconds: the results wait on disk after that."""


CONTENTION = ("database is locked", "IntegrityError", "UniqueViolation")
"""What a database says where several write at once: MLflow looks for a dataset, and adds it when another just has."""

PATIENCE = 300
"""Seconds over which to try again where others write as well."""


class TrackingError(UserError):
    """An MLflow server or database that can't be used."""


class MlflowAwayError(TrackingError):
    """An MLflow server that does not answer now."""


def open_experiment(name: str) -> str:
    """Give an experiment's id, and make it (and the database) if there is none yet.

    Raises:
        MlflowAwayError: if MLflow can't be reached now.
        TrackingError: if it can't be used for another reason.
    """
    quiet()
    uri = mlflow.get_tracking_uri()
    if urlparse(uri).scheme in {"", "file"}:
        raise TrackingError(
            "MLflow's file store can't hold the metric rank_order beside rank_order/KEY; let MLFLOW_TRACKING_URI name "
            "a database or a server, such as sqlite:///mlflow.db, or `mlflow migrate-filestore` an old ./mlruns"
        )
    with explained(), _creation_lock():
        _make_database(uri)
        experiment_id: str = mlflow.set_experiment(name).experiment_id
    return experiment_id


@contextmanager
def explained() -> Iterator[None]:
    """Turn what MLflow raises, through all of its layers, into one line.

    Raises:
        MlflowAwayError: if MLflow can't be reached now.
        TrackingError: if it can't be used for another reason.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        message = redacted(SQL.sub("", " ".join(str(error).split())))
        kind = MlflowAwayError if _may_come_back(error) else TrackingError
        raise kind(f"MLflow (MLFLOW_TRACKING_URI) can't be used: {message}") from error


def _may_come_back(error: BaseException) -> bool:
    """Say whether this is a server that does not answer: waiting can help."""
    causes: list[BaseException] = []
    while error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__ or error
    return urlparse(mlflow.get_tracking_uri()).scheme in {"http", "https"} and any(
        isinstance(each, OSError) or getattr(each, "error_code", None) in UNAVAILABLE for each in causes
    )


def _make_database(uri: str) -> None:
    """Make a new SQLite database under another name first: a kill in between would leave one that can't be opened."""
    path = Path(unquote(uri.removeprefix(SQLITE)))
    if not uri.startswith(SQLITE) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = f"-{secrets.token_hex(4)}.tmp"
    mlflow.MlflowClient(uri + draft).search_experiments()
    path.with_name(path.name + draft).replace(path)


class Tracking:
    """A run's record, in its file and, as far as MLflow can be reached, there.

    What MLflow can't be told now is said in one line on standard error; `python -m valstab.sync` tells it later.

    Args:
        record: what is known when the run begins.
        results: the folder of its results, which the record is written beside.

    Raises:
        TrackingError: if MLflow can't be used by what is set, which waiting would not change.
    """

    def __init__(self, record: Record, results: Path) -> None:
        self.record = record
        self.run_id: str | None = None
        """In MLflow, once it is known there."""
        self._results = results
        self._is_told = False
        record.write(results)
        try:
            self.run_id = publish(record)
        except MlflowAwayError as error:
            self._tell(error)

    def end(self, status: str) -> None:
        """Write the record, and log all of it and the results' files."""
        self.record.status = status
        self.record.ended = _now()
        self.record.write(self._results)
        try:
            self.run_id = publish(self.record, self._results)
        except TrackingError as error:
            self._tell(error)
            return
        self.record.logged = True
        self.record.write(self._results)

    def _tell(self, error: TrackingError) -> None:
        if not self._is_told:
            sys.stderr.write(f"valstab: {error}; results stay in {self._results}, `python -m valstab.sync` logs them\n")
        self._is_told = True


@contextmanager
def tracked_run(
    config: Config, plain: Mapping[str, Any], plan: Plan, tags: Mapping[str, str], results: Path
) -> Iterator[Tracking]:
    """Open an MLflow run with its parameters and tags; an earlier start's, if that did not finish.

    An exception marks it as failed, an interruption as killed, and both are named in the tag `error`. Otherwise
    the block itself ends it.

    Args:
        config: the configuration.
        plain: the same as nested dictionaries.
        plan: what the run does.
        tags: more of them.
        results: the folder of its results.

    Raises:
        TrackingError: if MLflow can't be used by what is set.
    """
    key = record_key([plain, mlflow.get_tracking_uri()])
    with ticket(Path(config.store.path) if config.store.path else None, key) as number:
        tracking = Tracking(
            Record(
                experiment=config.tracking.experiment,
                name=run_name(config),
                ticket=number,
                began=_now(),
                parameters=_parameters(config, plain),
                tags={**_wording(plan), **provenance(), **tags},
            ),
            results,
        )
        try:
            yield tracking
        except BaseException as error:
            tracking.record.tags["error"] = described(error)
            tracking.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise


def _is_contention(error: BaseException) -> bool:
    """Say whether other processes were in the way: they kept a SQLite database for longer than MLflow waits, say."""
    return isinstance(error, TrackingError) and any(sign in str(error) for sign in CONTENTION)


@retry(retry=retry_if_exception(_is_contention), wait=wait_random(1, 10), stop=stop_after_delay(PATIENCE), reraise=True)
def publish(record: Record, results: Path | None = None) -> str:
    """Bring MLflow up to what a record says, and give the run's id; any number of times.

    Args:
        record: of the run.
        results: a folder whose files are logged as well.

    Raises:
        MlflowAwayError: if MLflow can't be reached now.
        TrackingError: if it can't be used for another reason.
    """
    experiment_id = open_experiment(record.experiment)
    with explained():
        client = mlflow.MlflowClient()
        run_id = _begun(client, experiment_id, record)
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


def _begun(client: mlflow.MlflowClient, experiment_id: str, record: Record) -> str:
    """Give the id of the record's run: of the one that has its ticket, or a new one."""
    found = client.search_runs([experiment_id], f"tags.`{TICKET}` = '{record.ticket}'")
    if not found:
        tags = resolve_tags({TICKET: record.ticket})
        created: str = client.create_run(experiment_id, record.began, tags, record.name).info.run_id
        return created
    run = found[0]
    run_id: str = run.info.run_id
    if record.ended is None and run.info.status != "RUNNING":
        client.update_run(run_id, "RUNNING")
    if "error" in run.data.tags and "error" not in record.tags:
        client.delete_tag(run_id, "error")
    return run_id


def _batches(entities: Sequence[Entity]) -> Iterator[Sequence[Entity]]:
    for start in range(0, len(entities), BATCH):
        yield entities[start : start + BATCH]


def _dataset(fields: Mapping[str, str]) -> DatasetInput:
    described = {name: value for name, value in fields.items() if name != "context"}
    return DatasetInput(Dataset(**described), [InputTag(MLFLOW_DATASET_CONTEXT, fields["context"])])


@contextmanager
def tracked_comparison(
    experiment: str, name: str, parameters: Mapping[str, str], compared: Iterable[str]
) -> Iterator[Callable[[Mapping[str, float], str, Path], None]]:
    """Open an MLflow run for a comparison; what it yields logs numbers, a summary in Markdown and a folder's files.

    Args:
        experiment: the MLflow experiment.
        name: of the run.
        parameters: how the comparison was made.
        compared: the ids of the runs that are compared.

    Raises:
        TrackingError: if MLflow can't be reached or used.
    """
    experiment_id = open_experiment(experiment)
    with explained(), mlflow.start_run(experiment_id=experiment_id, run_name=name):
        mlflow.log_params({key: _short(value) for key, value in parameters.items()})
        mlflow.log_dict({"compared": list(compared)}, "compared.json")

        def log(numbers: Mapping[str, float], summary: str, folder: Path) -> None:
            names = metric_names(tuple(key.split("/")) for key in numbers)
            finite = {key: value for key, value in numbers.items() if math.isfinite(value)}
            mlflow.log_metrics({names[tuple(key.split("/"))]: value for key, value in finite.items()})
            mlflow.set_tag(MLFLOW_RUN_NOTE, summary)
            mlflow.log_artifacts(str(folder))

        yield log


def quiet() -> None:
    """Let libraries that MLflow uses say what goes wrong only, and not wait for minutes where no server is."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", RETRIES)
    for name in ("alembic", "matplotlib", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # what it raises is explained in one line


def metric_names(names: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Give each name, a tuple of its levels, the one that it has in MLflow.

    Characters that MLflow does not allow become `_`. Where two names would then be the same, or one is too long, they
    end with a digest of what they were.
    """
    plain = {name: "/".join(_level(part) for part in name) for name in names}
    number = Counter(short.casefold() for short in plain.values())
    return {
        name: short
        if number[short.casefold()] == 1 and len(short) <= LONGEST
        else f"{short[:LONGEST]}_{hashlib.sha256(json.dumps(name).encode()).hexdigest()[:8]}"
        for name, short in plain.items()
    }


def _level(part: str) -> str:
    plain = REFUSED.sub("_", part)
    return plain if plain.strip(". ") else "_" * len(plain)  # a path's own names


def _now() -> int:
    return time.time_ns() // 1_000_000


def _short(value: str) -> str:
    return value if len(value) <= SHORT else value[: SHORT - 1] + "…"


def described(error: BaseException) -> str:
    """Name an error in the tag `error`."""
    return redacted(f"{type(error).__name__}: {error}".rstrip(": "))[:SHORT]


def run_name(config: Config) -> str:
    """Name a run so that a person can tell it from others."""
    model = model_label(config.model.name, config.quantization, config.model.quantization)
    engine = "" if config.engine.name in {"transformers", config.model.name} else f" {config.engine.name}"
    part = f" · part {config.part} of {config.parts}" if config.parts > 1 else ""
    return f"{model}{engine} · {config.population.name} · {config.task.name} · n={config.n_messages}{part}"


def tell_results(record: Record, results: Results, work: Work, description: str, engine: Mapping[str, str]) -> None:
    """Add the metrics, the description (in Markdown), and what the engine really used (as tags)."""
    document = results.document()
    names = metric_names(("rank_order", key) for key in document["per_key"])
    per_key = {names["rank_order", key]: stability["mean"] for key, stability in document["per_key"].items()}
    record.metrics = {name: [value] for name, value in {**results.headline(), **per_key, **asdict(work)}.items()}
    record.metrics |= {f"seed/{name}": list(per_seed.values()) for name, per_seed in document["per_seed"].items()}
    record.tags |= {f"engine.{name}": value for name, value in engine.items()}
    record.tags[MLFLOW_RUN_NOTE] = description


def tell_part(record: Record) -> None:
    """Say that this is a part of a run, which has no results of its own."""
    record.tags[MLFLOW_RUN_NOTE] = "A part of a run; the run that all parts came together as has the results."


def _creation_lock() -> FileLock:
    """Let one process at a time create the database and the experiment."""
    return FileLock(platformdirs.user_cache_path("valstab", ensure_exists=True) / "tracking.lock")


def _parameters(config: Config, plain: Mapping[str, Any]) -> dict[str, str]:
    """Give the parameters that runs are compared by: names of options, and settings that are numbers or short words.

    What an option's file says stands behind its name; all of it is in `config.yaml`.
    """
    names = {
        "model": config.model.name,
        "engine": config.engine.name,
        "population": config.population.name,
        "topics": config.topics.name,
        "task": config.task.name,
    }
    compared = {key: value for key, value in flat(plain).items() if not UNCOMPARED.match(key)} | names
    return {key: _short(value) for key, value in compared.items()}


def _wording(plan: Plan) -> dict[str, str]:
    return {"wording": plan.task.wording, "wording_sha256": plan.task.digest}
