"""Load: a study of 420,000 questions, scoring it again, and many runs that share one store and one MLflow."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import requests
from mlflow import MlflowClient

from tests.robustness.finding import Finding
from valstab.config.compose import compose_run
from valstab.dry_run.estimate import estimate
from valstab.engines.base import GIB
from valstab.engines.factory import load_engine
from valstab.protocol.plan import make_plan
from valstab.protocol.store import open_store

STUDY = ("model=random", "topics=extended", "task=donation")
"""5 seeds x 14 topics x 60 personas x 100 items."""
PEAK = """
import pathlib, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Runs a command and writes its peak memory in kB. A process begins with its parent's peak, so this is a small one."""
MOST_GIB = 4.0
"""Peak memory of a run of that size, in GiB."""
RUNS = 20
DEADLINE = 1800.0
"""Seconds after which a run counts as stuck."""
RUN_ID = re.compile(r"this is run (\w+)")
"""What a run says at its end, once MLflow has everything."""


class Ended(NamedTuple):
    """How a command ended, and what it took."""

    code: int
    seconds: float
    gib: float
    """The most memory that it held."""


def findings() -> Iterator[Finding]:
    """Measure the large study, then start the runs at once: on a SQLite file, and on a server."""
    with TemporaryDirectory() as folder:
        yield from large_study(Path(folder), STUDY)
    for name, database in (("one SQLite file", sqlite), ("one MLflow server", served)):
        with TemporaryDirectory() as folder, database(Path(folder)) as uri:
            lost = lost_at_once(Path(folder), uri, RUNS)
        yield Finding(f"runs at once on one store and {name}", RUNS, RUNS - len(lost), "; ".join(lost) or "nothing")


def large_study(folder: Path, overrides: Sequence[str]) -> Iterator[Finding]:
    """Run a study, and score it again.

    Args:
        folder: an empty one.
        overrides: the study's.
    """
    plan = make_plan(compose_run(*overrides))
    results = folder / "run" / "results"
    with sqlite(folder) as uri:
        ran = measured(folder, "valstab", *overrides, "hydra.run.dir=run", MLFLOW_TRACKING_URI=uri)
    milliseconds = 1000 * ran.seconds / plan.n_questions
    held = ran.code == 0 and ran.gib < MOST_GIB
    took = f"{ran.gib:.2f} GiB, {milliseconds:.2f} ms a question"
    yield Finding(f"{plan.n_questions:,} questions in one run", 1, int(held), took)
    arguments = (f"answers={results / 'answers.parquet'}", f"task={plan.task.name}")
    scored = measured(folder, "valstab.rescore", *arguments)
    equal = (folder / "output.txt").read_bytes() == (results / "stability.json").read_bytes()
    held = scored.code == 0 and equal
    yield Finding(f"{plan.n_questions:,} answers scored again", 1, int(held), f"{scored.seconds:.1f} s")


def measured(folder: Path, module: str, *arguments: str, **environment: str) -> Ended:
    """Run `python -m MODULE` in a folder, its standard output in `output.txt` there."""
    start = time.perf_counter()
    peak = folder / "peak.txt"
    command = (sys.executable, "-c", PEAK, str(peak), sys.executable, "-m", module, *arguments)
    with (folder / "output.txt").open("wb") as output:
        ended = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, stdout=output, check=False)
    return Ended(ended.returncode, time.perf_counter() - start, int(peak.read_text()) * 1024 / GIB)


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    """Return the URI of a database file that does not exist yet."""
    yield f"sqlite:///{folder / 'mlflow.db'}"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Start an MLflow server on this machine, and give its URI."""
    with serving(folder, f"sqlite:///{folder / 'server.db'}") as server:
        yield server.uri


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class Server:
    """An MLflow server on this machine that can be started and stopped.

    Args:
        folder: the artifacts and the log are in it.
        backend: the URI of its database.
        workers: the number of its processes.
    """

    def __init__(self, folder: Path, backend: str, workers: int = 4) -> None:
        port = free_port()
        self.uri = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._options = {
            "--host": "127.0.0.1",
            "--port": str(port),
            "--workers": str(workers),
            "--backend-store-uri": backend,
            "--artifacts-destination": str(folder / "artifacts"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = (part for option in self._options.items() for part in option)
        with (self._folder / "server.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        _wait_for(f"{self.uri}/health", self._process)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it with a signal, its workers too."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)
            self._process.wait()


@contextmanager
def serving(folder: Path, backend: str, workers: int = 4) -> Iterator[Server]:
    """Run a server."""
    server = Server(folder, backend, workers)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            requests.get(url, timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.5)
        else:
            return
    raise RuntimeError("the MLflow server did not start")


def lost_at_once(folder: Path, uri: str, number: int) -> list[str]:
    """Start so many runs at once, every two of them the same, and say what was lost of which.

    The runs share the store in `folder`, and MLflow at `uri`.
    """
    studies = [("model=random", f"seeds=[{i // 4}]", f"population.limit={(4, 8)[i // 2 % 2]}") for i in range(number)]
    processes = [started(folder, name, uri, *study) for name, study in enumerate(studies)]
    codes = [process.wait(DEADLINE) for process in processes]
    client = MlflowClient(tracking_uri=uri)
    lost = []
    for name, (code, study) in enumerate(zip(codes, studies, strict=True)):
        said = (folder / f"{name}.txt").read_text(encoding="utf-8")
        run_id = RUN_ID.search(said)
        problems = (
            list(unlogged(client, run_id[1], folder / f"{name}" / "results"))
            if code == 0 and run_id
            else [said.split("\n")[-2]]
        )
        if _to_do(folder / ".valstab", *study):
            problems.append("not all of it is in the store")
        lost += [f"run {name}: {', '.join(problems)}"] if problems else []
    return lost


def started(folder: Path, name: int, uri: str, *overrides: str) -> subprocess.Popen[bytes]:
    """Start a run in the folder `name`, and return its process; what it says goes to `name`.txt."""
    with (folder / f"{name}.txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "valstab", *overrides, f"hydra.run.dir={name}"],
            cwd=folder,
            env={**os.environ, "MLFLOW_TRACKING_URI": uri},
            stdout=output,
            stderr=output,
        )


def unlogged(client: MlflowClient, run_id: str, results: Path) -> Iterator[str]:
    """Return which of a run's results its MLflow run lacks."""
    run = client.get_run(run_id)
    if run.info.status != "FINISHED":
        yield f"its MLflow run is {run.info.status}"
    document = json.loads((results / "stability.json").read_text(encoding="utf-8"))
    numbers = {name: value for name, value in document.items() if isinstance(value, float)}
    if unlike := [name for name, value in numbers.items() if run.data.metrics.get(name) != value]:
        yield f"without the metrics {', '.join(unlike)}"
    files = {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()}
    if absent := files.difference(_artifacts(client, run.info.run_id)):
        yield f"without the artifacts {', '.join(sorted(absent))}"


def _artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _artifacts(client, run_id, entry.path)
        else:
            yield entry.path


def _to_do(store: Path, *overrides: str) -> int:
    """Count the conversations and questions that the store lacks of a study."""
    config = compose_run(*overrides, f"store.path={store}")
    plan, engine = make_plan(config), load_engine(config)
    found = estimate(plan, engine, *open_store(config.store.path, plan, engine))
    return found.conversations + found.questions
