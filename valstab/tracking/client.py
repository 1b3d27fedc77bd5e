"""How MLflow is called: without its log lines, with few retries, and with its errors in one line."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlparse

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from valstab.config.secrets import redact
from valstab.errors import UserError

SQL_DETAILS = re.compile(r" \[SQL: .*| \(Background on this error at: .*")
"""The parts of a database's error message that do not say what went wrong."""


UNAVAILABLE_CODES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
"""MLflow's error codes for failures of a server that may pass."""


RETRIES_VARIABLE = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
"""The environment variable from which MLflow reads its number of retries."""


MAX_HTTP_RETRIES = "3"
"""Retries of a request to a server, over about 12 seconds: MLflow's default takes minutes."""


LOG_LEVELS = {"mlflow": logging.WARNING, "mlflow.store": logging.CRITICAL}
"""Lowest level by logger. The errors that `mlflow.store` logs are also raised, so `mlflow_errors` words them."""


class TrackingError(UserError):
    """An MLflow server or database that cannot be used."""


class TrackingUnavailableError(TrackingError):
    """An MLflow server that does not answer at the moment."""


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Run calls to MLflow with `quiet_mlflow`, and reduce any error of its layers to one line.

    An ImportError is that of a database's driver.

    Raises:
        TrackingUnavailableError: if MLflow's server does not answer at the moment.
        TrackingError: if MLflow cannot be used for another reason.
    """
    try:
        with quiet_mlflow():
            yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        message = redact(SQL_DETAILS.sub("", " ".join(str(error).split())))
        error_class = TrackingUnavailableError if _is_unavailable(error) else TrackingError
        raise error_class(f"MLflow (MLFLOW_TRACKING_URI) can't be used: {message}") from error


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Limit MLflow's log lines and retries inside the block, and restore both after it.

    A number of retries that the environment sets is kept.
    """
    levels = {name: logging.getLogger(name).level for name in LOG_LEVELS}
    is_own = RETRIES_VARIABLE not in os.environ
    for name, level in LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)
    os.environ.setdefault(RETRIES_VARIABLE, MAX_HTTP_RETRIES)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if is_own:
            os.environ.pop(RETRIES_VARIABLE, None)


def _is_unavailable(error: BaseException) -> bool:
    """Return whether an error comes from a server that does not answer, so that waiting can help."""
    causes: list[BaseException] = []
    while error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__ or error
    return urlparse(mlflow.get_tracking_uri()).scheme in {"http", "https"} and any(
        isinstance(cause, OSError) or getattr(cause, "error_code", None) in UNAVAILABLE_CODES for cause in causes
    )
