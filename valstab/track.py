"""Log a run to MLflow. Where is MLflow's own setting (MLFLOW_TRACKING_URI), by default beside the launch directory."""

import hashlib
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mlflow
import platformdirs
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from valstab.config import Config, UserError
from valstab.plan import Plan
from valstab.provenance import provenance
from valstab.results import Results, Work
from valstab.secrecy import redacted

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


class TrackingError(UserError):
    """An MLflow server or database that can't be used."""


def open_experiment(name: str) -> str:
    """Give an experiment's id, and make it (and the database) if there is none yet.

    Raises:
        TrackingError: if MLflow can't be reached or used.
    """
    quiet()
    if urlparse(mlflow.get_tracking_uri()).scheme in {"", "file"}:
        raise TrackingError(
            "MLflow's file store can't hold the metric rank_order beside rank_order/KEY; let MLFLOW_TRACKING_URI name "
            "a database or a server, such as sqlite:///mlflow.db, or `mlflow migrate-filestore` an old ./mlruns"
        )
    try:
        with _creation_lock():
            experiment_id: str = mlflow.set_experiment(name).experiment_id
    except MlflowException as error:
        message = redacted(" ".join(str(error).split()))
        raise TrackingError(f"MLflow (MLFLOW_TRACKING_URI) can't be used: {message}") from error
    return experiment_id


@contextmanager
def tracked_run(
    config: Config, plain: Mapping[str, Any], plan: Plan, tags: Mapping[str, str]
) -> Iterator[mlflow.ActiveRun]:
    """Open an MLflow run with its parameters and tags.

    An exception marks it as failed, an interruption as killed, and both are named in the tag `error`.

    Args:
        config: the configuration.
        plain: the same as nested dictionaries.
        plan: what the run does.
        tags: more of them.

    Raises:
        TrackingError: if MLflow can't be reached or used.
    """
    experiment_id = open_experiment(config.tracking.experiment)
    with mlflow.start_run(experiment_id=experiment_id, run_name=run_name(config)) as run:
        try:
            mlflow.log_params(_parameters(config, plain))
            mlflow.set_tags({**_wording(plan), **provenance(), **tags})
            yield run
        except BaseException as error:
            mlflow.set_tag("error", described(error))
            if isinstance(error, KeyboardInterrupt):
                mlflow.end_run("KILLED")
            raise


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
    with mlflow.start_run(experiment_id=experiment_id, run_name=name):
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
    """Let libraries that MLflow uses say what goes wrong only."""
    for name in ("alembic", "matplotlib", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)


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


def _short(value: str) -> str:
    return value if len(value) <= SHORT else value[: SHORT - 1] + "…"


def described(error: BaseException) -> str:
    """Name an error in the tag `error`."""
    return redacted(f"{type(error).__name__}: {error}".rstrip(": "))[:SHORT]


def run_name(config: Config) -> str:
    """Name a run so that a person can tell it from others."""
    precision = "" if config.quantization == config.model.quantization else f" {config.quantization}"
    engine = "" if config.engine.name in {"transformers", config.model.name} else f" {config.engine.name}"
    model = f"{config.model.name}{precision}{engine}"
    part = f" · part {config.part} of {config.parts}" if config.parts > 1 else ""
    return f"{model} · {config.population.name} · {config.task.name} · n={config.n_messages}{part}"


def log_results(results: Results, work: Work, description: str, engine: Mapping[str, str], folder: Path) -> None:
    """Log the metrics, the description (in Markdown), what the engine really used (as tags), and all of `folder`."""
    document = results.document()
    names = metric_names(("rank_order", key) for key in document["per_key"])
    per_key = {names["rank_order", key]: stability["mean"] for key, stability in document["per_key"].items()}
    metrics = {**results.headline(), **per_key, **asdict(work)}
    mlflow.log_metrics({name: value for name, value in metrics.items() if value is not None})
    for name, per_seed in document["per_seed"].items():
        for step, value in enumerate(per_seed.values()):
            if value is not None:
                mlflow.log_metric(f"seed/{name}", value, step=step)
    mlflow.set_tags({f"engine.{name}": value for name, value in engine.items()})
    mlflow.set_tag(MLFLOW_RUN_NOTE, description)
    mlflow.log_artifacts(str(folder))


def log_part(folder: Path) -> None:
    """Log the files of a part of a run, which has no results of its own."""
    mlflow.set_tag(MLFLOW_RUN_NOTE, "A part of a run; the run that all parts came together as has the results.")
    mlflow.log_artifacts(str(folder))


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
    flat = {key: str(value) for key, value in _flatten(plain) if not UNCOMPARED.match(key)} | names
    return {key: _short(value) for key, value in flat.items()}


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _wording(plan: Plan) -> dict[str, str]:
    return {"wording": plan.task.wording, "wording_sha256": plan.task.digest}
