"""The connection to MLflow: its experiment, its database, and its errors in one line."""

import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow
import platformdirs
from filelock import FileLock
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from valstab.config.secrets import redact
from valstab.errors import UserError

SQLITE_PREFIX = "sqlite:///"


SQL_DETAILS = re.compile(r" \[SQL: .*| \(Background on this error at: .*")
"""What a database's error says beside what went wrong."""


UNAVAILABLE_CODES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
"""What MLflow calls the failures of a server that waiting may mend."""


HTTP_RETRIES = "3"
"""How often a request to a server is tried again, over about 12 seconds: the results wait on disk after that."""


class TrackingError(UserError):
    """An MLflow server or database that can't be used."""


class TrackingUnavailableError(TrackingError):
    """An MLflow server that does not answer now."""


def open_experiment(name: str) -> str:
    """Give an experiment's id, and make it (and the database) if there is none yet.

    Raises:
        MlflowAwayError: if MLflow can't be reached now.
        TrackingError: if it can't be used for another reason.
    """
    configure_logging()
    uri = mlflow.get_tracking_uri()
    if urlparse(uri).scheme in {"", "file"}:
        raise TrackingError(
            "MLflow's file store can't hold the metric rank_order beside rank_order/KEY; let MLFLOW_TRACKING_URI name "
            "a database or a server, such as sqlite:///mlflow.db, or `mlflow migrate-filestore` an old ./mlruns"
        )
    with mlflow_errors(), _creation_lock():
        _make_database(uri)
        experiment_id: str = mlflow.set_experiment(name).experiment_id
    return experiment_id


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Turn what MLflow raises, through all of its layers, into one line.

    Raises:
        MlflowAwayError: if MLflow can't be reached now.
        TrackingError: if it can't be used for another reason.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        message = redact(SQL_DETAILS.sub("", " ".join(str(error).split())))
        kind = TrackingUnavailableError if _may_come_back(error) else TrackingError
        raise kind(f"MLflow (MLFLOW_TRACKING_URI) can't be used: {message}") from error


def _may_come_back(error: BaseException) -> bool:
    """Say whether this is a server that does not answer: waiting can help."""
    causes: list[BaseException] = []
    while error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__ or error
    return urlparse(mlflow.get_tracking_uri()).scheme in {"http", "https"} and any(
        isinstance(each, OSError) or getattr(each, "error_code", None) in UNAVAILABLE_CODES for each in causes
    )


def _make_database(uri: str) -> None:
    """Make a new SQLite database under another name first: a kill in between would leave one that can't be opened."""
    path = Path(unquote(uri.removeprefix(SQLITE_PREFIX)))
    if not uri.startswith(SQLITE_PREFIX) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = f"-{secrets.token_hex(4)}.tmp"
    mlflow.MlflowClient(uri + draft).search_experiments()
    path.with_name(path.name + draft).replace(path)


def configure_logging() -> None:
    """Let libraries that MLflow uses say what goes wrong only, and not wait for minutes where no server is."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", HTTP_RETRIES)
    for name in ("alembic", "matplotlib", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # what it raises is explained in one line


def _creation_lock() -> FileLock:
    """Let one process at a time create the database and the experiment."""
    return FileLock(platformdirs.user_cache_path("valstab", ensure_exists=True) / "tracking.lock")
