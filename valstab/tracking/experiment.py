"""MLflow's experiment, and the SQLite database that holds it."""

import os
import secrets
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow
import platformdirs
from filelock import FileLock

from valstab.hashing import content_hash
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
    if urlparse(uri).scheme in {"", "file"} and uri != "databricks":
        raise TrackingError(
            "MLflow's file store can't hold the metric rank_order beside rank_order/KEY; let MLFLOW_TRACKING_URI name "
            "a database or a server, such as sqlite:///mlflow.db, or `mlflow migrate-filestore` an old ./mlruns"
        )
    with mlflow_errors(), _creation_lock(uri):
        _create_database(uri)
        experiment_id: str = mlflow.set_experiment(name).experiment_id
    return experiment_id


def _create_database(uri: str) -> None:
    """Create a SQLite database that does not exist, under a draft name first: a half-made one could not be opened."""
    address, mark, query = uri.partition("?")
    path = Path(unquote(address.removeprefix(SQLITE_PREFIX)))
    if not uri.startswith(SQLITE_PREFIX) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = f"-{secrets.token_hex(4)}.tmp"
    mlflow.MlflowClient(f"{address}{draft}{mark}{query}").search_experiments()
    path.with_name(path.name + draft).replace(path)


def _creation_lock(uri: str) -> FileLock:
    """Return the lock that lets one process at a time create this database or server's experiment.

    It is in the user's cache folder, which several nodes may share, or in a temporary folder if there is no other.
    """
    try:
        folder = platformdirs.user_cache_path("valstab", ensure_exists=True)
        usable = os.access(folder, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        folder = Path(tempfile.gettempdir()) / f"valstab-{os.getuid()}"
        folder.mkdir(exist_ok=True)
    return FileLock(folder / f"tracking-{content_hash(uri)}.lock")
