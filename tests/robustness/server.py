"""A server that can die: its answers follow from what it is asked alone."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

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
