"""MLflow's experiment, and the SQLite database that holds it."""

import secrets
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow
from mlflow.entities import Experiment, LifecycleStage
from mlflow.exceptions import MlflowException

from valstab.tracking.client import TrackingError, mlflow_errors, tracking_client

SQLITE_PREFIX = "sqlite:///"
"""Start of the URI of a SQLite database."""


RESOURCE_ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
"""MLflow's error code for a name that is taken."""


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
    with mlflow_errors():
        _create_database(uri)
        client = tracking_client()
        experiment = client.get_experiment_by_name(name) or _created(client, name)
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"MLflow's experiment {name} is deleted; restore it (`mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}`), or choose another (tracking.experiment)"
        )
    experiment_id: str = experiment.experiment_id
    return experiment_id


def _created(client: mlflow.MlflowClient, name: str) -> Experiment:
    """Create an experiment and return it, or the one that another process has created in the meantime."""
    try:
        client.create_experiment(name)
    except MlflowException as error:
        if error.error_code != RESOURCE_ALREADY_EXISTS:
            raise
    return client.get_experiment_by_name(name)


def _create_database(uri: str) -> None:
    """Create a SQLite database that does not exist, under a draft name first: a half-made one could not be opened.

    If another process creates it at the same time, that one stays.
    """
    address, mark, query = uri.partition("?")
    path = Path(unquote(address.removeprefix(SQLITE_PREFIX)))
    if not uri.startswith(SQLITE_PREFIX) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = f"-{secrets.token_hex(4)}.tmp"
    draft = path.with_name(path.name + suffix)
    mlflow.MlflowClient(f"{address}{suffix}{mark}{query}").search_experiments()
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        draft.unlink()
    except OSError:  # a file system without hard links
        draft.replace(path)
    else:
        draft.unlink()
