"""An OpenAI-compatible server on loopback that answers as a test scripts it."""

import json
import math
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AT_ONCE = ("retry-after-ms", "1")
"""A header that makes the openai package repeat a request without a pause."""


class Server:
    """Answers each request with the next of `script` (the last one again and again), and records what came.

    An answer is a status, a document or bytes, and where it matters headers and how many bytes are cut off the end. A
    function gets the request's body and returns an answer.
    """

    def __init__(self, *script):
        self.script = list(script)
        self.models = []
        self.bodies, self.headers, self.paths, self.times = [], [], [], []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"of": self}))
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def next_answer(self, body, headers, path):
        with self.lock:
            self.bodies.append(body)
            self.headers.append(headers)
            self.paths.append(path)
            self.times.append(time.monotonic())
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
            step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return step(body) if callable(step) else step

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: Server

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            headers = {name.title(): value for name, value in self.headers.items()}
            self.answer(*self.of.next_answer(body, headers, self.path))
        finally:
            with self.of.lock:
                self.of.busy -= 1

    def do_GET(self):
        models = self.of.models
        self.answer(*((200, {"data": [{"id": name} for name in models]}) if models else (404, {})))

    def answer(self, status, content, headers=(AT_ONCE,), cut=0):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) - cut])
        if cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        pass


@contextmanager
def openai_servers():
    """Yield a function that starts a server with a script; all servers are closed at the end."""
    servers = []

    def start(*script):
        servers.append(Server(*script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def chat_completion(text, **top):
    """Return a chat completion, with these probabilities of first tokens if there are any."""
    listed = [{"token": token, "logprob": math.log(p)} for token, p in top.items()]
    logprobs = {"content": [{"token": text, "top_logprobs": listed}]} if top else None
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 30, "completion_tokens": 2}
    return 200, {"choices": [{"message": message, "logprobs": logprobs}], "usage": usage}
