"""A server that fails in a chosen way at chosen requests: a model server for chats and base models, and an MLflow server.

What it answers otherwise follows from the request alone, so that a run through faults must end as one without.
"""

import json
import math
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

import numpy as np

from valstab.engines.servers.answer_size import MAX_ANSWER_BYTES
from valstab.hashing import derive_seed

Strike = Callable[[int], bool]
"""Returns whether the request of this number, from 1, meets the fault."""
Fault = Callable[["Handler", dict[str, Any]], None]
"""Answers a request wrongly, given the document that would be right."""


class FaultServer(ThreadingHTTPServer):
    """Answers as an OpenAI-compatible server does, but for the requests that a fault strikes."""

    request_queue_size = 64

    def __init__(self, port: int, fault: Fault, strike: Strike) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.fault, self.strike = fault, strike
        self.asked = 0
        self.requests: list[str] = []
        """The first line of each request."""
        self.counting, self.ended = Lock(), Event()

    @property
    def url(self) -> str:
        """The address of its API for models."""
        return f"{self.root}/v1"

    @property
    def root(self) -> str:
        """The address of the server itself, as MLflow takes it."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that have gone."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server: FaultServer

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self._answer(document(json.loads(data)) if self.path.startswith("/v1/") else None)

    def do_GET(self) -> None:
        self._answer(None)

    def _answer(self, right: dict[str, Any] | None) -> None:
        with self.server.counting:
            counts = not self.path.startswith("/v1/models")
            self.server.asked += counts
            self.server.requests.append(self.requestline)
            is_struck = counts and self.server.strike(self.server.asked)
        if is_struck:
            self.server.fault(self, right or {})
        elif right is None:
            self.write(*((b"{}", 404) if self.path.startswith("/v1/") else (b"refused: 413", 413)))  # never repeated
        else:
            self.write(json.dumps(right).encode())

    def write(self, data: bytes, status: int = 200, cut: int = 0, **headers: str) -> None:
        """Answer with some bytes, of which the last ones may be cut off."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(data[: len(data) - cut])
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def document(body: dict[str, Any]) -> dict[str, Any]:
    """Return the right answer to a request: a reply of random words, and a random distribution over A to E."""
    random = np.random.default_rng(derive_seed(json.dumps(body, sort_keys=True)))
    probabilities = dict(zip("ABCDE", np.log(random.dirichlet(np.ones(5))).tolist(), strict=True))
    text, usage = f"Reply {random.integers(1000)}", {"prompt_tokens": 10, "completion_tokens": 5}
    if "messages" not in body:
        return {"choices": [{"text": text, "logprobs": {"top_logprobs": [probabilities]}}], "usage": usage}
    listed = [{"token": letter, "logprob": value} for letter, value in probabilities.items()]
    choice = {"message": {"content": text}, "logprobs": {"content": [{"token": "A", "top_logprobs": listed}]}}
    return {"choices": [choice], "usage": usage}


def hang(handler: Handler, _: dict[str, Any]) -> None:
    """Answer nothing."""
    handler.server.ended.wait(30)
    handler.close_connection = True


def drip(handler: Handler, _: dict[str, Any]) -> None:
    """Send a byte now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    with suppress(OSError):
        while not handler.server.ended.wait(0.05):
            handler.wfile.write(b" ")
    handler.close_connection = True


def reset(handler: Handler, _: dict[str, Any]) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True
    with suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


def wrong_numbers(value: float) -> Fault:
    """Return a fault: all log-probabilities have this value."""
    return lambda handler, right: handler.write(
        json.dumps(_replaced(right, value)).replace(" Infinity", " 1e400").encode()
    )


def _replaced(part: Any, value: float) -> Any:
    """Return a document with another value for each log-probability."""
    if isinstance(part, dict):
        return {name: _replaced(each, value) for name, each in part.items()}
    if isinstance(part, list):
        return [_replaced(each, value) for each in part]
    return value if isinstance(part, float) else part


FAULTS: dict[str, Fault] = {
    "hangs": hang,
    "drips": drip,
    "resets the connection": reset,
    "cuts the answer": lambda handler, right: handler.write(json.dumps(right).encode(), cut=20),
    "is busy (429)": lambda handler, _: handler.write(b"{}", 429, Retry_After="0.02"),
    "fails (500)": lambda handler, _: handler.write(b"{}", 500),
    "loads (503, HTML)": lambda handler, _: handler.write(b"<html>loading</html>", 503),
    "redirects in a circle": lambda handler, _: handler.write(b"", 307, Location=handler.path),
    "redirects to no address": lambda handler, _: handler.write(b"", 307, Location="http://[::1/v1"),
    "sends HTML": lambda handler, _: handler.write(b"<html>welcome</html>"),
    "sends deep JSON": lambda handler, _: handler.write(b"[" * 100_000),
    "sends another document": lambda handler, _: handler.write(b'{"choices": [{"message": [], "text": {}}]}'),
    "sends too much": lambda handler, _: handler.write(b" " * (MAX_ANSWER_BYTES + 1)),
    "sends a bomb": lambda handler, _: handler.write(zlib.compress(bytes(10_000_000)), Content_Encoding="deflate"),
    "sends UTF-16": lambda handler, right: handler.write(json.dumps(right).encode("utf-16"), Content_Type="text/plain"),
    "sends no text": lambda handler, _: handler.write(bytes(range(256))),
}
"""Faults after which a request is repeated."""
ENDING: dict[str, Fault] = {
    "is busy for a day (429)": lambda handler, _: handler.write(b"{}", 429, Retry_After="86400"),
    "is away until 2099 (503)": lambda handler, _: handler.write(b"", 503, Retry_After="Thu, 01 Jan 2099 00:00:00 GMT"),
    **FAULTS,
}
"""Faults that end a run where they do not pass."""
NUMBERS: dict[str, Fault] = {
    f"sends log-probabilities of {value}": wrong_numbers(value) for value in (math.nan, -math.inf, 5.0, math.inf)
}
"""Faults in the numbers of an answer, after which a question is asked again."""


@contextmanager
def serving(port: int = 0, fault: Fault = reset, strike: Strike = lambda _: False) -> Iterator[FaultServer]:
    """Run a server on a port, or on a free one."""
    server = FaultServer(port, fault, strike)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
