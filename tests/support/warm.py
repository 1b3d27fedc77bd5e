"""Processes that have imported large modules in advance, and fork a command when a test asks for one.

The fork is a separate process with its own arguments, folder, environment and pipes. It saves the seconds that a new
process needs to import MLflow and Hydra. All workers of pytest share these processes, which end after the last worker.
"""

import atexit
import gc
import importlib
import io
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

IMPORTED = {
    "light": (
        *("valstab.commands.run", "valstab.commands.checked_plan", "valstab.commands.validate"),
        *("hydra._internal.hydra", "hydra.core.plugins"),
    ),
    "heavy": (
        *("mlflow", "mlflow.data.pandas_dataset", "mlflow.store.db_migrations"),
        *("mlflow.store.tracking.sqlalchemy_store", "matplotlib.backends.backend_agg", "valstab.commands.compare"),
        *("valstab.commands.rescore", "valstab.commands.run", "valstab.commands.store", "valstab.commands.sync"),
        *("valstab.commands.validate", "valstab.compare.figure_kinds", "valstab.dry_run.preview", "valstab.run"),
        *("valstab.sweeps.parent", "valstab.tracking.comparison", "valstab.engines.prompts.tokenizer"),
        *("transformers.models.auto.tokenization_auto", "transformers.modeling_gguf_pytorch_utils"),
    ),
}
"""The modules that each kind of process has imported. `light` has those that are needed to report a mistake.

The modules that `python -m` names are not among them: they are executed in the fork, as in a new process.
"""
ROOT = Path(__file__).parents[2]
PATIENCE = 300.0
"""Maximum time for the imports, in seconds."""
MOST_BYTES = 1 << 20
"""Maximum size of a request, in bytes."""
STAY = b"stay"
"""The message that a worker sends, and receives as the answer, to keep the process alive."""
STREAMS = 3
"""Number of standard streams: input, output and error."""


class WarmProcess:
    """A process with imported modules, reached by a Unix socket; it is started unless another worker has started it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._kind = kind
        self._address = str(folder / kind)
        self._started: subprocess.Popen[bytes] | None = None
        with FileLock(f"{self._address}.lock"):
            try:
                self._life = self._joined()
            except OSError:
                self._started = self._start()
                self._life = self._joined()

    def start(
        self, module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> "ForkedCommand":
        """Start `python -m MODULE ARGUMENTS` in a folder, with nothing on its standard input."""
        request = {
            "module": module,
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
        }
        connection = self._connect()
        pipes = [os.pipe(), os.pipe()]
        with Path(os.devnull).open("rb") as nothing:
            socket.send_fds(
                connection, [json.dumps(request).encode()], [nothing.fileno(), *(write for _, write in pipes)]
            )
        for _, write in pipes:
            os.close(write)
        return ForkedCommand(connection, [read for read, _ in pipes], [sys.executable, "-m", module, *arguments])

    def run(
        self, module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m MODULE ARGUMENTS` in a folder until it ends."""
        return self.start(module, arguments, folder, environment).wait()

    def close(self) -> None:
        """Release the process, which ends when no worker needs it; if it was started here, wait for its end."""
        self._life.close()
        if self._started:
            self._started.wait()

    def _joined(self) -> socket.socket:
        """Return a connection that keeps the process alive."""
        connection = self._connect()
        connection.sendall(STAY)
        if connection.recv(MOST_BYTES) != STAY:
            raise ConnectionError("the process was about to end")
        return connection

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(self._address)
        except OSError:
            connection.close()
            raise
        return connection

    def _start(self) -> "subprocess.Popen[bytes]":
        Path(self._address).unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", self._kind, self._address],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE
        while not Path(self._address).exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the process that commands are forked from did not start")
            time.sleep(0.05)
        return process


class ForkedCommand:
    """A command that was started.

    Args:
        connection: over which come its process id, and at its end its exit code.
        pipes: its standard output and standard error.
        arguments: what a new process would have been started with.
    """

    def __init__(self, connection: socket.socket, pipes: list[int], arguments: list[str]) -> None:
        self._connection = connection
        self._arguments = arguments
        self._readers = ThreadPoolExecutor()
        self._outputs = [self._readers.submit(_read, pipe) for pipe in pipes]
        self.pid: int = json.loads(connection.recv(MOST_BYTES))

    def has_ended(self) -> bool:
        """Return whether the command has ended."""
        return bool(select.select([self._connection], [], [], 0)[0])

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for the command's end, as `subprocess.run` does."""
        stdout, stderr = (output.result() for output in self._outputs)
        with self._connection:
            code = json.loads(self._connection.recv(MOST_BYTES))
        self._readers.shutdown()
        return subprocess.CompletedProcess(self._arguments, code, stdout, stderr)


def _read(pipe: int) -> str:
    with open(pipe, encoding="utf-8") as stream:
        return stream.read()


def serve(kind: str, address: str) -> None:
    """Fork a command for each request, until no worker is left."""
    path = sys.path[1:]  # without the folder that this process was started in
    gc.disable()
    for name in IMPORTED[kind]:
        importlib.import_module(name)
    gc.enable()
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all that is here
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    draft = f"{address}.new"
    listener.bind(draft)
    listener.listen(16)
    Path(draft).rename(address)
    lives: list[socket.socket] = []
    while True:
        ready, *_ = select.select([listener, *lives], [], [], 1)
        for life in set(lives).intersection(ready):
            lives.remove(life)
            if not lives:
                Path(address).unlink()
                _reap(0)
                return
        if listener in ready:
            connection, _ = listener.accept()
            request, streams, *_ = socket.recv_fds(connection, MOST_BYTES, STREAMS)
            if request == STAY:
                lives.append(connection)
                connection.sendall(STAY)
            else:
                if not os.fork():
                    listener.close()
                    _supervise(connection, json.loads(request), streams, path)
                connection.close()
                for stream in streams:
                    os.close(stream)
        _reap(os.WNOHANG)


def _reap(options: int) -> None:
    try:
        while os.waitpid(-1, options)[0]:
            pass
    except ChildProcessError:
        pass


def _supervise(connection: socket.socket, request: dict, streams: list[int], path: list[str]) -> None:
    """Fork the command, send its process id, wait for it, and send how it ended."""
    process = os.fork()
    if not process:
        connection.close()
        _become(request, streams, path)
    for stream in streams:
        os.close(stream)
    connection.sendall(json.dumps(process).encode())
    _, status = os.waitpid(process, 0)
    connection.sendall(json.dumps(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(request: dict, streams: list[int], path: list[str]) -> None:
    """Turn this fork into what `python -m MODULE ARGUMENTS` would be."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(number, "w", closefd=False)),
            encoding="utf-8",
            errors=errors,
            line_buffering=flush,
        )
        for number, errors, flush in ((1, "strict", False), (2, "backslashreplace", True))
    )
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    also = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = dict.fromkeys([request["folder"], *also, *path])
    sys.argv = [request["module"], *request["arguments"]]
    code = _executed(request["module"])
    threading._shutdown()
    atexit._run_exitfuncs()
    for output in (sys.stdout, sys.stderr):
        try:
            output.flush()
        except BrokenPipeError:
            code = 120  # as Python's own
    os._exit(code)


def _executed(module: str) -> int:
    """Run a module as `__main__`; return the exit code that Python would end with."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 - whatever Python would print at its end
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(*sys.argv[1:])
