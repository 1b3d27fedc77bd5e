"""A run's record on disk and, when MLflow can be reached, its run in MLflow.

MLflow's own setting MLFLOW_TRACKING_URI names the server or database, by default `mlflow.db` in the launch directory.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import mlflow

from valstab.config.labels import run_name
from valstab.config.schema import Config
from valstab.config.terminal import say, warn
from valstab.hashing import content_hash
from valstab.protocol.plan import Plan
from valstab.tracking.client import TrackingError, TrackingUnavailableError
from valstab.tracking.names import error_tag
from valstab.tracking.parameters import run_parameters, run_size
from valstab.tracking.publish import PublishedRun, amend, publish
from valstab.tracking.record import Record
from valstab.tracking.resume import resume_token
from valstab.tracking.view import how_to_see


class Tracking:
    """A run's record: written to disk and, when MLflow can be reached, published there.

    If MLflow cannot be reached, one line on standard error says so, and `python -m valstab sync` logs the run later.

    Args:
        record: the run's data when it begins.
        results: the folder of the run's results; the record is written beside it.

    Raises:
        TrackingError: if MLflow cannot be used as it is set, so that retrying will not help.
    """

    def __init__(self, record: Record, results: Path) -> None:
        self.record = record
        self.run: PublishedRun | None = None
        """The run in MLflow; None until MLflow has it."""
        self._results = results
        self._uploaded: set[Path] = set()
        self._has_warned = self._is_away = False
        record.write(results)
        try:
            self.run = publish(record)
        except TrackingUnavailableError as error:
            self._warn_offline(error)

    def end(self, status: str, error: BaseException | None = None) -> None:
        """End the run: write the record, and publish it with the files that are there.

        Args:
            status: MLflow's status of the run: FINISHED, FAILED or KILLED.
            error: why it did not finish.
        """
        self.record.status = status
        self.record.ended = _now()
        if error is not None:
            self.record.tags["error"] = error_tag(error)
        self.record.write(self._results)
        self._publish()

    def complete(self, problem: BaseException | None = None) -> None:
        """Upload the files that were written after the end, if MLflow has the others.

        Args:
            problem: why some of them are missing.
        """
        if problem is not None:
            self.record.tags["error"] = error_tag(problem)
            self.record.write(self._results)
        if self._is_away or self.run is None:
            return
        try:
            amend(self.run.id, self.record, self._results, self._uploaded)
        except TrackingError as error:
            self._warn_offline(error)
            return
        self.record.logged = True
        self.record.write(self._results)

    def print_location(self) -> None:
        """Print how to find the run in MLflow, if all of it is there."""
        if self.record.logged and self.run:
            say(how_to_see(self.run.experiment_id, self.run.id))

    def _publish(self) -> None:
        try:
            self.run = publish(self.record, self._results, uploaded=self._uploaded)
            self._is_away = False
        except TrackingError as error:
            self._warn_offline(error)

    def _warn_offline(self, error: TrackingError) -> None:
        """Write one line on standard error, the first time only."""
        if not self._has_warned:
            warn(f"valstab: {error}; results stay in {self._results}, `python -m valstab sync` logs them")
        self._has_warned = self._is_away = True


@contextmanager
def tracked_run(config: Config, plan: Plan, tags: Mapping[str, str], results: Path) -> Iterator[Tracking]:
    """Open an MLflow run with its parameters and tags, or reopen the run of an earlier, unfinished start.

    An exception in the block ends the run as failed, an interruption as killed; the tag `error` names either. After the
    block has ended the run itself, no exception changes that.

    Args:
        config: the configuration.
        plan: the run's plan.
        tags: tags to add.
        results: the folder of the run's results.

    Raises:
        TrackingError: if MLflow cannot be used as it is set.
    """
    sizes = run_size(plan)
    key = content_hash([asdict(config), sizes, mlflow.get_tracking_uri()])
    with resume_token(Path(config.store.path) if config.store.path else None, key) as token:
        tracking = Tracking(
            Record(
                experiment=config.tracking.experiment,
                name=f"{run_name(config)} · {' x '.join(sizes.values())}",
                resume_token=token,
                began=_now(),
                parameters={**run_parameters(config), **sizes},
                tags={"wording": plan.task.wording, "wording_sha256": plan.task.digest, **tags},
            ),
            results,
        )
        try:
            yield tracking
        except BaseException as error:
            if tracking.record.ended is None:
                tracking.end("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED", error)
                tracking.complete()
            raise


def _now() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
