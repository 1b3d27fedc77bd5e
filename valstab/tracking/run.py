"""Log a run to MLflow. Where is MLflow's own setting (MLFLOW_TRACKING_URI), by default beside the launch directory."""

import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from rich.console import Console

from valstab.config.labels import flatten, run_name
from valstab.config.schema import Config
from valstab.hashing import content_hash
from valstab.protocol.collected import RunCost
from valstab.protocol.plan import Plan
from valstab.results.results import Results
from valstab.tracking.client import TrackingError, TrackingUnavailableError
from valstab.tracking.names import error_tag, metric_names, shorten
from valstab.tracking.provenance import provenance
from valstab.tracking.publish import publish
from valstab.tracking.record import Record
from valstab.tracking.resume import resume_token

NOT_PARAMETERS = re.compile(
    # `quantization` is what counts, and begins as the model's.
    r"model\.quantization|.*\b_target_$|.*\.name$|(task|store|tracking|dry_run)\b"
    r"|population\.(personas|introduction|seeds)|topics\.openings"
)
"""Settings that are no parameters."""


class Tracking:
    """A run's record, in its file and, as far as MLflow can be reached, there.

    What MLflow can't be told now is said in one line on standard error; `python -m valstab.sync` tells it later.

    Args:
        record: what is known when the run begins.
        results: the folder of its results, which the record is written beside.

    Raises:
        TrackingError: if MLflow can't be used by what is set, which waiting would not change.
    """

    def __init__(self, record: Record, results: Path) -> None:
        self.record = record
        self.run_id: str | None = None
        """In MLflow, once it is known there."""
        self._results = results
        self._is_told = False
        record.write(results)
        try:
            self.run_id = publish(record)
        except TrackingUnavailableError as error:
            self._tell(error)

    def end(self, status: str) -> None:
        """Write the record, and log all of it and the results' files."""
        self.record.status = status
        self.record.ended = _now()
        self.record.write(self._results)
        try:
            self.run_id = publish(self.record, self._results)
        except TrackingError as error:
            self._tell(error)
            return
        self.record.logged = True
        self.record.write(self._results)

    def print_location(self) -> None:
        """Print how to find the run in MLflow, if it is there."""
        if self.record.logged:
            Console(highlight=False, markup=False, soft_wrap=True).print(
                f"compare runs        mlflow ui  (this is run {self.run_id})"
            )

    def _tell(self, error: TrackingError) -> None:
        if not self._is_told:
            sys.stderr.write(f"valstab: {error}; results stay in {self._results}, `python -m valstab.sync` logs them\n")
        self._is_told = True


@contextmanager
def tracked_run(config: Config, plan: Plan, tags: Mapping[str, str], results: Path) -> Iterator[Tracking]:
    """Open an MLflow run with its parameters and tags; an earlier start's, if that did not finish.

    An exception marks it as failed, an interruption as killed, and both are named in the tag `error`. Otherwise
    the block itself ends it.

    Args:
        config: the configuration.
        plan: what the run does.
        tags: more of them.
        results: the folder of its results.

    Raises:
        TrackingError: if MLflow can't be used by what is set.
    """
    plain = asdict(config)
    key = content_hash([plain, mlflow.get_tracking_uri()])
    with resume_token(Path(config.store.path) if config.store.path else None, key) as number:
        tracking = Tracking(
            Record(
                experiment=config.tracking.experiment,
                name=run_name(config),
                resume_token=number,
                began=_now(),
                parameters=_parameters(config, plain),
                tags={**_wording(plan), **provenance(), **tags},
            ),
            results,
        )
        try:
            yield tracking
        except BaseException as error:
            tracking.record.tags["error"] = error_tag(error)
            tracking.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise


def _now() -> int:
    return time.time_ns() // 1_000_000


def log_results(record: Record, results: Results, work: RunCost, description: str, engine: Mapping[str, str]) -> None:
    """Add the metrics, the description (in Markdown), and what the engine really used (as tags)."""
    document = results.document()
    names = metric_names(("rank_order", key) for key in document["per_key"])
    per_key = {names["rank_order", key]: stability["mean"] for key, stability in document["per_key"].items()}
    record.metrics = {name: [value] for name, value in {**results.headline(), **per_key, **asdict(work)}.items()}
    record.metrics |= {f"seed/{name}": list(per_seed.values()) for name, per_seed in document["per_seed"].items()}
    record.tags |= {f"engine.{name}": value for name, value in engine.items()}
    record.tags[MLFLOW_RUN_NOTE] = description


def _parameters(config: Config, plain: Mapping[str, Any]) -> dict[str, str]:
    """Give the parameters that runs are compared by: names of options, and settings that are numbers or short words.

    What an option's file says stands behind its name; all of it is in `config.yaml`.
    """
    names = {
        "model": config.model.name,
        "engine": config.engine.name,
        "population": config.population.name,
        "topics": config.topics.name,
        "task": config.task.name,
    }
    compared = {key: value for key, value in flatten(plain).items() if not NOT_PARAMETERS.match(key)} | names
    return {key: shorten(value) for key, value in compared.items()}


def _wording(plan: Plan) -> dict[str, str]:
    return {"wording": plan.task.wording, "wording_sha256": plan.task.digest}
