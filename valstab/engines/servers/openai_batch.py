"""Send requests by OpenAI's batch API: files of requests, answered within a day and at half the price.

Requests wait until no other has come for a moment; then all are one batch. The server keeps a digest of its requests
with each batch, so the same command finds a batch again after an interruption.
"""

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from valstab.engines.base import EngineError
from valstab.engines.received import read_count, read_json
from valstab.engines.servers.completions import UNREADABLE

log = logging.getLogger(__name__)


QUIET_SECONDS = 2.0
"""Time without another request after which a batch is sent, in seconds."""


POLL_SECONDS = 30.0
"""Time between two looks at a batch, in seconds."""


CALL_SECONDS = 600.0
"""Maximum time for one call of the API, such as the download of answers, in seconds."""


MAX_BATCH_SECONDS = 26 * 3600.0
"""Maximum time for a batch, in seconds: it should end within 24 hours."""


MAX_REQUESTS = 50_000
"""Maximum number of requests of a batch: OpenAI's limit."""


MAX_ATTEMPTS = 3
"""Maximum number of batches that a request is sent in: those that expire leave some unanswered."""


LOST_STATUSES = ("failed", "cancelling", "cancelled")
"""Statuses of a batch that will give no answers."""


ENDED_STATUSES = (*LOST_STATUSES, "completed", "expired")
"""Statuses of a batch that has ended."""


KEY = "valstab"
"""The key of a batch's metadata with the digest of its requests."""


OK = 200
"""HTTP status of an answer."""


@dataclass
class _Waiting:
    """A request that waits for its answer."""

    path: str
    body: dict[str, Any]
    answer: "asyncio.Future[Any]"
    attempt: int = 0


class Repeat(Protocol):
    """Calls a function until it succeeds, within limits; see `OpenaiClient.repeat`."""

    async def __call__(self, attempt: Callable[[], Awaitable[Any]], seconds: float | None) -> Any:
        """Return the function's result."""
        ...


class BatchQueue:
    """Collects requests into batches. All methods run in the event loop of the client.

    Args:
        client: an `openai.AsyncOpenAI`.
        repeat: makes a call of the API, again and again if it fails.
        refused: returns the error of a request that is refused, from its status, its error and its fields.
    """

    def __init__(self, client: Any, repeat: Repeat, refused: Callable[[int, str, dict[str, Any]], EngineError]) -> None:
        self._client = client
        self._repeat = repeat
        self._refused = refused
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sent: set[asyncio.Task[None]] = set()

    async def answer(self, path: str, body: dict[str, Any]) -> Any:
        """Return the JSON document that answers a request.

        Args:
            path: the endpoint, such as `/v1/chat/completions`.
            body: the body of the request.

        Raises:
            EngineError: if the server refuses the request or the batch.
        """
        request = _Waiting(path, body, asyncio.get_running_loop().create_future())
        self._put(request)
        return await request.answer

    def _put(self, request: _Waiting) -> None:
        self._waiting.append(request)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(QUIET_SECONDS, self._send)

    def _send(self) -> None:
        requests, self._waiting = self._waiting, []
        for start in range(0, len(requests), MAX_REQUESTS):
            task = asyncio.get_running_loop().create_task(self._run(requests[start : start + MAX_REQUESTS]))
            self._sent.add(task)
            task.add_done_callback(self._sent.discard)

    async def _run(self, requests: Sequence[_Waiting]) -> None:
        """Answer requests by one batch; those that it leaves unanswered go into the next."""
        try:
            answers = await self._answers(requests)
        except Exception as error:  # noqa: BLE001 - each request raises it where it is awaited
            for request in requests:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        for number, request in enumerate(requests):
            if request.answer.done():  # cancelled
                continue
            status, document = answers.get(str(number), (0, None))
            if status == OK:
                request.answer.set_result(document)
            elif 400 <= status < 500 and status != 429:  # noqa: PLR2004
                request.answer.set_exception(self._refused(status, json.dumps(document), request.body))
            elif request.attempt + 1 < MAX_ATTEMPTS:
                request.attempt += 1
                self._put(request)
            else:
                request.answer.set_exception(EngineError(f"{MAX_ATTEMPTS} batches left a request without an answer"))

    async def _answers(self, requests: Sequence[_Waiting]) -> dict[str, tuple[int, Any]]:
        """Return the status and the document of each answer, by its request's number."""
        lines = (
            json.dumps({"custom_id": str(number), "method": "POST", "url": request.path, "body": request.body})
            for number, request in enumerate(requests)
        )
        content = "\n".join(lines).encode()
        attempt = max(request.attempt for request in requests)
        digest = f"{hashlib.sha256(content).hexdigest()}-{attempt}"
        batch = await self._find(digest) or await self._create(content, requests[0].path, digest)
        end = time.monotonic() + MAX_BATCH_SECONDS
        while batch.status not in ENDED_STATUSES:
            if time.monotonic() > end:
                raise EngineError(f"the batch {batch.id} is {batch.status} after {MAX_BATCH_SECONDS / 3600:.0f} hours")
            await asyncio.sleep(POLL_SECONDS)
            batch = await self._call(self._client.batches.retrieve, batch.id)
        log.info("batch %s with %s requests is %s", batch.id, len(requests), batch.status)
        if batch.status in LOST_STATUSES:
            raise EngineError(f"the batch {batch.id} is {batch.status}: {_problems(batch)}")
        answers = {}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            for line in (await self._call(self._client.files.content, file)).text.splitlines():
                with suppress(*UNREADABLE):  # what has no answer is sent again
                    entry = read_json(line)
                    response = entry.get("response") or {}
                    answers[str(entry["custom_id"])] = read_count(response.get("status_code")), response.get("body")
        return answers

    async def _call(self, call: Callable[..., Awaitable[Any]], *values: Any, **named: Any) -> Any:
        return await self._repeat(lambda: call(*values, **named), CALL_SECONDS)

    async def _find(self, digest: str) -> Any:
        """Return the batch of an earlier start with these requests; None if there is none."""
        page = await self._call(self._client.batches.list, limit=100)
        batches = [each for each in page.data if (each.metadata or {}).get(KEY) == digest]
        return next((each for each in batches if each.status not in LOST_STATUSES), None)

    async def _create(self, content: bytes, path: str, digest: str) -> Any:
        file = await self._call(self._client.files.create, file=("requests.jsonl", content), purpose="batch")
        settings = {"endpoint": path, "completion_window": "24h", "metadata": {KEY: digest}}
        batch = await self._call(self._client.batches.create, input_file_id=file.id, **settings)
        log.info("batch %s is sent; after an interruption, the same command goes on with it", batch.id)
        return batch


def _problems(batch: Any) -> str:
    """Return what the server says of a batch that failed."""
    found = batch.errors.data if batch.errors and batch.errors.data else []
    return "; ".join(str(each.message) for each in found[:3]) or "no reason is given"
