"""Many runs at once on an MLflow server with PostgreSQL and an artifact store, which restarts while they log."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from mlflow import MlflowClient

from tests.robustness.finding import Finding
from tests.robustness.load import DEADLINE, RUNS, free_port, measured, serving, started, unlogged
from valstab.tracking.publish import RESUME_TAG
from valstab.tracking.record import read_record, results_of

ACCOUNT = "postgres"
"""The account that PostgreSQL runs as if this process is root's: it refuses to be root."""


def why_not() -> str:
    """Return why PostgreSQL can't be started here; an empty text if it can."""
    if _binaries() is None:
        return "there is no PostgreSQL (Debian: apt-get install postgresql)"
    return "" if find_spec("psycopg2") else "there is no psycopg2 (pip install psycopg2-binary)"


def findings() -> Iterator[Finding]:
    """Start the runs at once, restart the server meanwhile, and log what is missing."""
    what = "runs at once on MLflow with PostgreSQL, restarted meanwhile"
    if reason := why_not():
        yield Finding(f"{what}: not tried, as {reason}", 0, 0, "-")
        return
    with tempfile.TemporaryDirectory() as folder:
        lost = lost_after_restart(Path(folder), RUNS, workers=4)
    yield Finding(what, RUNS, RUNS - len(lost), "; ".join(lost) or "nothing")


@contextmanager
def database() -> Iterator[str]:
    """Start a PostgreSQL server with an empty database on this machine, and yield its URI."""
    binaries = _binaries()
    assert binaries is not None
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = ACCOUNT if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    port = free_port()

    def command(name: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / name, "--pgdata", folder / "data", *arguments],
            cwd=folder,
            user=user,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    try:
        command("initdb", "--username=mlflow", "--auth=trust", "--encoding=UTF8", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        command("pg_ctl", "start", "--wait", "--log", str(folder / "log.txt"), "--options", options)
        try:
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        finally:
            command("pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


def lost_after_restart(folder: Path, number: int, workers: int) -> list[str]:
    """Start so many runs at once, kill MLflow when one has its results, start it again, and return what was lost.

    What runs could not log, `valstab sync` logs at the end.
    """
    with database() as backend, serving(folder, backend, workers) as server:
        studies = [("model=random", f"seeds=[{i}]", "population.limit=4") for i in range(number)]
        runs = [started(folder, name, server.uri, *study) for name, study in enumerate(studies)]
        end = time.monotonic() + DEADLINE
        while not any(folder.glob("*/results/stability.json")) and time.monotonic() < end:
            time.sleep(0.05)
        server.stop(signal.SIGKILL)
        time.sleep(1)
        server.start()
        codes = [run.wait(DEADLINE) for run in runs]
        synced = measured(folder, "valstab", "sync", ".", MLFLOW_TRACKING_URI=server.uri)
        lost = [f"run {name} ended with {code}" for name, code in enumerate(codes) if code]
        lost += ["sync failed"] if synced.code else []
        return lost + list(_differences(MlflowClient(tracking_uri=server.uri), folder))


def _differences(client: MlflowClient, folder: Path) -> Iterator[str]:
    """Yield how MLflow's runs differ from the records in a folder: one run for each, with all that it has."""
    experiment = client.get_experiment_by_name("valstab")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    by_token = {run.data.tags[RESUME_TAG]: run.info.run_id for run in found}
    files = sorted(folder.glob("*/results.mlflow.json"))
    tokens = {read_record(file).resume_token: results_of(file) for file in files}
    doubles = Counter(run.data.tags[RESUME_TAG] for run in found) - Counter(dict.fromkeys(by_token, 1))
    yield from (f"{tokens.get(token, token)} is there twice" for token in doubles)
    yield from (f"{results} is not there" for token, results in tokens.items() if token not in by_token)
    for token in by_token.keys() & tokens.keys():
        for problem in unlogged(client, by_token[token], tokens[token]):
            yield f"{tokens[token]}: {problem}"


def _binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs; Debian has them outside of PATH."""
    found = [Path(place) for place in [shutil.which("initdb")] if place]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return found[0].parent if found else None
