"""The answers after each conversation, from the store or from the engine.

`exact` reads the whole distribution over the letters, `thoughtful` does so after a thought, and `sampled` counts the
letters that the model's own sampling gives.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from valstab.engines.base import ChoiceRequest, Engine, SampleRequest, ThoughtfulChoice
from valstab.engines.labels import are_whole
from valstab.engines.received import FAILED, MISSING, Reads
from valstab.hashing import content_hash, derive_seed
from valstab.protocol.plan import Plan
from valstab.protocol.records import AnswerRecord, received_answers, stored_answers
from valstab.protocol.store import RecordLog


class Answers(NamedTuple):
    """The answers to all items after one conversation."""

    logprobs: NDArray[np.float64]
    """Log-probability of each letter in nats, as `Engine.score_options` yields them. Shape: (items, options)."""
    chosen: NDArray[np.intp]
    """Index of the most probable letter; of letters that were sampled equally often, the one sampled first.

    Shape: (items,).
    """
    readings: Sequence[str]
    """How each answer was read, one of `valstab.engines.received.READINGS`."""
    thoughts: Sequence[str] | None = None
    """The thought before each answer; None for a model that does not think."""


class Answered(NamedTuple):
    """The answers after one conversation, and where they are from."""

    number: int
    """Number of the conversation."""
    answers: Answers
    reused: bool
    """Whether all of them came from the store."""


Requests = Callable[[int], Sequence[ChoiceRequest]]
"""Returns the requests of a conversation, by its number."""


def answer_all(
    plan: Plan, engine: Engine, log: RecordLog, keys: Sequence[str], requests: Requests
) -> Iterator[Answered]:
    """Yield the answers after each conversation once, those from the store first.

    Args:
        plan: how answers are obtained.
        engine: the engine.
        log: where answers are stored.
        keys: the store's key of each conversation's answers.
        requests: returns a conversation's requests.
    """
    if plan.answer_samples:
        return sampled(engine, log, keys, requests, plan)
    if plan.answer_thought_tokens is not None:
        return thoughtful(engine, log, keys, requests, plan)
    return exact(engine, log, keys, requests, plan)


def is_stored(plan: Plan, log: RecordLog, key: str) -> bool:
    """Return whether all answers of a key are stored."""
    names = _sample_keys(key, plan.answer_samples) if plan.answer_samples else [key]
    return all(log.get(name) is not None for name in names)


def exact(engine: Engine, log: RecordLog, keys: Sequence[str], requests: Requests, plan: Plan) -> Iterator[Answered]:
    """Yield answers with the probabilities that the engine reads."""

    def computed(dialogues: Iterator[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, AnswerRecord]]:
        for place, logprobs in engine.score_options(dialogues):
            yield place, received_answers(logprobs, reads_of(engine))

    return _from_records(log, keys, requests, computed, lambda record: stored(record, plan, engine))


def thoughtful(
    engine: Engine, log: RecordLog, keys: Sequence[str], requests: Requests, plan: Plan
) -> Iterator[Answered]:
    """Yield answers after thoughts, with the probabilities that the engine reads."""

    def after_thought(choice: ChoiceRequest) -> ThoughtfulChoice:
        return ThoughtfulChoice(choice.prompt, choice.options, choice.seed, plan.answer_thought_tokens or 0)

    def computed(dialogues: Iterator[Sequence[ChoiceRequest]]) -> Iterator[tuple[int, AnswerRecord]]:
        thinking = ([after_thought(choice) for choice in choices] for choices in dialogues)
        for place, thoughts, logprobs in engine.think_options(thinking):
            yield place, received_answers(logprobs, reads_of(engine), thoughts)

    return _from_records(log, keys, requests, computed, lambda record: stored(record, plan, engine))


def reads_of(engine: Engine) -> Reads:
    """Return how an engine reads answers."""
    text = "structured" if "structured_choice" in engine.identity else "text"
    return Reads(engine.properties.get("probabilities", "exact"), text)


def stored(record: Any, plan: Plan, engine: Engine) -> AnswerRecord | None:
    """Return the answers of a record; None if there is none, or not for this task."""
    found = record if isinstance(record, AnswerRecord | None) else stored_answers(record, reads_of(engine))
    shape = len(plan.task.items), len(plan.task.scores)
    return found if found is not None and found.logprobs.shape == shape else None


def sampled(engine: Engine, log: RecordLog, keys: Sequence[str], requests: Requests, plan: Plan) -> Iterator[Answered]:
    """Yield answers with frequencies of letters. Each sample has a record and a seed of its own, so more only add."""
    n_items = len(plan.task.items)
    names = [_sample_keys(key, plan.answer_samples) for key in keys]
    lacking = [
        tuple(sample for sample, name in enumerate(each) if len(log.get(name) or ()) != n_items) for each in names
    ]
    missing = [number for number, samples_of in enumerate(lacking) if samples_of]

    def answers(number: int) -> Answers:
        samples = [list(log.get(name) or ()) for name in names[number]]
        return _most_frequent(samples, [choice.options for choice in requests(number)])

    def dialogue(number: int) -> list[SampleRequest]:
        return [
            SampleRequest(
                choice.prompt,
                choice.options,
                tuple(derive_seed("sample", choice.seed, sample) for sample in lacking[number]),
            )
            for choice in requests(number)
        ]

    for number in sorted({*range(len(keys))} - {*missing}):
        yield Answered(number, answers(number), reused=True)
    for place, letters in engine.sample_options(dialogue(number) for number in missing):
        number = missing[place]
        of_samples = zip(lacking[number], zip(*letters, strict=True), strict=True)
        log.put({names[number][sample]: _sample_record(each) for sample, each in of_samples})
        yield Answered(number, answers(number), reused=False)


def _from_records(
    log: RecordLog,
    keys: Sequence[str],
    requests: Requests,
    computed: Callable[[Iterator[Sequence[ChoiceRequest]]], Iterator[tuple[int, AnswerRecord]]],
    answers: Callable[[Any], AnswerRecord | None],
) -> Iterator[Answered]:
    """Yield answers that have one record for each conversation, and store those that are missing.

    A record with failed answers has a key of its own, and the next start asks these again.

    Args:
        log: the records.
        keys: the key of each conversation.
        requests: returns a conversation's requests.
        computed: yields the place and the answers of each of these conversations' requests.
        answers: returns the answers that a record of the store holds; None if it holds none.
    """
    missing: list[int] = []
    incomplete: dict[int, AnswerRecord] = {}
    for number, key in enumerate(keys):
        known = answers(log.get(key))
        if known is not None:
            yield Answered(number, _most_probable(known), reused=True)
            continue
        missing.append(number)
        if found := answers(log.get(_incomplete_key(key))):
            incomplete[number] = found

    def to_ask(number: int) -> Sequence[ChoiceRequest]:
        known = incomplete[number].readings if number in incomplete else itertools.repeat(FAILED)
        return [request for request, reading in zip(requests(number), known, strict=False) if reading == FAILED]

    for place, received in computed(to_ask(number) for number in missing):
        number = missing[place]
        record = incomplete[number].mended(received) if number in incomplete else received
        key = _incomplete_key(keys[number]) if FAILED in record.readings else keys[number]
        log.put({key: record})
        yield Answered(number, _most_probable(record), reused=False)


def _incomplete_key(key: str) -> str:
    """Return the store's key of answers some of which have failed."""
    return content_hash([key, "incomplete"])


def _sample_keys(key: str, samples: int) -> list[str]:
    """Return the store's key of each sample."""
    return [content_hash([key, "sample", number]) for number in range(samples)]


def _most_probable(record: AnswerRecord) -> Answers:
    chosen = np.where(np.isnan(record.logprobs), -np.inf, record.logprobs).argmax(axis=1)
    return Answers(record.logprobs, chosen, record.readings, record.thoughts)


def _sample_record(labels: Sequence[str]) -> str | list[str]:
    """Return the record of a sample's labels, one for each item: a text if each has one character."""
    return list(labels) if are_whole(labels) else "".join(labels)


def _most_frequent(samples: Sequence[Sequence[str]], options: Sequence[Sequence[str]]) -> Answers:
    """Return the frequencies of sampled labels, NaN for an item without a readable one.

    Args:
        samples: the labels of each sample. Shape: (samples, items).
        options: the labels of each item.
    """
    labels, longest = np.array(samples), max(map(len, options))
    offered = np.array([[*each, *[""] * (longest - len(each))] for each in options])
    is_option = labels[:, :, np.newaxis] == offered
    shares = is_option.mean(axis=0)
    # The first sample of each option breaks ties: by the alphabet, answers would seem to follow the position.
    chosen = np.lexsort((is_option.argmax(axis=0), -shares), axis=1)[:, 0]
    with np.errstate(divide="ignore"):
        logprobs: NDArray[np.float64] = np.log(shares)
    is_missing = ~is_option.any(axis=(0, 2))
    logprobs[is_missing] = np.nan
    logprobs[offered == ""] = np.nan  # of items with fewer options than others
    return Answers(logprobs, chosen, np.where(is_missing, MISSING, "sampled").tolist())
