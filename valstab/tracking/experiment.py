"""MLflow's experiment, and the SQLite database that holds it."""

import secrets
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow
import platformdirs
from filelock import FileLock

from valstab.tracking.client import TrackingError, mlflow_errors

SQLITE_PREFIX = "sqlite:///"
"""Start of the URI of a SQLite database."""


def open_experiment(name: str) -> str:
    """Return an experiment's id; the experiment and its database are created if they do not exist.

    Raises:
        TrackingUnavailableError: if MLflow's server does not answer at the moment.
        TrackingError: if MLflow cannot be used for another reason.
    """
    uri = mlflow.get_tracking_uri()
    if urlparse(uri).scheme in {"", "file"}:
        raise TrackingError(
            "MLflow's file store can't hold the metric rank_order beside rank_order/KEY; let MLFLOW_TRACKING_URI name "
            "a database or a server, such as sqlite:///mlflow.db, or `mlflow migrate-filestore` an old ./mlruns"
        )
    with mlflow_errors(), _creation_lock():
        _create_database(uri)
        experiment_id: str = mlflow.set_experiment(name).experiment_id
    return experiment_id


def _create_database(uri: str) -> None:
    """Create a SQLite database that does not exist, under a draft name first: a half-made one could not be opened."""
    path = Path(unquote(uri.removeprefix(SQLITE_PREFIX)))
    if not uri.startswith(SQLITE_PREFIX) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = f"-{secrets.token_hex(4)}.tmp"
    mlflow.MlflowClient(uri + draft).search_experiments()
    path.with_name(path.name + draft).replace(path)


def _creation_lock() -> FileLock:
    """Return the lock that lets one process at a time create the database and the experiment."""
    return FileLock(platformdirs.user_cache_path("valstab", ensure_exists=True) / "tracking.lock")
