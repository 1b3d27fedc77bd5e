"""What a run will take, before it starts: measured on a few of its conversations, projected to all (`dry_run=true`)."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from valstab.dry_run.cost_model import Dialogue, Floats, GenerationWork, attended, fit, generation_work, predict
from valstab.engines.base import Engine, Usage, Window, usd
from valstab.protocol.ask import answers_key, choices_after, option_orders
from valstab.protocol.context_window import longest_prompt, unseen_by_questions, unseen_by_speaker
from valstab.protocol.converse import (
    Conversation,
    conversations_per_batch,
    opening_messages,
    replay_stored,
    reply_request,
    window_if_truncating,
)
from valstab.protocol.plan import Plan, Session
from valstab.protocol.store import RecordLog

SAMPLE_CONVERSATIONS = 32
"""Conversations that are held to measure."""


MIN_SAMPLE_CONVERSATIONS = 4
"""Minimum number of conversations in each timing sample (warm-up, long prompts, questions)."""


SHORT_MESSAGE_TOKENS = 16
"""Tokens of a message where its length does not matter."""


LONG_SAMPLE_TOKENS = 8192
"""Tokens of the conversations that are made long, all together."""


MEASURED_MESSAGES = 3
"""Messages that are measured; the later ones are projected from them."""


LINE_BYTES = 70
"""What the store adds to a record: its key and its checksum."""


ANSWER_BYTES = 95
"""Of one question in a run's files: `answers.parquet`, `profiles.csv` and the report, compressed."""


RUN_BYTES, PERSONA_BYTES, KEY_BYTES = 170_000, 2_000, 10_000
"""Of a run's pictures, report and configuration, whatever was said; and more for each persona and each value."""


COPIES_OF_FILES = 2
"""A run's files are in its folder and in MLflow."""


FRAGMENTATION = 1.3
"""Memory over what caches hold: they grow by being copied, and leave holes where they were (measured)."""


GIB = 1 << 30


Result = TypeVar("Result")


@dataclass(frozen=True)
class Estimate:
    """What is still to do, and what it will take on this machine."""

    conversations: int
    questions: int
    stored_conversations: int
    stored_questions: int
    encoded_tokens: float = 0
    generated_tokens: float = 0
    conversing_seconds: float = 0
    asking_seconds: float = 0
    memory_bytes: float = 0
    """Of the process, or of its GPUs, at its highest."""
    disk_bytes: float = 0
    """Of the store, the run's files and their copies in MLflow."""
    usd: float | None = None
    """What the tokens cost, if they have a price."""
    overflow: tuple[int, int] | None = None
    """The tokens of the longest prompt and of the model's window, if the oldest messages may be left out."""

    def __str__(self) -> str:
        """Say it in a few lines."""
        seconds = self.conversing_seconds + self.asking_seconds
        return "\n".join(
            [
                f"conversations  {self.conversations:,} to hold, {self.stored_conversations:,} in the store",
                f"questions      {self.questions:,} to ask, {self.stored_questions:,} in the store",
                f"tokens         {self.encoded_tokens:,.0f} to encode, {self.generated_tokens:,.0f} to generate",
                f"time           about {_duration(seconds)}, of which asking {_duration(self.asking_seconds)}",
                f"memory         about {self.memory_bytes / GIB:.1f} GiB",
                f"disk           about {self.disk_bytes / 1e6:,.0f} MB",
                *([] if self.usd is None else [f"price          about {self.usd:,.2f} US dollars"]),
                *([] if self.overflow is None else [_overflow(*self.overflow)]),
            ]
        )


class _Call(NamedTuple):
    """What a call of the engine took, and counted."""

    seconds: float
    usage: Usage


class _Message(NamedTuple):
    """The next message of some dialogues: what it took, and the mean and the longest of their prompts, in tokens."""

    call: _Call
    rows: int
    prompt: float
    longest: float

    @property
    def work(self) -> GenerationWork:
        """What was done."""
        usage = self.call.usage
        each = attended(self.prompt, usage.generated_tokens / self.rows, usage.encoded_tokens / self.rows)
        return GenerationWork(usage.steps, usage.generated_tokens, usage.encoded_tokens, self.rows * each)


class _Talked(NamedTuple):
    """What a few conversations show: their texts, lengths in tokens, forward passes, and the costs of the work."""

    texts: list[list[str]]
    dialogue: Dialogue
    steps: int
    costs: Floats


class _Asked(NamedTuple):
    """What all questions after one conversation take, on average, and the bytes of their answers in the store."""

    seconds: float
    encoded_tokens: int
    generated_tokens: int
    stored_bytes: int


def estimate(plan: Plan, engine: Engine, said: RecordLog, answered: RecordLog) -> Estimate:
    """Find what the shelves do not have, measure some of it and project the rest. Nothing is stored.

    Raises:
        EngineError: if the model can't be run.
    """
    window = window_if_truncating(plan, engine)
    known = [_recalled(plan, session, said, window) for session in plan.sessions]
    held = [conversation for conversation in known if len(conversation.texts) == plan.n_texts]
    unsaid = [conversation.session for conversation in known if len(conversation.texts) < plan.n_texts]
    rounds = range(1 + plan.retests)
    unasked = len(unsaid) * len(rounds) + sum(
        answered.get(answers_key(plan, conversation, retest)) is None for conversation in held for retest in rounds
    )
    items = len(plan.task.items)
    most = longest_prompt(plan, window) if window else 0
    overflow = (most, window.tokens) if window and most > window.tokens else None
    size = (len(unsaid), unasked * items, len(held), plan.questions - unasked * items)
    if not unasked:
        return Estimate(*size, overflow=overflow)
    sample = _evenly(unsaid or plan.sessions, SAMPLE_CONVERSATIONS)
    talked = _talk(plan, engine, sample)
    together = conversations_per_batch(plan.n_messages, plan.max_new_tokens, engine.cache)
    groups = [min(together, len(unsaid) - start) for start in range(0, len(unsaid), together)]
    work = [
        generation_work(talked.dialogue, number, rows=rows, steps=talked.steps, cache_tokens=engine.cache.tokens)
        for rows in groups
        for number in range(plan.n_messages)
    ]
    conversations = [
        _conversation(plan, session, texts, window) for session, texts in zip(sample, talked.texts, strict=True)
    ]
    asked = _ask(plan, engine, _evenly(conversations, max(MIN_SAMPLE_CONVERSATIONS, engine.cache.rows // items)))
    said_bytes = float(np.mean([sum(len(text.encode()) + LINE_BYTES for text in said) for said in talked.texts]))

    def cached(rows: int, messages: int) -> float:
        """Count the tokens of a batch, with room for a message, and of what both speakers keep."""
        most, prompt = engine.cache.tokens, talked.dialogue.prompt(messages - 1) if messages else 0
        return min(most, rows * (prompt + plan.max_new_tokens)) + min(most, 2 * rows * prompt)

    more = cached(max(groups, default=0), plan.n_messages) - cached(
        len(sample), min(MEASURED_MESSAGES, plan.n_messages)
    )
    encoded = sum(each.encoded for each in work) + unasked * asked.encoded_tokens
    generated = sum(each.generated for each in work) + unasked * asked.generated_tokens
    return Estimate(
        *size,
        encoded_tokens=encoded,
        generated_tokens=generated,
        conversing_seconds=predict(work, talked.costs),
        asking_seconds=unasked * asked.seconds,
        memory_bytes=engine.cache.peak_bytes() + FRAGMENTATION * max(0.0, more) * engine.cache.token_bytes,
        disk_bytes=len(unsaid) * said_bytes
        + unasked * asked.stored_bytes
        + COPIES_OF_FILES * _files_bytes(plan, said_bytes),
        usd=engine.usage.prices and usd(engine.usage.prices, encoded, generated),
        overflow=overflow,
    )


def _files_bytes(plan: Plan, said_bytes: float) -> float:
    """Give the size of a run's files, from that of a conversation."""
    always = RUN_BYTES + PERSONA_BYTES * len(plan.personas) + KEY_BYTES * len(plan.task.keys)
    return always + len(plan.sessions) * said_bytes + plan.questions * ANSWER_BYTES


def _recalled(plan: Plan, session: Session, shelf: RecordLog, window: Window | None) -> Conversation:
    texts = opening_messages(session)
    replay_stored(plan, session, shelf, texts, window)
    return _conversation(plan, session, texts, window)


def _conversation(plan: Plan, session: Session, texts: Sequence[str], window: Window | None) -> Conversation:
    return Conversation(session, tuple(texts), unseen=unseen_by_questions(plan, session, texts, window))


def _talk(plan: Plan, engine: Engine, sample: Sequence[Session]) -> _Talked:
    """Hold the first messages of a few conversations, and of fewer the one that would follow the plan's last.

    Messages that are not held repeat those that are.
    """
    texts = [opening_messages(session) for session in sample]
    window = window_if_truncating(plan, engine)
    if not plan.n_messages:
        return _Talked(texts, Dialogue((0, 0), (0, 0)), 0, np.zeros(len(GenerationWork._fields)))

    def hold(rows: Sequence[int], max_new_tokens: int, said: Sequence[list[str]]) -> tuple[_Message, dict[int, str]]:
        requests = [
            replace(
                reply_request(plan, sample[row], said[row], unseen_by_speaker(plan, sample[row], said[row], window)),
                max_new_tokens=max_new_tokens,
            )
            for row in rows
        ]
        call, replies = _timed(engine, lambda: dict(engine.generate(requests)))
        encoded = [call.usage.encoded_tokens / len(rows)]
        prompts = [engine.window.count(each.prompt) for each in requests] if engine.window else encoded
        message = _Message(call, len(rows), float(np.mean(prompts)), max(prompts))
        return message, {row: replies[index] for index, row in enumerate(rows)}

    everyone = range(len(sample))
    few = _evenly(everyone, MIN_SAMPLE_CONVERSATIONS)
    # No message that is measured below may find its beginning encoded here.
    aside = [said * 2 for said in texts]
    hold(few, SHORT_MESSAGE_TOKENS, aside)  # the first call of all is slow
    apart, _ = hold(few, plan.max_new_tokens, aside)
    first = []
    for _ in range(min(MEASURED_MESSAGES, plan.n_messages)):
        message, replies = hold(everyone, plan.max_new_tokens, texts)
        first.append(message)
        for row, reply in replies.items():
            texts[row].append(reply)
    dialogue = _lengths(first)
    for said in texts:
        said.extend(said[1 + i % len(first)] for i in range(plan.n_messages - len(first)))
    many = int(LONG_SAMPLE_TOKENS / max(1, dialogue.prompt(plan.n_messages)))
    late, _ = hold(_evenly(everyone, max(MIN_SAMPLE_CONVERSATIONS, many)), SHORT_MESSAGE_TOKENS, texts)
    measured = [apart, *first, late]
    steps = min(plan.max_new_tokens, max(message.call.usage.steps for message in first))
    costs = fit([message.work for message in measured], [message.call.seconds for message in measured])
    return _Talked(texts, dialogue, steps, costs)


def _lengths(messages: Sequence[_Message]) -> Dialogue:
    """Take the lengths of dialogues from their first messages."""
    prompts = [each.prompt for each in messages]
    replies = [each.call.usage.generated_tokens / each.rows for each in messages]
    frames = prompts[2] - prompts[0] - replies[0] - replies[1] if len(messages) == MEASURED_MESSAGES else 0.0
    return Dialogue(
        (prompts[0], prompts[min(1, len(prompts) - 1)]),
        replies,
        frame=max(0.0, frames / 2),
        spread=messages[-1].longest / prompts[-1] if prompts[-1] else 1.0,
    )


def _ask(plan: Plan, engine: Engine, conversations: Sequence[Conversation]) -> _Asked:
    dialogues = [choices_after(plan, each, option_orders(plan.task, each.session)) for each in conversations]
    list(engine.score_options([dialogues[0][:2]]))  # the first call of all is slow
    timed, answers = _timed(engine, lambda: [logprobs for _, logprobs in engine.score_options(dialogues)])
    number = len(dialogues)
    stored = len(json.dumps(answers[0].tolist())) + LINE_BYTES
    usage = timed.usage
    return _Asked(timed.seconds / number, usage.encoded_tokens // number, usage.generated_tokens // number, stored)


def _timed(engine: Engine, compute: Callable[[], Result]) -> tuple[_Call, Result]:
    before, start = replace(engine.usage), time.perf_counter()
    result = compute()
    seconds, after = time.perf_counter() - start, engine.usage
    counted = Usage(
        after.encoded_tokens - before.encoded_tokens,
        after.generated_tokens - before.generated_tokens,
        after.steps - before.steps,
    )
    return _Call(seconds, counted), result


def _evenly(all_of_them: Sequence[Result], most: int) -> list[Result]:
    """Take some, as far apart as they can be: of all seeds and contexts."""
    number = min(most, len(all_of_them))
    return [all_of_them[i * len(all_of_them) // number] for i in range(number)]


def _overflow(most: int, window: int) -> str:
    return (
        f"window         up to {most:,} tokens, but the model can read {window:,}: the oldest messages are left out, "
        "and time is less sure"
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} hours"  # noqa: PLR2004
