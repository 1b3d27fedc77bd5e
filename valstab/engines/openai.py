"""Ask a model behind an OpenAI-compatible server, many requests at a time.

Letters' probabilities are read from the server's list of the most probable next tokens. A letter that is not on it
has a lower probability than all that are, so one letter on the list settles the choice. Where none is, or the server
gives no list, the answer is read off sampled text by `parsed`, and where that finds none it is missing.
"""

import logging
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar

import numpy as np
import requests
import tenacity
from numpy.typing import NDArray

from valstab.config.schema import ModelConfig
from valstab.engines.base import Cache, ChoiceRequest, EngineError, GenerationRequest, Prices, Prompt, Usage
from valstab.errors import allowed

log = logging.getLogger(__name__)


ANSWER_TOKENS = 16
"""Of a sampled answer that a letter is read from."""


TRY_AGAIN = (408, 409, 425, 429)


SERVER_ERROR = 500


SPENT = "insufficient_quota"
"""What OpenAI calls an account without money, which no waiting helps."""


ANSWER = re.compile(r"\s*(?:answer\s*:?\s*)?\(?([A-Z])(?:\)|[.:,](?=\s|$)|\s*$)", re.IGNORECASE)


MENTIONED = re.compile(r"\(([A-Z])\)")


Work = TypeVar("Work")


Done = TypeVar("Done")


_COUNTING = threading.Lock()


class Completion(NamedTuple):
    """What a server gave: the text, the most probable first tokens if it said, and the tokens it counted."""

    text: str
    first: list[tuple[str, float]] | None
    """Token and log-probability."""
    read: int
    written: int


class _NotNowError(Exception):
    """An answer that another try may better; `wait` is the seconds that the server wants."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class OpenaiEngine:
    """A model behind an OpenAI-compatible server: chat completions, or completions for a base model.

    Args:
        model: `path` is what the server calls it, unless it has only one; `template` goes to the server's template.
        quantization: `none`, since it is the server's.
        url: where the API is.
        key_variable: the environment variable with the key.
        concurrency: the most requests at a time.
        timeout: seconds without an answer.
        tries: of each request.
        longest_wait: seconds between tries, unless the server says Retry-After.
        opened: how the model's turn is opened: `continue` or `message`.
        top_logprobs: the length of the list of probable tokens.
        usd_per_million_read: the price of tokens in prompts.
        usd_per_million_written: the price of generated tokens.

    Raises:
        EngineError: if the server has several models but not this one, or the environment lacks the key for OpenAI.
    """

    def __init__(
        self,
        model: ModelConfig,
        quantization: str,
        *,
        url: str,
        key_variable: str = "OPENAI_API_KEY",
        concurrency: int = 16,
        timeout: float = 120,
        tries: int = 8,
        longest_wait: float = 60,
        opened: str = "continue",
        top_logprobs: int = 20,
        usd_per_million_read: float | None = None,
        usd_per_million_written: float | None = None,
    ) -> None:
        if model.path is None:
            raise EngineError(f"model={model.name}: set model.path to what the server calls the model")
        self._key = os.environ.get(key_variable, "")
        if not self._key and "api.openai.com" in url:
            raise EngineError(f"engine.key_variable={key_variable}: the environment does not have it; it holds the key")
        self._headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._model, self._url, self._key_variable = model, url.rstrip("/"), key_variable
        self._timeout, self._concurrency, self._opened = timeout, concurrency, opened
        self._top_logprobs = top_logprobs
        self._sessions = threading.local()
        self._over = threading.Event()
        """Set where nobody waits for what is still being asked."""
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_NotNowError),
            stop=tenacity.stop_any(tenacity.stop_after_attempt(tries), tenacity.stop_when_event_set(self._over)),
            sleep=tenacity.sleep_using_event(self._over),
            wait=_Wait(longest_wait),
            reraise=True,
        )
        self._gives_logprobs = top_logprobs > 0
        self._name = self._served(model.path)
        prices = (usd_per_million_read, usd_per_million_written)
        self.usage = Usage(prices=Prices(*(price or 0.0 for price in prices)) if any(prices) else None)
        self.cache = Cache()
        self.window = None
        sampling = {name: value for name, value in asdict(model.sampling).items() if value is not None}
        self._sampling = sampling
        self.identity: Mapping[str, str] = {
            "engine": "openai",
            "url": self._url,
            "weights": self._name,
            "quantization": quantization,
            "sampling": str(sampling),
            "template": str(dict(model.template)),
            "opened": opened,
            "top_logprobs": str(top_logprobs),
        }
        self.properties: Mapping[str, str] = {"concurrency": str(concurrency)}

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        """Yield each request's index and text as it comes."""
        for index, completion in self._together(self._message, requests):
            yield index, requests[index].cut(completion.text)

    def score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield each dialogue's log-probabilities as they are complete; see `valstab.engine.Engine.choose`."""
        waiting: dict[int, NDArray[np.float64]] = {}
        missing: dict[int, int] = {}
        places: dict[int, tuple[int, int]] = {}

        def choices() -> Iterator[ChoiceRequest]:
            for number, dialogue in enumerate(dialogues):
                waiting[number] = np.full((len(dialogue), len(dialogue[0].options)), np.nan)
                missing[number] = len(dialogue)
                for row, choice in enumerate(dialogue):
                    places[len(places)] = number, row
                    yield choice

        for index, logprobs in self._together(self._answer, choices()):
            number, row = places[index]
            waiting[number][row] = logprobs
            missing[number] -= 1
            if not missing[number]:
                yield number, waiting.pop(number)

    def _served(self, name: str) -> str:
        """Give the server's name of the model: this one, or that of its only model."""
        try:
            response = requests.get(f"{self._url}/models", headers=self._headers, timeout=min(10, self._timeout))
            names = [each["id"] for each in response.json()["data"]] if response.ok else []
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return name  # The first request tells what is wrong, if anything is.
        if name in names or not names:
            return name
        if len(names) > 1:
            raise EngineError(f"model.path={name}: {self._url} does not have it; {allowed(name, names)}")
        log.warning("%s has one model, %s, which is taken for model.path=%s", self._url, names[0], name)
        return str(names[0])

    def _together(self, call: Callable[[Work], Done], work: Iterable[Work]) -> Iterator[tuple[int, Done]]:
        """Yield each piece of work's index and result as it is done, a limited number at a time."""
        pending: dict[Future[Done], int] = {}
        self._over.clear()
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            for index, each in enumerate(work):
                pending[pool.submit(call, each)] = index
                if len(pending) >= 2 * self._concurrency:
                    yield from _completed(pending)
            while pending:
                yield from _completed(pending)
        finally:
            self._over.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _message(self, request: GenerationRequest) -> Completion:
        body = {**self._sampling, "max_tokens": request.max_new_tokens, "seed": _seed(request.seed)}
        return self._complete(request.prompt, body)

    def _answer(self, choice: ChoiceRequest) -> list[float]:
        if self._gives_logprobs:
            # As it is before temperature and the like, whichever of the two a server reports.
            body = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0}
            completion = self._complete(choice.prompt, {**body, **self._wanted_logprobs(choice.prompt)})
            if completion.first is None:
                self._gives_logprobs = False
            else:
                found = [_sum(logprob for token, logprob in completion.first if token == o) for o in choice.options]
                if not all(map(math.isnan, found)):
                    return found
        body = {**self._sampling, "max_tokens": ANSWER_TOKENS, "seed": _seed(choice.seed)}
        letter = parsed(self._complete(choice.prompt, body).text, choice.options)
        return [math.inf if option == letter else math.nan for option in choice.options]

    def _wanted_logprobs(self, prompt: Prompt) -> dict[str, Any]:
        if prompt.messages:
            return {"logprobs": True, "top_logprobs": self._top_logprobs}
        return {"logprobs": self._top_logprobs}

    def _complete(self, prompt: Prompt, body: Mapping[str, Any]) -> Completion:
        """Send a request, again where that may help."""
        whole = {"model": self._name, **body}
        if not prompt.messages:
            path = "completions"
            whole["prompt"] = prompt.text
        else:
            path = "chat/completions"
            whole["messages"] = [{"role": message.role, "content": message.text} for message in prompt.messages]
            if prompt.text:
                whole["messages"].append({"role": "assistant", "content": prompt.text})
                if self._opened == "continue":
                    whole |= {"continue_final_message": True, "add_generation_prompt": False}
            if self._model.template:
                whole["chat_template_kwargs"] = dict(self._model.template)
        try:
            completion: Completion = self._retrying.copy()(self._send, path, whole)
        except _NotNowError as error:
            raise EngineError(
                f"{self._url} gave no answer ({self._without_key(str(error))}); what was answered is in the store, and "
                "the same command goes on from there"
            ) from None
        # The sum of two numbers may get lost between threads.
        with _COUNTING:
            self.usage.encoded_tokens += completion.read
            self.usage.generated_tokens += completion.written
        return completion

    def _send(self, path: str, body: Mapping[str, Any]) -> Completion:
        if not hasattr(self._sessions, "session"):
            self._sessions.session = requests.Session()
        try:
            response = self._sessions.session.post(
                f"{self._url}/{path}", json=body, headers=self._headers, timeout=self._timeout
            )
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise _NotNowError(f"{type(error).__name__}: {error}") from None
        except requests.RequestException as error:
            raise EngineError(f"engine.url={self._url}: {error}") from None
        said = " ".join(self._without_key(response.text).split())[:300]  # in this order: half a key is a key too
        may_change = response.status_code in TRY_AGAIN or response.status_code >= SERVER_ERROR
        if may_change and SPENT not in response.text:
            raise _NotNowError(f"status {response.status_code}: {said}", _wanted_wait(response.headers))
        if not response.ok:
            raise EngineError(self._without_key(f"{self._url} refuses the request ({response.status_code}): {said}"))
        try:
            return _read(response.json())
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise _NotNowError(f"an answer that can't be read: {said}") from None

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, f"({self._key_variable})") if self._key else text


class _Wait(tenacity.wait.wait_base):
    """Wait as long as the server says, else longer with each try, each thread a little different."""

    def __init__(self, longest: float) -> None:
        self._otherwise = tenacity.wait_random_exponential(multiplier=1, max=longest)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error = retry_state.outcome and retry_state.outcome.exception()
        if isinstance(error, _NotNowError) and error.seconds is not None:
            return error.seconds
        return float(self._otherwise(retry_state))


def parsed(text: str, options: str) -> str | None:
    """Read a letter off a sampled answer, strictly; None where it is not clear.

    The text must begin with an offered letter: `B`, `(B)`, `B)`, `B.`, `B:` or `B,` with what follows, in either case,
    after `Answer:` or not. It may name no other option in brackets. A letter that begins a word or a sentence ("A good
    one") is none.
    """
    begins = ANSWER.match(text)
    if begins is None:
        return None
    letter = begins[1].upper()
    others = {other.upper() for other in MENTIONED.findall(text)} - {letter}
    return letter if letter in options and not others & set(options) else None


def _read(answer: Any) -> Completion:
    choice = answer["choices"][0]
    logprobs = choice.get("logprobs") or {}
    first: list[tuple[str, float]] | None = None
    if "message" in choice:
        text = choice["message"].get("content") or choice["message"].get("refusal") or ""
        if logprobs.get("content"):
            first = [(each["token"], float(each["logprob"])) for each in logprobs["content"][0]["top_logprobs"]]
    else:
        text = choice["text"]
        if logprobs.get("top_logprobs"):
            first = [(token, float(logprob)) for token, logprob in logprobs["top_logprobs"][0].items()]
    usage = answer.get("usage") or {}
    return Completion(
        _whole(str(text)), first, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    )


def _whole(text: str) -> str:
    """Put halves of surrogate pairs together, as JSON may have them; a half alone is no character and is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _completed(pending: dict[Future[Done], int]) -> Iterator[tuple[int, Done]]:
    for future in wait(pending, return_when=FIRST_COMPLETED).done:
        index = pending.pop(future)
        yield index, future.result()


def _wanted_wait(headers: Mapping[str, str]) -> float | None:
    """Give the seconds that Retry-After names, as a number or as a date."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds)


def _sum(logprobs: Iterable[float]) -> float:
    listed = list(logprobs)
    return float(np.logaddexp.reduce(listed)) if listed else math.nan


def _seed(seed: int) -> int:
    """Fit a seed into the 31 bits that every server takes."""
    return seed % (1 << 31)
