"""How MLflow is called: without its log lines, for a limited time, and with its errors in one line."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from threading import TIMEOUT_MAX
from typing import Any, cast
from urllib.parse import urlparse

import mlflow
from mlflow.exceptions import MlflowException
from requests import HTTPError, RequestException
from sqlalchemy.exc import SQLAlchemyError
from tenacity import RetryCallState, retry, retry_if_exception, wait_exponential

from valstab.config.secrets import redact
from valstab.errors import UserError
from valstab.tracking.waiting import within

SQL_DETAILS = re.compile(r" \[SQL: .*| \(Background on this error at: .*")
"""The parts of a database's error message that do not say what went wrong."""


UNAVAILABLE_CODES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
"""MLflow's error codes for failures of a server that may pass."""


TIMEOUT_VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
"""The environment variable with the time that a request to MLflow may take, in seconds."""


TIMEOUT_SECONDS = 60
"""The time that a request to MLflow may take, in seconds, unless the environment sets another."""


RETRIES_VARIABLE = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
"""The environment variable with the number of retries while a server refuses, or says that it is busy."""


MAX_RETRIES = 3
"""Retries while a server refuses, over about 12 seconds, unless the environment sets another number."""


RETRY_AFTER_VARIABLE = "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER"
"""The environment variable by which MLflow waits as long as a server asks for, however long that is."""


PASSING_STATUSES = (408, 425, 429)
"""HTTP status codes from 400 to 499 that say to try again later."""


LOG_LEVELS = {"mlflow": logging.WARNING, "mlflow.store": logging.CRITICAL}
"""Lowest level by logger. The errors that `mlflow.store` logs are also raised, so `mlflow_errors` words them."""


class TrackingError(UserError):
    """An MLflow server or database that cannot be used."""


class TrackingUnavailableError(TrackingError):
    """An MLflow server that does not answer at the moment."""


def tracking_client() -> mlflow.MlflowClient:
    """Return MLflow's client for the server or database that is set; each of its calls takes a limited time.

    Calls to a SQLite file are not limited: SQLite does so itself.
    """
    client = mlflow.MlflowClient()
    uri = mlflow.get_tracking_uri()
    return client if uri.startswith("sqlite:") else cast("mlflow.MlflowClient", _LimitedClient(client, uri))


class _LimitedClient:
    """A client of MLflow whose calls raise TimeoutError when their time is over."""

    def __init__(self, client: mlflow.MlflowClient, uri: str) -> None:
        self._client = client
        self._place = redact(uri)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        @wraps(method)
        def limited(*args: Any, **kwargs: Any) -> Any:
            seconds = request_seconds()
            try:
                return within(seconds, f"MLflow at {self._place}", lambda: method(*args, **kwargs))
            except (TimeoutError, MlflowException) as error:  # MLflow's own limit may end first
                if not _is_timeout(error):
                    raise
                raise TimeoutError(f"{self._place} took more than {seconds} seconds ({TIMEOUT_VARIABLE})") from error

        return limited


def request_seconds() -> int:
    """Return the time that a request to MLflow may take, in seconds.

    Raises:
        TrackingError: if the environment sets one that is no whole number above 0.
    """
    value = os.environ.get(TIMEOUT_VARIABLE) or str(TIMEOUT_SECONDS)
    if not (value.isdecimal() and 0 < int(value) < TIMEOUT_MAX):
        raise TrackingError(f"{TIMEOUT_VARIABLE}={value}: must be a whole number of seconds above 0")
    return int(value)


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Run calls to MLflow without its log lines and retries, and reduce any error of its layers to one line.

    An ImportError is that of a database's driver.

    Raises:
        TrackingUnavailableError: if MLflow's server does not answer at the moment.
        TrackingError: if MLflow cannot be used for another reason.
    """
    # A request that `tracking_client` has given up ends then too, and is not sent again.
    environment = {RETRIES_VARIABLE: "0", TIMEOUT_VARIABLE: str(request_seconds())}
    with _worded(OSError), _quiet(environment):
        yield


def _is_brief(error: BaseException) -> bool:
    """Return whether a server may answer in a moment, since it has refused at once."""
    return isinstance(error, TrackingUnavailableError) and not _is_timeout(error)


def _is_timeout(error: BaseException) -> bool:
    """Return whether an error comes from a limit of time."""
    return any(isinstance(cause, TimeoutError) for cause in _causes(error))


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and those that it came from."""
    causes: list[BaseException] = []
    while error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__ or error
    return causes


def _is_enough(state: RetryCallState) -> bool:
    return state.attempt_number > int(os.environ.get(RETRIES_VARIABLE, MAX_RETRIES))


patient = retry(
    retry=retry_if_exception(_is_brief),
    wait=wait_exponential(multiplier=2),
    stop=_is_enough,
    reraise=True,
)
"""Repeats a function that calls MLflow while the server refuses, as it does while it restarts."""


@patient
def require_mlflow() -> None:
    """Check that MLflow can be used.

    Raises:
        TrackingError: if it can't.
    """
    with mlflow_errors():
        tracking_client().search_experiments(max_results=1)


@contextmanager
def mlflow_reading() -> Iterator[None]:
    """Read from MLflow without its log lines; it repeats requests a few times, and each takes a limited time.

    What the environment sets is kept.

    Raises:
        TrackingUnavailableError: if MLflow's server does not answer at the moment.
        TrackingError: if MLflow cannot be used for another reason.
    """
    defaults = {
        RETRIES_VARIABLE: str(MAX_RETRIES),
        TIMEOUT_VARIABLE: str(request_seconds()),
        RETRY_AFTER_VARIABLE: "false",
    }
    with _worded(RequestException), _quiet({name: os.environ.get(name, value) for name, value in defaults.items()}):
        yield


@contextmanager
def _worded(fault: type[OSError]) -> Iterator[None]:
    """Reduce an error of MLflow's layers, or of the kind `fault`, to one line."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError, fault) as error:
        message = redact(SQL_DETAILS.sub("", " ".join(str(error).split())))
        error_class = TrackingUnavailableError if _is_unavailable(error) else TrackingError
        raise error_class(f"MLflow (MLFLOW_TRACKING_URI) can't be used: {message}") from error


@contextmanager
def _quiet(environment: Mapping[str, str]) -> Iterator[None]:
    """Limit MLflow's log lines and set variables inside the block, and restore both after it."""
    levels = {name: logging.getLogger(name).level for name in LOG_LEVELS}
    before = {name: os.environ.get(name) for name in environment}
    for name, level in LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _is_unavailable(error: BaseException) -> bool:
    """Return whether an error comes from a server that does not answer, so that waiting can help."""
    if isinstance(error, TimeoutError):
        return True
    causes = _causes(error)
    if urlparse(mlflow.get_tracking_uri()).scheme not in {"http", "https"} or any(map(_is_refusal, causes)):
        return False
    return any(
        isinstance(cause, OSError) or getattr(cause, "error_code", None) in UNAVAILABLE_CODES for cause in causes
    )


def _is_refusal(error: BaseException) -> bool:
    """Return whether a server has answered that it will not do this, such as with 413: too large."""
    status = getattr(error.response, "status_code", None) if isinstance(error, HTTPError) else None
    return status is not None and 400 <= status < 500 and status not in PASSING_STATUSES  # noqa: PLR2004
