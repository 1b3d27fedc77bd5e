"""Servers that fail: one that can die, whose answers follow from what it is asked alone, and one that never answers well."""

import json
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread

import numpy as np

from valstab.hashing import derive_seed


class MortalServer(ThreadingHTTPServer):
    """Answers as an OpenAI-compatible server does, so many times, and cuts every connection after that."""

    def __init__(self, port: int, lives: float) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.lives = lives
        self.asked = 0
        self.counting = Lock()

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: MortalServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.counting:
            self.server.asked += 1
            lives = self.server.asked <= self.server.lives
        if lives:
            self._answer(body)
        else:
            self.close_connection = True

    def _answer(self, body: dict[str, object]) -> None:
        random = np.random.default_rng(derive_seed(json.dumps(body, sort_keys=True)))
        letters = [
            {"token": letter, "logprob": math.log(p)}
            for letter, p in zip("ABCDE", random.dirichlet(np.ones(5)), strict=True)
        ]
        message = {"role": "assistant", "content": f"Reply {random.integers(1000)}"}
        answer = {"choices": [{"message": message, "logprobs": {"content": [{"top_logprobs": letters}]}}]}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(port: int = 0, lives: float = math.inf) -> Iterator[MortalServer]:
    """Run a server on a port, or on a free one."""
    server = MortalServer(port, lives)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


FAULTS = ("hang", "drip", "429", "503", "413", "html", "list", "cut", "redirect", "silence")
"""What a faulty server does with a request.

It never answers, sends a byte at a time, is busy for a day, is away, refuses, answers with a page or with JSON of another
kind, ends in the middle of an answer, sends the client in a circle, or closes the connection.
"""
DAY_SECONDS = 86_400
DRIP_SECONDS = 0.05


class FaultyServer:
    """Accepts requests of any kind and does one wrong thing with each.

    Args:
        fault: one of `FAULTS`.
        times: the number of requests that meet the fault; all later ones get a 413, which no client repeats.
    """

    def __init__(self, fault: str, times: float = math.inf) -> None:
        self.fault = fault
        self.times = times
        self.requests: list[str] = []
        """The first line of each request."""
        self._closed = Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop, and let go of every client."""
        self._closed.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = connection.recv(1 << 16).decode("latin-1")
            self.requests.append(head.partition("\r\n")[0])
            fault = self.fault if len(self.requests) <= self.times else "413"
            if fault == "hang":
                self._closed.wait()
            elif fault == "drip":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not self._closed.wait(DRIP_SECONDS):
                    connection.sendall(b" ")
            elif fault != "silence":
                connection.sendall(self._answer(fault).encode())

    def _answer(self, fault: str) -> str:
        status, body, *headers = {
            "429": ("429 Too Many Requests", "", f"Retry-After: {DAY_SECONDS}"),
            "503": ("503 Service Unavailable", "", f"Retry-After: {DAY_SECONDS}"),
            "413": ("413 Content Too Large", "too large"),
            "html": ("200 OK", "<!DOCTYPE html><title>Log in</title>"),
            "list": ("200 OK", "[[[]]]"),
            "cut": ("200 OK", '{"experiment": {"experim'),
            "redirect": ("302 Found", "", f"Location: {self.url}/again"),
        }[fault]
        length = len(body) + (100 if fault == "cut" else 0)
        return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {length}", "Connection: close", *headers, "", body])


@contextmanager
def faulty(fault: str, times: float = math.inf) -> Iterator[FaultyServer]:
    """Run a faulty server on a free port."""
    server = FaultyServer(fault, times)
    try:
        yield server
    finally:
        server.close()
