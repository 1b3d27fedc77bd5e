"""Send requests to an OpenAI-compatible server with the openai package, and describe its errors in one line.

A request is repeated after a connection error, an answer that takes too long or can't be read, or a status of 408, 409,
429 or 5xx, until the server has been away for too long. All limits are of the clock, whatever the server sends.
"""

import asyncio
import json
import logging
import math
import re
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from valstab.engines.base import EngineError
from valstab.engines.received import read_json
from valstab.engines.servers.answer_size import UnreadableAnswerError, limit_size
from valstab.engines.servers.completions import UNREADABLE, Completion, read_completion
from valstab.engines.servers.dialect import KEY_STATUSES, NOT_FOUND, remedy
from valstab.engines.servers.openai_batch import BatchQueue
from valstab.engines.servers.repetition import LONGEST_PAUSE, may_pass, pause_before
from valstab.engines.servers.server_template import render
from valstab.errors import one_line

log = logging.getLogger(__name__)


NO_QUOTA = "insufficient_quota"
"""OpenAI's code for an account without money: status 429, but waiting does not help."""


INVALID_STATUSES = (400, 404, 422)
"""HTTP statuses of a request that the server can't answer as it is."""


MODEL_LIST_TIMEOUT = 10
"""Maximum time for the list of models, in seconds."""


WEIGHTS_FACTS = ("n_params", "size")
"""What llama.cpp lists of a model's file: its number of parameters, and its size in bytes."""


MIN_KEY_CHARACTERS = 16
"""Minimum length of a key that is replaced in answers too: a shorter one, such as EMPTY, may be a word of theirs."""


MAX_SHOWN_CHARACTERS = 300
"""Maximum number of characters of a server's text in an error."""


HEADER_TEXT = re.compile(r"[\x21-\x7e]*")
"""Characters that an API key may have in an HTTP header."""


Answer = TypeVar("Answer")


class OpenaiClient:
    """An OpenAI-compatible server.

    Requests run in an event loop with a thread of its own, so that they go on while the caller works on an answer.

    Args:
        url: address of the API.
        key: the key, or an empty text if the server wants none.
        key_variable: name of the key's environment variable, which stands for the key in error messages.
        timeout: maximum time for one answer, in seconds; then the request is repeated.
        max_away: maximum time between a request's first failure and its last repetition, in seconds.
        batch: whether requests are sent by the batch API.

    Raises:
        EngineError: if the openai package is not installed, or no request can be made with this key and environment.
    """

    def __init__(
        self, url: str, key: str, key_variable: str, *, timeout: float, max_away: float, batch: bool = False
    ) -> None:
        if not HEADER_TEXT.fullmatch(key):
            raise EngineError(
                f"engine.key_variable={key_variable}: the key has a space or another character no key has"
            )
        self._url, self._key, self._key_variable = url, key, key_variable
        self._timeout, self._max_away = timeout, max_away
        self._trouble, self._reported = "", "nothing"
        self._openai = _import_openai()
        hooks = {"request": [] if key else [_omit_authorization], "response": [limit_size]}
        try:
            self._client = self._openai.AsyncOpenAI(
                base_url=url,
                api_key=key or "none",
                timeout=None,
                max_retries=0,
                default_headers={"Accept-Encoding": "identity"},  # a small answer may unpack to a huge one
                http_client=self._openai.DefaultAsyncHttpxClient(timeout=None, event_hooks=hooks),
            )
        except (ImportError, OSError, ValueError, self._openai.OpenAIError) as error:
            raise EngineError(
                f"engine.url={url}: the environment's proxy or certificates: {self._shown(str(error))}"
            ) from None
        self._batches = BatchQueue(self._client, self.repeat, self._refusal) if batch else None
        self._loop = _start_loop(self._client.close)
        weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def submit(self, work: Coroutine[Any, Any, Answer]) -> Future[Answer]:
        """Start a coroutine that awaits `complete`. Cancelling the future ends its request and its waiting."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def report_waiting(self) -> None:
        """Log what is waited for, if that has not been logged yet; a server that is only slow is logged once."""
        if self._reported == self._trouble or (self._batches and not self._trouble):
            return
        self._reported = self._trouble
        log.warning(
            "waiting for %s: %s; the run ends if that lasts longer than engine.max_away=%g seconds",
            self._url,
            self._trouble
            or f"it is slow or does not answer, and each answer may take engine.timeout={self._timeout:g}",
            self._max_away,
        )

    def models(self) -> dict[str, str]:
        """Return the server's models by name, with what it says of their weights; empty if it does not list them."""

        async def list_models() -> Any:
            async with asyncio.timeout(min(MODEL_LIST_TIMEOUT, self._timeout)):
                return read_json((await self._client.models.with_raw_response.list()).http_response.text)["data"]

        try:
            listed = {str(each["id"]): _weights(each) for each in self.submit(list_models()).result()}
        except Exception:  # noqa: BLE001 - the first request will show what is wrong, if anything is
            return {}
        return {name: weights for name, weights in listed.items() if name.isprintable()}

    async def render(self, renderer: str, request: Mapping[str, Any]) -> str | None:
        """Return the prompt that the server makes of a chat request; None if it does not show it."""
        root = self._url.removesuffix("/v1")

        async def post(path: str, body: Mapping[str, Any]) -> Any:
            return await self._client.post(f"{root}{path}", cast_to=object, body=dict(body))

        try:
            async with asyncio.timeout(self._timeout):
                return await render(renderer, request, post)
        except (self._openai.OpenAIError, UnreadableAnswerError, TimeoutError, *UNREADABLE):
            return None

    async def complete(self, request: Mapping[str, Any], settings: Mapping[str, Any]) -> Completion:
        """Return the server's answer, asked for as `repeat` does.

        Args:
            request: `model`, and either `messages` or `prompt`.
            settings: all other fields of the request's body, the API's own or the server's.

        Raises:
            EngineError: if the server refuses the request, or gives no answer.
        """

        async def attempt() -> Completion:
            text = await self._answer(request, settings)
            return read_completion(read_json(text if len(self._key) < MIN_KEY_CHARACTERS else self._masked(text)))

        return await self.repeat(attempt, None if self._batches else self._timeout, settings)

    async def repeat(
        self, attempt: Callable[[], Awaitable[Answer]], seconds: float | None, sent: Collection[str] = ()
    ) -> Answer:
        """Return the result of an attempt, which is repeated until the server has been away for too long.

        Args:
            attempt: makes a request.
            seconds: maximum time of an attempt; None for no limit.
            sent: names of the request's fields, for the error of a refusal.

        Raises:
            EngineError: if the server refuses the request, or gives no answer.
        """
        end, repetition = math.inf, 0
        while True:
            headers: Mapping[str, str] = {}
            try:
                async with asyncio.timeout(seconds):
                    answer = await attempt()
            except EngineError:
                raise
            except self._openai.APIStatusError as error:
                trouble, details, headers = self._passing(error, sent), error.response.text, error.response.headers
            except (TimeoutError, self._openai.APIConnectionError) as error:
                trouble, details = self._no_connection(error, seconds), ""
            except Exception as error:  # noqa: BLE001 - whatever a server may answer
                trouble, details = "an answer that can't be read", f"{type(error).__name__}: {error}"
            else:
                self._end_trouble()
                return answer
            repetition += 1
            end = min(end, time.monotonic() + self._max_away)
            pause = pause_before(repetition, headers)
            if time.monotonic() + pause > end:
                raise self._no_answer(trouble, details, pause)
            self._trouble = trouble
            await asyncio.sleep(pause)

    def _end_trouble(self) -> None:
        self._trouble = ""
        if self._reported not in {"", "nothing"}:
            self._reported = ""
            log.info("%s answers again", self._url)

    async def _answer(self, request: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
        """Return the answer to one request as text, at once or from a batch."""
        chat = "messages" in request
        if self._batches is not None:
            path = "/v1/chat/completions" if chat else "/v1/completions"
            return json.dumps(await self._batches.answer(path, {**request, **settings}))
        endpoint = self._client.chat.completions if chat else self._client.completions
        response = await endpoint.with_raw_response.create(**request, extra_body=dict(settings))
        return str(response.http_response.text)

    def _passing(self, error: Any, sent: Collection[str]) -> str:
        """Return a description of a status that may pass.

        Raises:
            EngineError: for any other.
        """
        status, text, headers = error.status_code, error.response.text, error.response.headers
        if NO_QUOTA in text or not may_pass(status):
            raise self._refusal(status, text, sent, error.param)
        asked = headers.get("Retry-After")
        return f"status {status}" if asked is None else f"status {status}, Retry-After {self._shown(asked)}"

    def _no_connection(self, error: Any, seconds: float | None) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within engine.timeout={seconds:g} seconds"
        return self._shown(f"{error.message} {error.__cause__ or ''}")

    def _refusal(self, status: int, text: str, sent: Collection[str], parameter: str | None = None) -> EngineError:
        said = f"{self._url} refuses the request ({status}): {self._shown(text)}"
        what = remedy(text, parameter, sent) if status in INVALID_STATUSES else ""
        if status in KEY_STATUSES:
            unset = "" if self._key else ", which is not set"
            what = f"the key is in the environment variable engine.key_variable={self._key_variable}{unset}"
        elif status == NOT_FOUND and not what:
            what = "engine.url must be the address of the API, which mostly ends in /v1"
        return EngineError(f"{said}; {what}" if what else said)

    def _no_answer(self, trouble: str, details: str, pause: float) -> EngineError:
        reason = f"{trouble}: {self._shown(details)}" if details else trouble
        limit = f"engine.max_away={self._max_away:g} seconds"
        why = f"it asks for a pause of {pause:,.0f} seconds, and " if pause > max(self._max_away, LONGEST_PAUSE) else ""
        return EngineError(
            f"{self._url} gave no answer ({reason}); {why}{limit} are the limit; what was answered is in the store, "
            "and the same command goes on from there"
        )

    def _shown(self, text: str) -> str:
        """Return the start of a server's text in one line, without the key and characters that move the cursor."""
        # The key is replaced before the text is cut, since half a key is a secret too.
        return one_line(self._masked(text))[:MAX_SHOWN_CHARACTERS]

    def _masked(self, text: str) -> str:
        return text.replace(self._key, f"({self._key_variable})") if self._key else text


def _weights(model: Mapping[str, Any]) -> str:
    """Return what tells a listed model from another one of its name: vLLM's path, llama.cpp's numbers of its file."""
    meta = model.get("meta") or {}
    facts = {"root": model.get("root"), **{name: meta.get(name) for name in WEIGHTS_FACTS}}
    return one_line(", ".join(f"{name} {value}" for name, value in facts.items() if value not in (None, model["id"])))


def _import_openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise EngineError(f"engine=openai needs the openai package ({error}): pip install 'valstab[openai]'") from error
    return openai


def _start_loop(close: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.AbstractEventLoop:
    """Return an event loop that runs in a thread of its own. When it is stopped, its tasks are cancelled.

    Args:
        close: closes the connections, which end with their loop.
    """
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()

    def run() -> None:
        with runner:
            loop.run_forever()
            runner.run(close())

    threading.Thread(target=run, name="openai requests", daemon=True).start()
    return loop


async def _omit_authorization(request: Any) -> None:
    """Remove the header that the openai package sends even where there is no key."""
    request.headers.pop("Authorization", None)
