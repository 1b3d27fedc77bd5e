"""Send requests by OpenAI's batch API: files of requests, answered within a day and at half the price.

Requests wait until no other has come for a moment; then all are one batch. The server keeps a digest of its requests
with each batch, so the same command finds a batch again after an interruption.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from valstab.engines.base import EngineError

log = logging.getLogger(__name__)


QUIET_SECONDS = 2.0
"""Time without another request after which a batch is sent, in seconds."""


POLL_SECONDS = 30.0
"""Time between two looks at a batch, in seconds."""


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


class BatchQueue:
    """Collects requests into batches. All methods run in the event loop of the client.

    Args:
        client: an `openai.AsyncOpenAI`.
        refused: returns the error of a request that is refused, from its status, its error and its fields.
    """

    def __init__(self, client: Any, refused: Callable[[int, str, dict[str, Any]], EngineError]) -> None:
        self._client = client
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
        while batch.status not in ENDED_STATUSES:
            await asyncio.sleep(POLL_SECONDS)
            batch = await self._client.batches.retrieve(batch.id)
        log.info("batch %s with %s requests is %s", batch.id, len(requests), batch.status)
        if batch.status in LOST_STATUSES:
            raise EngineError(f"the batch {batch.id} is {batch.status}: {_problems(batch)}")
        answers = {}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            for line in (await self._client.files.content(file)).text.splitlines():
                entry = json.loads(line)
                response = entry.get("response") or {}
                answers[entry["custom_id"]] = int(response.get("status_code") or 0), response.get("body")
        return answers

    async def _find(self, digest: str) -> Any:
        """Return the batch of an earlier start with these requests; None if there is none."""
        page = await self._client.batches.list(limit=100)
        batches = [each for each in page.data if (each.metadata or {}).get(KEY) == digest]
        return next((each for each in batches if each.status not in LOST_STATUSES), None)

    async def _create(self, content: bytes, path: str, digest: str) -> Any:
        file = await self._client.files.create(file=("requests.jsonl", content), purpose="batch")
        batch = await self._client.batches.create(
            input_file_id=file.id, endpoint=path, completion_window="24h", metadata={KEY: digest}
        )
        log.info("batch %s is sent; after an interruption, the same command goes on with it", batch.id)
        return batch


def _problems(batch: Any) -> str:
    """Return what the server says of a batch that failed."""
    found = batch.errors.data if batch.errors and batch.errors.data else []
    return "; ".join(str(each.message) for each in found[:3]) or "no reason is given"
