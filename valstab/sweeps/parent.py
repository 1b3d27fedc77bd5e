"""The MLflow run of a sweep, the parent of its jobs' runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from valstab.config.terminal import say
from valstab.results.write import set_aside, write_methods
from valstab.sweeps.describe import as_markdown, as_text, describe_failures, how_to_compare
from valstab.sweeps.methods import study_methods, table_of_runs
from valstab.sweeps.overrides import sweep_name
from valstab.sweeps.picture import draw
from valstab.sweeps.table import best_and_spread, job_table, swept_keys
from valstab.tracking.client import mlflow_errors, patient, tracking_client
from valstab.tracking.experiment import open_experiment
from valstab.tracking.names import MAX_VALUE_CHARACTERS, error_tag
from valstab.tracking.provenance import provenance
from valstab.tracking.record import FINISHED
from valstab.tracking.view import add_view, describe_experiment, how_to_see
from valstab.whole_file import whole_file

ENDED_EARLY = "valstab: the sweep was ended before all of its jobs were done"
"""The description of the failures of a sweep that was interrupted."""


RERUN_TAG = "rerun"
"""The tag with the command that runs one job again, without the job's own overrides."""


@patient
def open_parent(experiment: str, overrides: Sequence[str], rerun: str, command: str) -> str:
    """Create the run of a sweep, the parent of its jobs' runs, and return its id. Its name begins with what varies.

    Args:
        experiment: the name of the MLflow experiment.
        overrides: those of the sweep.
        rerun: the command that runs one job again, without the job's own overrides.
        command: the command line of the sweep.

    Raises:
        TrackingError: if MLflow can't be reached or used.
    """
    experiment_id = open_experiment(experiment)
    describe_experiment(experiment_id)
    tags = {"overrides": " ".join(overrides), RERUN_TAG: rerun}
    with mlflow_errors():
        client = tracking_client()
        run = client.create_run(experiment_id, run_name=sweep_name(overrides)[:MAX_VALUE_CHARACTERS], tags=tags)
        run_id: str = run.info.run_id
        client.log_dict(run_id, provenance(command), "provenance.json")
    return run_id


def finish_sweep(parent: str, folder: Path, *, interrupted: bool = False, end_running: bool = False) -> str:
    """Summarise a sweep in its run, on standard output and in `folder`; return a description of failures, if any.

    Args:
        parent: the id of the sweep's run.
        folder: the folder of the sweep.
        interrupted: whether the sweep was ended before all jobs were done.
        end_running: whether to mark jobs that are still running as killed.

    Raises:
        TrackingError: if MLflow can't be reached or used.
        OutputError: if standard output is closed or full.
    """
    table, failures, text = _close(parent, folder, interrupted=interrupted, end_running=end_running)
    if table.empty:
        return failures
    problems: list[str] = []
    with set_aside(problems, "sweep.png"):
        _draw(parent, table, folder)
    with set_aside(problems, "methods.md"):
        _write_methods(parent, table, folder)
    say(text)
    return "\n".join([*filter(None, [failures]), *(f"valstab: not written: {problem}" for problem in problems)])


@patient
def _close(parent: str, folder: Path, *, interrupted: bool, end_running: bool) -> tuple[pd.DataFrame, str, str]:
    """End a sweep's run with its summary, which is also written to `folder`. If no job began, the run is deleted.

    Returns:
        The table of the jobs, a description of failures, and the summary for a terminal.
    """
    with mlflow_errors():
        client = tracking_client()
        table = job_table(jobs_of(parent, end_running=end_running))
        run = client.get_run(parent)
        failures = ENDED_EARLY if interrupted else describe_failures(table, run.data.tags[RERUN_TAG])
        if table.empty:
            client.delete_run(parent)
            return table, failures, ""
        client.set_tag(parent, MLFLOW_RUN_NOTE, as_markdown(table, failures, parent))
        if failures:
            client.set_tag(parent, "error", failures.splitlines()[0])
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / "sweep.csv") as draft:
            table.to_csv(draft, index=False)
        client.log_artifact(parent, str(folder / "sweep.csv"))
        for name, value in best_and_spread(table).items():
            client.log_metric(parent, name, value)
        add_view(
            run.info.experiment_id,
            parent,
            parameters=swept_keys(table),
            search=f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'",
        )
        client.set_terminated(parent, "KILLED" if interrupted else "FAILED" if failures else FINISHED)
    lines = [
        "",
        as_text(table),
        "",
        f"table and picture   {folder}",
        how_to_see(run.info.experiment_id, parent, key=parent),
        f"test differences    {how_to_compare(parent)}",
    ]
    return table, failures, "\n".join(lines)


def _draw(parent: str, table: pd.DataFrame, folder: Path) -> None:
    """Draw the picture of a sweep in `folder`, and log it."""
    with mlflow_errors():
        client = tracking_client()
        if picture := draw(table, client.get_run(parent).info.run_name):
            with whole_file(folder / "sweep.png") as draft:
                picture.savefig(draft, dpi=150)
            client.log_artifact(parent, str(folder / "sweep.png"))


def _write_methods(parent: str, table: pd.DataFrame, folder: Path) -> None:
    """Write and log the methods of a sweep, and its table in LaTeX, if some of its runs wrote theirs."""
    files = {job: folder / str(job) / "results" / "methods.md" for job in table["job"]}
    of_runs = {job: file.read_text(encoding="utf-8") for job, file in files.items() if file.exists()}
    if not of_runs:
        return
    write_methods(study_methods(of_runs, table), table_of_runs(table), folder)
    with mlflow_errors():
        for name in ("methods.md", "methods.tex", "tables.tex"):
            tracking_client().log_artifact(parent, str(folder / name))


def jobs_of(parent: str, *, end_running: bool) -> list[mlflow.entities.Run]:
    """Return the runs of a sweep's jobs. With `end_running`, those that still have the status RUNNING become KILLED."""
    client = tracking_client()
    found = _children(client, parent)
    running = [run.info.run_id for run in found if run.info.status == "RUNNING"]
    if not running or not end_running:
        return found
    for run_id in running:
        client.set_terminated(run_id, "KILLED")
    return _children(client, parent)


def record_failure(error: BaseException, tags: Mapping[str, str]) -> None:
    """Mark a job of a sweep as failed in MLflow, if its process died or failed before its own run began.

    Raises:
        TrackingError: if MLflow can't be reached or used.
    """
    with mlflow_errors():
        _record_failure(error, tags)


def _record_failure(error: BaseException, tags: Mapping[str, str]) -> None:
    client = tracking_client()
    parent = client.get_run(tags[MLFLOW_PARENT_RUN_ID])
    begun = [run for run in _children(client, parent.info.run_id) if run.data.tags["sweep.job"] == tags["sweep.job"]]
    if not begun:
        name = tags["overrides"][:MAX_VALUE_CHARACTERS]
        begun = [client.create_run(parent.info.experiment_id, run_name=name, tags=dict(tags))]
    for run in begun:
        if run.info.status == "RUNNING":
            client.set_tag(run.info.run_id, "error", error_tag(error))
            client.set_terminated(run.info.run_id, "FAILED")


def _children(client: mlflow.MlflowClient, parent: str) -> list[mlflow.entities.Run]:
    experiments = [one.experiment_id for one in client.search_experiments()]
    found: list[mlflow.entities.Run] = []
    token = None
    while True:
        page = client.search_runs(experiments, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return found
