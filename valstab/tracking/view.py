"""How MLflow's pages show an experiment: a note, and tables of runs with chosen columns, each with its address.

MLflow keeps a table as a shared view: JSON in a tag of the experiment. A key in the address selects it.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from valstab.config.secrets import redact
from valstab.tracking.client import mlflow_errors, tracking_client

RUNS_VIEW = "valstab"
"""The key of the table of all runs of an experiment."""


VIEW_TAG = "mlflow.sharedViewState.{key}"
"""The experiment's tag with a table."""


LOCAL_PAGES = "http://127.0.0.1:5000"
"""The address of MLflow's pages when `valstab ui` shows a database."""


FIRST_PARAMETERS = ("model", "n_messages")
"""The parameters before the metrics of a table, after those that it is about: a laptop's screen has room for few."""


LAST_PARAMETERS = ("n_personas", "n_topics", "n_seeds", "population", "task", "quantization", "engine")
"""The parameters after the metrics."""


METRICS = (
    *("rank_order", "rank_order_chance", "ipsative", "ipsative_chance"),
    *("rank_order_low", "rank_order_high", "ipsative_low", "ipsative_high", "answer_mass"),
)
"""The metrics that a table shows."""


CHARTS = ("rank_order", "ipsative", "answer_mass")
"""The metrics with a chart of their own above all others."""


NOTE = (
    "`_low` and `_high` are a stability's 95% interval for other people, topics and seeds. One below `_chance`, what "
    "chance alone reaches, shows nothing."
)
"""The text above the runs of an experiment, unless it has another."""


def describe_experiment(experiment_id: str) -> None:
    """Set an experiment's note, if it has none, and the table of its runs.

    Raises:
        TrackingUnavailableError: if MLflow's server does not answer at the moment.
    """
    with mlflow_errors():
        client = tracking_client()
        tags = client.get_experiment(experiment_id).tags
        if MLFLOW_RUN_NOTE not in tags:
            _set_tag(client, experiment_id, MLFLOW_RUN_NOTE, NOTE)
    add_view(experiment_id, RUNS_VIEW)


def add_view(experiment_id: str, key: str, *, parameters: Sequence[str] = (), search: str = "") -> None:
    """Add a table to an experiment's page, unless it is there. A name that no run has makes no column.

    Args:
        experiment_id: the id of the experiment.
        key: the key of the table, as for `address`.
        parameters: the parameters to show first.
        search: which runs it shows, in the syntax of MLflow's search.

    Raises:
        TrackingUnavailableError: if MLflow's server does not answer at the moment.
    """
    tag, view = VIEW_TAG.format(key=key), json.dumps(_view(parameters, search))
    with mlflow_errors():
        client = tracking_client()
        if client.get_experiment(experiment_id).tags.get(tag) != view:
            _set_tag(client, experiment_id, tag, view)


def address(experiment_id: str, key: str = RUNS_VIEW) -> str:
    """Return the address of a table. MLflow's server has it, or for a database `valstab ui`."""
    uri = mlflow.get_tracking_uri()
    pages = redact(uri).rstrip("/") if uri.startswith(("http://", "https://")) else LOCAL_PAGES
    return f"{pages}/#{place(experiment_id, key)}"


def place(experiment_id: str, key: str = RUNS_VIEW) -> str:
    """Return the part of an address that says which table to show.

    Example:
        >>> place("1")
        '/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=valstab'
    """
    return f"/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={key}"


def how_to_see(experiment_id: str, run_id: str, key: str = RUNS_VIEW) -> str:
    """Return the lines at a command's end that say where its runs can be compared."""
    is_served = mlflow.get_tracking_uri().startswith(("http://", "https://"))
    command = "" if is_served else "python -m valstab ui  "
    return f"compare runs        {command}(this is run {run_id})\n{'':20}{address(experiment_id, key)}"


def _set_tag(client: mlflow.MlflowClient, experiment_id: str, tag: str, value: str) -> None:
    """Set a tag of an experiment, unless MLflow refuses: another process may be at it, and no run depends on it."""
    with suppress(MlflowException):
        client.set_experiment_tag(experiment_id, tag, value)


def _view(parameters: Sequence[str], search: str) -> dict[str, Any]:
    """Return a table as MLflow keeps it, without its defaults. In the order of a metric, jobs stand beside runs."""
    columns = [
        *(f"params.`{name}`" for name in (*parameters, *FIRST_PARAMETERS)),
        *(f"metrics.`{name}`" for name in METRICS),
        *(f"params.`{name}`" for name in LAST_PARAMETERS),
    ]
    columns = list(dict.fromkeys(columns))
    section = "valstab-stability"
    charts: list[dict[str, Any]] = [
        {"uuid": f"valstab-{name}", "type": "BAR", "metricKey": name, "displayName": name, "runsCountToCompare": 20}
        for name in CHARTS
    ]
    chart = {
        "uuid": "valstab-parallel",
        "type": "PARALLEL",
        "selectedMetrics": ["rank_order"],
        "runsCountToCompare": 20,
    }
    charts.append({**chart, "selectedParams": list(dict.fromkeys([*parameters, "n_messages"])), "showAllRuns": False})
    sections = {section: "Stability", "valstab-others": "Model metrics", "valstab-system": "System metrics"}
    return {
        "searchFilter": search,
        "orderByKey": "metrics.`rank_order`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": [
            {**each, "metricSectionId": section, "deleted": False, "isGenerated": False} for each in charts
        ],
        "compareRunSections": [
            {"uuid": uuid, "name": name, "display": True, "isReordered": False, "deleted": False, "isGenerated": True}
            for uuid, name in sections.items()
        ],
        "isAccordionReordered": True,
    }
