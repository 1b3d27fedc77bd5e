"""An OpenAI-compatible server on loopback that answers as a test scripts it."""

import json
import math
import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

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
        self.batches = Batches(self)
        self.template = None
        """Renders messages as a prompt; without it, the server does not show prompts."""
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

    def show(self, path, body):
        if self.template is None:
            return 404, {"detail": "Not Found"}
        if path == "/apply-template":
            return 200, {"prompt": self.template(body["messages"])}
        if path == "/tokenize":
            return 200, {"tokens": [ord(character) for character in self.template(body["messages"])]}
        return 200, {"prompt": "".join(map(chr, body["tokens"]))}

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class Batches:
    """The batch API of a server: each look at a batch finds the next of its `statuses`, then the last."""

    def __init__(self, server):
        self.server, self.files, self.made, self.statuses = server, {}, [], ["completed"]
        self.answered = lambda _: True
        """Whether a request, given its number, is answered."""

    def post(self, path, data):
        if path == "/v1/files":
            lines = [line for line in data.decode().splitlines() if line.startswith('{"custom_id"')]
            self.files[f"file-{len(self.files)}"] = [json.loads(line) for line in lines]
            return {"id": f"file-{len(self.files) - 1}", "object": "file"}
        wanted = json.loads(data)
        batch = {"id": f"batch-{len(self.made)}", "object": "batch", "status": "validating", "looks": 0, **wanted}
        self.made.append(batch)
        return batch

    def get(self, path):
        if path.startswith("/v1/files"):
            return self.files[path.split("/")[3]]
        if path.startswith("/v1/batches/"):
            return self.look(next(batch for batch in self.made if batch["id"] == path.rpartition("/")[2]))
        return {"object": "list", "data": self.made[::-1]}

    def look(self, batch):
        batch["status"] = self.statuses[min(batch["looks"], len(self.statuses) - 1)]
        batch["looks"] += 1
        if batch["status"] in {"completed", "expired"} and "output_file_id" not in batch:
            lines = [self.line(number, one) for number, one in enumerate(self.files[batch["input_file_id"]])]
            batch["output_file_id"] = f"file-{len(self.files)}"
            self.files[batch["output_file_id"]] = "\n".join(filter(None, lines)).encode()
        if batch["status"] == "failed":
            batch["errors"] = {"data": [{"message": "Enqueued token limit reached"}]}
        return batch

    def line(self, number, request):
        if not self.answered(number):
            return ""
        status, body, *_ = self.server.next_answer(request["body"], {}, request["url"])
        return json.dumps({"custom_id": request["custom_id"], "response": {"status_code": status, "body": body}})


class Drip(NamedTuple):
    """The content of an answer that comes byte after byte, until an event ends it."""

    ended: threading.Event
    pause: float = 0.05
    """Seconds between two bytes."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: Server

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path in {"/v1/files", "/v1/batches"}:
            self.answer(200, self.of.batches.post(self.path, data))
            return
        body = json.loads(data)
        if self.path in {"/apply-template", "/tokenize", "/detokenize"}:
            self.answer(*self.of.show(self.path, body))
            return
        try:
            headers = {name.title(): value for name, value in self.headers.items()}
            self.answer(*self.of.next_answer(body, headers, self.path))
        finally:
            with self.of.lock:
                self.of.busy -= 1

    def do_GET(self):
        if self.path.startswith(("/v1/files", "/v1/batches")):
            self.answer(200, self.of.batches.get(self.path))
            return
        models = self.of.models
        listed = models
        if not isinstance(models, Drip):
            listed = {"data": [each if isinstance(each, dict) else {"id": each} for each in models]}
        self.answer(*((200, listed) if models else (404, {})))

    def answer(self, status, content, headers=(AT_ONCE,), cut=0):
        if isinstance(content, Drip):
            self.drip(content, status)
            return
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header(
            "Content-Type", "application/octet-stream" if isinstance(content, bytes) else "application/json"
        )
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):  # a client that has given up
            self.wfile.write(data[: len(data) - cut])
        if cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def drip(self, content, status):
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with suppress(OSError):
            while not content.ended.wait(content.pause):
                self.wfile.write(b"1\r\n \r\n")
        self.close_connection = True

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


def refusal(message, param=None):
    """Return an answer that refuses a request, as OpenAI's server does."""
    return 400, {"error": {"message": message, "type": "invalid_request_error", "param": param}}


def thought(text, tokens=100):
    """Return a chat completion whose tokens are all a thought."""
    message = {"role": "assistant", "content": None, "reasoning_content": text}
    return 200, {"choices": [{"message": message, "logprobs": None}], "usage": {"completion_tokens": tokens}}


def _prefix(body):
    return body["messages"][-1]["content"] if body["messages"][-1]["role"] == "assistant" else ""


def openai_reasoning(body):
    """Answer as OpenAI's reasoning models: no other limit, sampling or lists of tokens, and a thought of 200 tokens."""
    if "max_tokens" in body:
        return refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens")
    if body.get("temperature", 1) != 1:
        return refusal("Unsupported value: 'temperature' does not support 0.5 with this model.", "temperature")
    if body.get("logprobs"):
        return refusal("You are not allowed to request logprobs from this model.")
    if body["max_completion_tokens"] < 200:
        return 200, {
            "choices": [{"message": {"content": ""}, "finish_reason": "length"}],
            "usage": {"completion_tokens_details": {"reasoning_tokens": body["max_completion_tokens"]}},
        }
    return chat_completion("B) Ill")


def vllm(body):
    """Answer as vLLM does, without a reasoning parser: it continues a message, and lists tokens."""
    if _prefix(body) and not body.get("continue_final_message"):
        return chat_completion("Sorry?", Sorry=0.9)
    return GOOD_LIST if body.get("logprobs") else chat_completion("B) Ill")


def vllm_with_parser(body):
    """Answer as vLLM does with a reasoning parser: without the end of a thought all is thought."""
    thinks = body.get("chat_template_kwargs", {}).get("enable_thinking", True)
    if thinks and (body["max_tokens"] < 200 or _prefix(body)):
        return thought("Well, who am I?")
    return chat_completion("B) Ill")


def llama_cpp(body):
    """Answer as llama.cpp does: it continues a last message of the model, unless the model thinks."""
    if _prefix(body) and body.get("chat_template_kwargs", {}).get("enable_thinking"):
        return refusal("Assistant response prefill is incompatible with enable_thinking.")
    return GOOD_LIST if body.get("logprobs") else chat_completion("B) Ill")


def ollama(body):
    """Answer as Ollama does: it ignores fields that it does not know, and lists tokens."""
    return GOOD_LIST if body.get("logprobs") else chat_completion("B) Ill")


def lm_studio(body):
    """Answer as LM Studio does: it lists no tokens, and takes a last message of the model as ended."""
    return chat_completion("(Silence.)" if _prefix(body) else "(B) Ill")


def openrouter(body):
    """Answer as OpenRouter does where a provider must take all fields."""
    assert body["provider"] == {"require_parameters": True}
    return GOOD_LIST if body.get("logprobs") else chat_completion("B) Ill")


GOOD_LIST = chat_completion("B", A=0.2, B=0.5, C=0.1)
"""A chat completion that lists letters."""
