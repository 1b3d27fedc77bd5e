"""Ask a model behind an OpenAI-compatible server, several requests at a time.

Log-probabilities of letters come from the server's list of the most probable first tokens. Where it lists no letter, or
has no list, the letter is read from a sampled answer.
"""

import itertools
import logging
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valstab.config.schema import ModelConfig
from valstab.engines.base import (
    Cache,
    ChoiceRequest,
    EngineError,
    GenerationRequest,
    Prices,
    Prompt,
    Reply,
    SampleRequest,
    ThoughtfulChoice,
    Usage,
    Waiting,
)
from valstab.engines.labels import padded
from valstab.engines.servers.completions import (
    Completion,
    is_valid_list,
    listed_logprobs,
    opens_bracket,
    sampled_logprobs,
)
from valstab.engines.servers.concurrent_requests import ConcurrentRequests
from valstab.engines.servers.dialect import Dialect
from valstab.engines.servers.openai_batch import MAX_REQUESTS
from valstab.engines.servers.openai_client import OpenaiClient
from valstab.engines.servers.server_template import check_rendered
from valstab.engines.written_answer import answer_tokens, sample_by_writing
from valstab.errors import allowed

log = logging.getLogger(__name__)


BATCH_PRICE = 0.5
"""Price of a batch's tokens, as a share of that of single requests."""


MAX_THOUGHTS = 8
"""Number of first replies that may be all thought where thoughts are expected: more end the run."""


ONLY_THOUGHT = (
    "the model thinks, and all tokens of a reply went into its thought; let it answer at once, by "
    "+model.template.enable_thinking=false, ++engine.body.reasoning_effort=none or a server without reasoning parser, "
    "or let it think, by engine.thinking_tokens=2048 engine.answer_prefix=question"
)
"""What to do where a reply is empty, since the server took it for a thought."""


MAX_UNLISTED = 3
"""Number of first answers without a list of tokens after which none is asked for any more."""


LIST_ATTEMPTS = 3
"""Number of times that a list of tokens is asked for, where one is missing or wrong."""


class OpenaiEngine:
    """A model behind an OpenAI-compatible server: chat completions, or completions for a base model.

    Args:
        model: `path` is the server's name of the model, or anything if it has only one. `template` has
            arguments of the server's chat template.
        quantization: `none`, since the server decides.
        url: address of the API.
        key_variable: environment variable that holds the key.
        concurrency: maximum number of requests at the same time.
        timeout: maximum time for one answer, in seconds; then the request is repeated.
        max_away: maximum time for which a request is repeated, in seconds.
        answer_prefix: `continue`, `message` or `question`; see `valstab.config.engines.OpenaiConfig`.
        limit_field: the name of the field with the maximum number of tokens.
        thinking_tokens: tokens that a reply may have in addition, for a thought.
        body: further fields of each request's body; null leaves out one that is sent.
        renderer: the kind of server, if it can show its prompts.
        batch: whether requests are sent by the batch API, at `BATCH_PRICE` of the price.
        structured_choice: how the server restricts a written answer to a letter: `vllm`, `llama_cpp` or `openai`.
        top_logprobs: number of most probable tokens to request; 0 requests none.
        usd_per_million_input: price of a million prompt tokens, in US dollars.
        usd_per_million_output: price of a million generated tokens, in US dollars.

    Raises:
        EngineError: if the openai package is missing, the server has other models only, or OpenAI's key is not set.
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
        max_away: float = 600,
        answer_prefix: str = "continue",
        limit_field: str = "max_tokens",
        thinking_tokens: int = 0,
        body: Mapping[str, Any] | None = None,
        structured_choice: str | None = None,
        renderer: str | None = None,
        batch: bool = False,
        top_logprobs: int = 20,
        usd_per_million_input: float | None = None,
        usd_per_million_output: float | None = None,
    ) -> None:
        if model.path is None:
            raise EngineError(f"model={model.name}: set model.path to what the server calls the model")
        key = os.environ.get(key_variable, "")
        if not key and "api.openai.com" in url:
            raise EngineError(f"engine.key_variable={key_variable}: the environment does not have it; it holds the key")
        self._url = url.rstrip("/")
        self._client = OpenaiClient(self._url, key, key_variable, timeout=timeout, max_away=max_away, batch=batch)
        self._batch = batch
        self._requests = ConcurrentRequests(self._client, MAX_REQUESTS if batch else concurrency)
        self._dialect = Dialect(
            answer_prefix, limit_field, thinking_tokens, dict(body or {}), dict(model.template), structured_choice
        )
        self._n_thoughts, self._has_spoken = 0, False
        self._renderer, self._checked = renderer, set[bool]()
        self._top_logprobs, self._lists_tokens = top_logprobs, top_logprobs > 0
        self._n_unlisted = 0.0
        models = self._client.models()
        self._name = self._served_name(model.path, models)
        self._sampling = {name: value for name, value in asdict(model.sampling).items() if value is not None}
        prices = (usd_per_million_input, usd_per_million_output)
        share = BATCH_PRICE if batch else 1.0
        self.usage = Usage(prices=Prices(*(share * (price or 0.0) for price in prices)) if any(prices) else None)
        self.cache = Cache(rows=MAX_REQUESTS if batch else 0)
        self.window = None
        self.identity: Mapping[str, str] = {
            "engine": "openai",
            "url": _without_port(self._url),
            "weights": self._name,
            "quantization": quantization,
            "sampling": str(self._sampling),
            "template": str(self._dialect.template),
            "opened": answer_prefix,  # by the setting's former name, which the stores' keys have
            "top_logprobs": str(top_logprobs),
            # Only where they are set: without them the identity is that of earlier stores.
            **({"served": models[self._name]} if models.get(self._name) else {}),
            **({"body": str(self._dialect.body)} if body else {}),
            **({"structured_choice": structured_choice} if structured_choice else {}),
            **({"thinking_tokens": str(thinking_tokens)} if thinking_tokens else {}),
        }
        self.properties: Mapping[str, str] = {"concurrency": str(concurrency), "probabilities": "listed"}

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, str]]:
        """Yield each request's index and text, in the order of the answers."""
        for index, completion in self._requests.as_answered(
            self._continue, list(requests) if self._batch else Waiting(requests)
        ):
            text = requests[index].cut(completion.text)
            yield index, Reply(text, completion.thought) if completion.thought else text

    def score_options(self, dialogues: Iterable[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield each dialogue's index and log-probabilities (nats) once it is complete; see `Engine.score_options`."""
        for index, logprobs in self._requests.by_dialogue(self._choose, dialogues):
            yield index, padded(logprobs)

    def think_options(
        self, dialogues: Iterable[Sequence[ThoughtfulChoice]]
    ) -> Iterator[tuple[int, list[str], NDArray[np.float64]]]:
        """Yield each dialogue's index, the thoughts that the server shows, and what it answers after them.

        The length of a thought is the server's, within `thinking_tokens`. Letters are read from the text.
        """
        if not self._dialect.thinking_tokens:
            raise EngineError(
                "engine.thinking_tokens=0: answer=thinking needs tokens for the thought; engine=openai_reasoning and "
                "engine=vllm_server_reasoning have them"
            )
        for index, answers in self._requests.by_dialogue(self._think, dialogues):
            thoughts, logprobs = zip(*answers, strict=True)
            yield index, list(thoughts), padded(logprobs)

    def sample_options(self, dialogues: Iterable[Sequence[SampleRequest]]) -> Iterator[tuple[int, list[list[str]]]]:
        """Yield each dialogue's index and sampled answers; see `Engine.sample_options`."""
        if not self._batch:
            yield from sample_by_writing(self.generate, dialogues)
            return
        # All dialogues as one, so that they are one batch.
        asked = list(dialogues)
        for _, letters in sample_by_writing(self.generate, [[choice for choices in asked for choice in choices]]):
            answers = iter(letters)
            yield from ((number, list(itertools.islice(answers, len(choices)))) for number, choices in enumerate(asked))

    def _served_name(self, name: str, models: Collection[str]) -> str:
        """Return the server's name of the model: this one, or that of its only model."""
        if name in models or not models:
            return name
        if len(models) > 1:
            raise EngineError(f"model.path={name}: {self._url} does not have it; {allowed(name, models)}")
        log.warning("%s has one model, %s, which is taken for model.path=%s", self._url, *models, name)
        return next(iter(models))

    async def _continue(self, request: GenerationRequest) -> Completion:
        return await self._reply(request.prompt, request.max_new_tokens, request.seed, request.options)

    async def _choose(self, choice: ChoiceRequest) -> list[float]:
        logprobs = await self._listed_logprobs(choice) if self._lists_tokens else None
        if logprobs is not None:
            return logprobs
        completion = await self._reply(choice.prompt, answer_tokens(choice.options), choice.seed, choice.options)
        return sampled_logprobs(completion.text, choice.options, choice.prompt.text)

    async def _listed_logprobs(self, choice: ChoiceRequest) -> list[float] | None:
        """Return log-probabilities from a list of tokens; None if there is none, or no letter stands first in it.

        A list that is missing where others have one, or whose numbers are no log-probabilities, is asked for again. If
        the last one is wrong too, all are -inf: a failed answer.
        """
        # Servers list probabilities before or after sampling's settings: with these, the two are the same.
        settings = {"temperature": 1.0, "top_p": 1.0, **self._token_list(choice.prompt)}
        is_wrong = False
        for _ in range(LIST_ATTEMPTS):
            listed = (await self._complete(choice.prompt, 1, settings)).first_tokens
            self._count_lists(listed is not None)
            is_wrong = listed is not None and not is_valid_list(listed)
            if listed is not None and not is_wrong:
                logprobs = listed_logprobs(listed, choice.options)
                return None if all(map(math.isnan, logprobs)) or opens_bracket(listed) else logprobs
            if listed is None and self._n_unlisted > 0:
                return None
        return [-math.inf] * len(choice.options) if is_wrong else None

    def _count_lists(self, is_listed: bool) -> None:  # noqa: FBT001  (what is counted)
        """Stop asking for lists of tokens after `MAX_UNLISTED` answers without any; a single one may lack it."""
        if is_listed:
            self._n_unlisted = -math.inf
        self._n_unlisted += 1
        self._lists_tokens = self._n_unlisted < MAX_UNLISTED

    async def _think(self, choice: ThoughtfulChoice) -> tuple[str, list[float]]:
        completion = await self._reply(choice.prompt, answer_tokens(choice.options), choice.seed, choice.options)
        return completion.thought, sampled_logprobs(completion.text, choice.options, choice.prompt.text)

    async def _reply(self, prompt: Prompt, tokens: int, seed: int, options: Sequence[str] = ()) -> Completion:
        """Return a sampled reply, which may have a thought before it, and is one of the options if there are any.

        Raises:
            EngineError: if the model only thinks.
        """
        # Every server takes a seed of 31 bits.
        settings = {**self._sampling, "seed": seed % (1 << 31), **self._dialect.choice_fields(options)}
        completion = await self._complete(prompt, tokens + self._dialect.thinking_tokens, settings)
        self._has_spoken |= not completion.is_thought
        self._n_thoughts += completion.is_thought
        if completion.is_thought and not self._dialect.thinking_tokens:
            raise EngineError(f"{self._url}: {ONLY_THOUGHT}")
        if self._n_thoughts >= MAX_THOUGHTS and not self._has_spoken:
            raise EngineError(
                f"{self._url}: the first {MAX_THOUGHTS} thoughts took all their tokens, and no reply is left; set more "
                f"than engine.thinking_tokens={self._dialect.thinking_tokens}, or a lower effort of thinking"
            )
        return completion._replace(text=self._dialect.read_choice(completion.text)) if options else completion

    async def _check_prompt(self, request: Mapping[str, Any]) -> None:
        """Check the first prompt of a message, and of an answer, if the server shows them."""
        text = await self._client.render(str(self._renderer), request)
        if text is None:
            log.warning("%s can't show its prompts, so they are not checked: engine.renderer=null", self._url)
        else:
            check_rendered(text, request["messages"])

    def _token_list(self, prompt: Prompt) -> dict[str, Any]:
        """Return the settings that ask for the most probable tokens: they differ between the two endpoints."""
        if prompt.messages:
            return {"logprobs": True, "top_logprobs": self._top_logprobs}
        return {"logprobs": self._top_logprobs}

    async def _complete(self, prompt: Prompt, tokens: int, settings: Mapping[str, Any]) -> Completion:
        """Return the server's answer to a prompt, and count its tokens."""
        content, fields = self._dialect.write(prompt, tokens, settings)
        is_opened = bool(prompt.text)
        if self._renderer and prompt.messages and is_opened not in self._checked:
            self._checked.add(is_opened)
            await self._check_prompt({"model": self._name, **content, **fields})
        completion = await self._client.complete({"model": self._name, **content}, fields)
        self.usage.encoded_tokens += completion.input_tokens
        self.usage.generated_tokens += completion.output_tokens
        return completion


def _without_port(url: str) -> str:
    """Return an address without its port: the same server may listen on another one the next time."""
    return re.sub(r"^(\w+://[^/]*?):\d+(?=/|$)", r"\1", url)
