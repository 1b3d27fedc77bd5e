"""MLflow's experiment, where a run is logged."""

from urllib.parse import urlparse

import mlflow
from mlflow.entities import Experiment, LifecycleStage
from mlflow.exceptions import MlflowException

from valstab.tracking.client import TrackingError, mlflow_errors, tracking_client
from valstab.tracking.database import create_database

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
            "a folder of files (MLflow's file store) can't be used; let MLFLOW_TRACKING_URI name a database or a "
            "server, such as sqlite:///mlflow.db, or `mlflow migrate-filestore` an old ./mlruns"
        )
    with mlflow_errors():
        create_database(uri)
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
