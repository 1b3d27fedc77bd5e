"""Send requests to an OpenAI-compatible server with the openai package, and describe its errors in one line.

The package repeats a request after a connection error, a timeout, or a status of 408, 409, 429 or 5xx. It waits as long
as `Retry-After` says, otherwise half a second, and longer each time up to 8 seconds.
"""

import asyncio
import json
import re
import threading
import weakref
from collections.abc import Collection, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from valstab.engines.base import EngineError
from valstab.engines.completions import UNREADABLE, Completion, read_completion
from valstab.engines.dialect import remedy
from valstab.engines.openai_batch import BatchQueue
from valstab.engines.server_template import render

NO_QUOTA = "insufficient_quota"
"""OpenAI's code for an account without money: status 429, but waiting does not help."""


REPEATED_STATUSES = (408, 409, 429)
"""HTTP statuses after which a request is repeated, besides `SERVER_ERROR` and above."""


INVALID_STATUSES = (400, 404, 422)
"""HTTP statuses of a request that the server can't answer as it is."""


SERVER_ERROR = 500
"""Lowest HTTP status of a server error."""


LONGEST_PAUSE = 8
"""Maximum pause after an unreadable answer, in seconds."""


MODEL_LIST_TIMEOUT = 10
"""Maximum time for the list of models, in seconds."""


WEIGHTS_FACTS = ("n_params", "size")
"""What llama.cpp lists of a model's file: its number of parameters, and its size in bytes."""


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
        timeout: seconds without an answer after which a request is repeated.
        max_retries: maximum number of repetitions of a request.
        batch: whether requests are sent by the batch API.

    Raises:
        EngineError: if the openai package is not installed, or no request can be made with this key and environment.
    """

    def __init__(
        self, url: str, key: str, key_variable: str, *, timeout: float, max_retries: int, batch: bool = False
    ) -> None:
        if not HEADER_TEXT.fullmatch(key):
            raise EngineError(
                f"engine.key_variable={key_variable}: the key has a space or another character no key has"
            )
        self._url, self._key, self._key_variable = url, key, key_variable
        self._timeout, self._max_retries = timeout, max_retries
        self._openai = _import_openai()
        hooks = {"request": [] if key else [_omit_authorization], "response": [_stop_without_quota]}
        try:
            self._client = self._openai.AsyncOpenAI(
                base_url=url,
                api_key=key or "none",
                timeout=timeout,
                max_retries=max_retries,
                http_client=self._openai.DefaultAsyncHttpxClient(timeout=timeout, event_hooks=hooks),
            )
        except (ImportError, OSError, ValueError, self._openai.OpenAIError) as error:
            raise EngineError(
                self._one_line(f"engine.url={url}: the environment's proxy or certificates: {error}")
            ) from None
        self._batches = BatchQueue(self._client, self._refusal) if batch else None
        self._loop = _start_loop()
        weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def submit(self, work: Coroutine[Any, Any, Answer]) -> Future[Answer]:
        """Start a coroutine that awaits `complete`. Cancelling the future ends its request and its waiting."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def models(self) -> dict[str, str]:
        """Return the server's models by name, with what it says of their weights; empty if it does not list them."""
        client = self._client.with_options(max_retries=0, timeout=min(MODEL_LIST_TIMEOUT, self._timeout))

        async def list_models() -> Any:
            return await client.models.with_raw_response.list()

        try:
            listed = self.submit(list_models()).result().http_response.json()["data"]
            return {str(each["id"]): _weights(each) for each in listed}
        except (self._openai.OpenAIError, *UNREADABLE):
            return {}  # The first request will show what is wrong, if anything is.

    async def render(self, renderer: str, request: Mapping[str, Any]) -> str | None:
        """Return the prompt that the server makes of a chat request; None if it does not show it."""
        root = self._url.removesuffix("/v1")

        async def post(path: str, body: Mapping[str, Any]) -> Any:
            client = self._client.with_options(max_retries=0)
            return await client.post(f"{root}{path}", cast_to=object, body=dict(body))

        try:
            return await render(renderer, request, post)
        except (self._openai.OpenAIError, *UNREADABLE):
            return None

    async def complete(self, request: Mapping[str, Any], settings: Mapping[str, Any]) -> Completion:
        """Return the server's answer. A request is repeated where its answer can't be read.

        Args:
            request: `model`, and either `messages` or `prompt`.
            settings: all other fields of the request's body, the API's own or the server's.

        Raises:
            EngineError: if the server refuses the request, or gives no answer.
        """
        text = ""
        for attempt in range(self._max_retries + 1):
            if attempt:
                await asyncio.sleep(min(attempt / 2, LONGEST_PAUSE))
            try:
                text = await self._answer(request, settings)
            except self._openai.APIStatusError as error:
                raise self._status_error(error, settings) from None
            except self._openai.APIConnectionError as error:
                raise self._no_answer(f"{error.message} {error.__cause__ or ''}") from None
            try:
                return read_completion(json.loads(text))
            except UNREADABLE:
                continue
        raise self._no_answer(f"an answer that can't be read: {text}")

    async def _answer(self, request: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
        """Return the answer to one request as text, at once or from a batch."""
        chat = "messages" in request
        if self._batches is not None:
            path = "/v1/chat/completions" if chat else "/v1/completions"
            return json.dumps(await self._batches.answer(path, {**request, **settings}))
        endpoint = self._client.chat.completions if chat else self._client.completions
        response = await endpoint.with_raw_response.create(**request, extra_body=dict(settings))
        return str(response.http_response.text)

    def _status_error(self, error: Any, sent: Collection[str]) -> EngineError:
        status, text = error.status_code, error.response.text
        if NO_QUOTA not in text and (status in REPEATED_STATUSES or status >= SERVER_ERROR):
            pause = error.response.headers.get("Retry-After")
            asked = "" if pause is None else f", Retry-After {pause}"
            return self._no_answer(f"status {status}{asked}: {text}")
        return self._refusal(status, text, sent, error.param)

    def _refusal(self, status: int, text: str, sent: Collection[str], parameter: str | None = None) -> EngineError:
        said = f"{self._url} refuses the request ({status}): {self._one_line(text)}"
        what = remedy(text, parameter, sent) if status in INVALID_STATUSES else ""
        return EngineError(f"{said}; {what}" if what else said)

    def _no_answer(self, reason: str) -> EngineError:
        return EngineError(
            f"{self._url} gave no answer ({self._one_line(reason)}); what was answered is in the store, and the same "
            "command goes on from there"
        )

    def _one_line(self, text: str) -> str:
        """Return the text's first 300 characters in one line and without the key."""
        # The key is replaced before the text is cut, since half a key is a secret too.
        masked = text.replace(self._key, f"({self._key_variable})") if self._key else text
        return " ".join(masked.split())[:300]


def _weights(model: Mapping[str, Any]) -> str:
    """Return what tells a listed model from another one of its name: vLLM's path, llama.cpp's numbers of its file."""
    meta = model.get("meta") or {}
    facts = {"root": model.get("root"), **{name: meta.get(name) for name in WEIGHTS_FACTS}}
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value not in (None, model["id"]))


def _import_openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise EngineError(f"engine=openai needs the openai package ({error}): pip install 'valstab[openai]'") from error
    return openai


def _start_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that runs in a thread of its own. When it is stopped, its tasks are cancelled."""
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()

    def run() -> None:
        with runner:
            loop.run_forever()

    threading.Thread(target=run, name="openai requests", daemon=True).start()
    return loop


async def _omit_authorization(request: Any) -> None:
    """Remove the header that the openai package sends even where there is no key."""
    request.headers.pop("Authorization", None)


async def _stop_without_quota(response: Any) -> None:
    """Mark a response so that the openai package does not ask again, if the account has no money."""
    if response.is_error:
        await response.aread()
        if NO_QUOTA in response.text:
            response.headers["x-should-retry"] = "false"
