"""Show the runs in MLflow's pages, as a table with their stabilities: `python -m valstab ui [EXPERIMENT]`.

For a database it starts MLflow's server on this machine until Ctrl-C; where MLFLOW_TRACKING_URI names a server, it
opens that.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from valstab.commands.parser import Parser
from valstab.config.terminal import say
from valstab.errors import UserError, one_line

HOST = "127.0.0.1"
"""The address that MLflow's server listens at: nobody else can reach it."""


PORT = 5000
"""The port that the server listens at, unless it is taken or another is asked for."""


START_SECONDS = 180.0
"""Maximum time for the server to start, in seconds."""


END_SECONDS = 10.0
"""Time for the server to end by itself, in seconds."""


def main(arguments: list[str] | None = None) -> None:
    """Start MLflow's server, and open the table of runs.

    Raises:
        SystemExit: with one line, if there are no runs or the server does not start.
    """
    parser = Parser(
        prog="python -m valstab ui", description="Show the runs in MLflow's pages, as a table with their stabilities."
    )
    parser.add_argument(
        "shown",
        nargs="?",
        metavar="EXPERIMENT",
        help="an MLflow experiment, or the id of a sweep's run (default: the experiment of the newest run)",
    )
    parser.add_argument("--port", type=int, help=f"the port to listen at (default: {PORT}, or a free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    options = parser.parse_args(arguments)
    try:
        _show(options.shown, options.port, opens=not options.no_browser)
    except UserError as error:
        sys.exit(f"valstab: {one_line(str(error))}")


def _show(shown: str | None, port: int | None, *, opens: bool) -> None:
    """Print and open the address of a table of runs, and keep its server running.

    Raises:
        UserError: if there is nothing to show, or the server does not start.
    """
    import mlflow

    from valstab.config.secrets import redact

    uri = mlflow.get_tracking_uri()
    if uri.startswith(("http://", "https://")):
        _open(f"{redact(uri).rstrip('/')}/#{_place(shown)}", opens=opens)
        return
    database = Path(unquote(uri.partition("?")[0].removeprefix("sqlite:///")))
    if uri.startswith("sqlite:") and not database.exists():
        raise UserError(f"there are no runs yet: {database} does not exist (MLFLOW_TRACKING_URI names another)")
    place = _place(shown)
    port = _free_port(port)
    with _server(uri, port) as process:
        _open(f"http://{HOST}:{port}/#{place}", opens=opens)
        say("Ctrl-C ends it")
        process.wait()


def _place(shown: str | None) -> str:
    """Return the part of an address that shows an experiment, a sweep, or without a name the newest run's experiment.

    Raises:
        UserError: if there is no such experiment or run, or none at all.
    """
    from mlflow.exceptions import MlflowException

    from valstab.tracking.client import mlflow_reading, tracking_client
    from valstab.tracking.view import place

    with mlflow_reading():
        client = tracking_client()
        if shown is None:
            experiments = [each.experiment_id for each in client.search_experiments()]
            newest = client.search_runs(experiments, "metrics.queries > 0", max_results=1)
            if not newest:
                raise UserError("there are no finished runs yet")
            return place(newest[0].info.experiment_id)
        if experiment := client.get_experiment_by_name(shown):
            return place(experiment.experiment_id)
        with suppress(MlflowException):
            run = client.get_run(shown)
            is_sweep = "metrics.queries" not in run.data.metrics and "rerun" in run.data.tags
            return place(run.info.experiment_id, shown) if is_sweep else place(run.info.experiment_id)
        names = ", ".join(each.name for each in client.search_experiments())
        raise UserError(f"{shown}: no such experiment or run; there are: {names}")


def _free_port(wanted: int | None) -> int:
    """Return a port that nothing listens at: the one that is wanted, or the usual one if it is free.

    Raises:
        UserError: if the one that is wanted is taken.
    """
    for port in [PORT, 0] if wanted is None else [wanted]:
        with socket.socket() as listening, suppress(OSError, OverflowError):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((HOST, port))
            return int(listening.getsockname()[1])
    raise UserError(f"--port={wanted}: can't be listened at; without it a free one is taken")


@contextmanager
def _server(uri: str, port: int) -> Iterator["subprocess.Popen[Any]"]:
    """Start MLflow's server on a database, yield its process when it answers, and end it after the block.

    The database's address is not among the arguments, which all users of a machine can see.

    Raises:
        UserError: if it does not start.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    environment: Mapping[str, Any] = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(process, f"http://{HOST}:{port}", log)
            yield process
        finally:
            end_server(process)


def end_server(process: "subprocess.Popen[Any]") -> None:
    """End a server with its workers; by force if it takes long, as it may while a browser is connected."""
    for way in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, way)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=END_SECONDS)
            return


def _wait(process: "subprocess.Popen[Any]", address: str, log: IO[str]) -> None:
    """Wait until a server answers.

    Raises:
        UserError: if it ends, or takes too long.
    """
    say("starting MLflow's pages ...")
    end = time.monotonic() + START_SECONDS
    while True:
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{address}/health", timeout=5):  # noqa: S310
            return
        if process.poll() is not None or time.monotonic() > end:
            log.seek(0)
            said = [line for line in log.read().splitlines() if line.strip()] or ["it said nothing"]
            raise UserError(f"MLflow's server did not start: {said[-1]}")
        time.sleep(0.2)


def _open(address: str, *, opens: bool) -> None:
    say(address)
    if opens:
        webbrowser.open(address)
