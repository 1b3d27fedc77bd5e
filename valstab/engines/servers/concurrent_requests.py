"""Make several requests to a server at a time, and pass their answers on as they come."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import Any, TypeVar

from valstab.engines.servers.openai_client import OpenaiClient

Request = TypeVar("Request")


Answer = TypeVar("Answer")


REPORTED_SECONDS = 10.0
"""Time without any answer after which a line says what is waited for, in seconds."""


class ConcurrentRequests:
    """Requests to one server.

    Args:
        client: runs the requests.
        number: maximum number of requests at the same time.
    """

    def __init__(self, client: OpenaiClient, number: int) -> None:
        self._client, self._number = client, number
        self._slots = asyncio.Semaphore(number)

    def as_answered(
        self, ask: Callable[[Request], Coroutine[Any, Any, Answer]], requests: Iterable[Request]
    ) -> Iterator[tuple[int, Answer]]:
        """Yield each request's index and answer as it comes. At an error or an early end, the others are cancelled.

        After each answer the requests are iterated again, even if they had ended, since more may have come.
        """
        pending: dict[Future[Answer], int] = {}

        async def ask_in_turn(request: Request) -> Answer:
            async with self._slots:
                return await ask(request)

        numbered = enumerate(requests)
        try:
            while True:
                for index, request in islice(numbered, 2 * self._number - len(pending)):
                    pending[self._client.submit(ask_in_turn(request))] = index
                if not pending:
                    return
                yield from self._take_completed(pending)
        finally:
            for future in pending:
                future.cancel()

    def _take_completed(self, pending: dict[Future[Answer], int]) -> Iterator[tuple[int, Answer]]:
        """Wait for an answer, then remove all that are there from `pending` and yield their indices and answers."""
        while not (done := wait(pending, REPORTED_SECONDS, FIRST_COMPLETED).done):
            self._client.report_waiting()
        for future in done:
            index = pending.pop(future)
            yield index, future.result()

    def by_dialogue(
        self, ask: Callable[[Request], Coroutine[Any, Any, Answer]], dialogues: Iterable[Sequence[Request]]
    ) -> Iterator[tuple[int, list[Answer]]]:
        """Yield each dialogue's index and the answers to its requests once it is complete."""
        incomplete: dict[int, dict[int, Answer]] = {}
        sizes: dict[int, int] = {}
        places: list[tuple[int, int]] = []

        def requests() -> Iterator[Request]:
            for number, dialogue in enumerate(dialogues):
                incomplete[number], sizes[number] = {}, len(dialogue)
                for row, request in enumerate(dialogue):
                    places.append((number, row))
                    yield request

        for index, answer in self.as_answered(ask, requests()):
            number, row = places[index]
            incomplete[number][row] = answer
            if len(incomplete[number]) == sizes[number]:
                answers = incomplete.pop(number)
                yield number, [answers[row] for row in range(sizes[number])]
