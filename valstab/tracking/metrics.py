"""A run's results as the metrics and tags of its record."""

from collections.abc import Mapping
from dataclasses import asdict

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from valstab.protocol.collected import RunCost
from valstab.results.results import Results
from valstab.tracking.names import metric_names
from valstab.tracking.record import Record


def log_results(record: Record, results: Results, cost: RunCost, description: str, engine: Mapping[str, str]) -> None:
    """Add a run's results to its record.

    No name has a `/`: MLflow draws such metrics above all others.

    Args:
        record: the record to add to.
        results: logged as metrics, as is the cost.
        cost: the cost of the run.
        description: the text of the run's page in MLflow, in Markdown.
        engine: the engine's settings as they were applied, logged as tags.
    """
    document = results.document()
    names = metric_names((f"stability.{key}",) for key in document["per_key"])
    per_key = {names[f"stability.{key}",]: stability["mean"] for key, stability in document["per_key"].items()}
    record.metrics = {name: [value] for name, value in {**results.headline(), **per_key, **asdict(cost)}.items()}
    record.metrics |= {f"seed.{name}": list(per_seed.values()) for name, per_seed in document["per_seed"].items()}
    record.metrics |= {f"read.{name}": [count] for name, count in results.readings.items()}
    record.tags |= {f"engine.{name}": value for name, value in engine.items()}
    record.tags[MLFLOW_RUN_NOTE] = description
