"""Estimate of what a run will take: what the store lacks, projected from the timing of a few conversations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from valstab.dry_run.cost_model import generation_work, predict
from valstab.dry_run.disk import file_bytes, stored_text_bytes
from valstab.dry_run.sampling import (
    MEASURED_MESSAGES,
    MIN_SAMPLE_CONVERSATIONS,
    MeasuredConversations,
    MeasuredQuestions,
    measure_conversations,
    measure_open_answers,
    measure_questions,
    spread_evenly,
)
from valstab.engines.base import GIB, Cache, Engine, Window, usd
from valstab.protocol.answers import is_stored
from valstab.protocol.ask import answers_key
from valstab.protocol.context_window import dropped_for_questions, longest_prompt
from valstab.protocol.converse import Conversation, conversations_per_batch, replay_stored, window_if_truncating
from valstab.protocol.open_answers import judged_key, stored_open_answers
from valstab.protocol.plan import Plan, Session
from valstab.protocol.store import RecordLog

NOTHING = MeasuredQuestions(0, 0, 0, 0)
"""The measurement of answers that are not written, since options are chosen."""


SAMPLE_CONVERSATIONS = 32
"""Maximum number of conversations in the sample."""


CACHE_GROWTH = 1.3
"""Memory use per byte of cached tokens, as measured: caches grow by copying, which fragments the memory."""


@dataclass(frozen=True)
class Estimate:
    """What remains of a run, and what it will take on this machine."""

    conversations: int
    questions: int
    stored_conversations: int
    stored_questions: int
    encoded_tokens: float = 0
    generated_tokens: float = 0
    conversing_seconds: float = 0
    asking_seconds: float = 0
    memory_bytes: float = 0
    """Peak memory of the process, or of its GPUs."""
    disk_bytes: float = 0
    """Size of the store's new records, and of the run's files with their copies in MLflow."""
    usd: float | None = None
    """Price of the tokens in US dollars; None if they have no price."""
    overflow: tuple[int, int] | None = None
    """Tokens of the longest prompt and of the context window, if prompts may be truncated."""

    def __str__(self) -> str:
        """Return the estimate as lines of text."""
        seconds = self.conversing_seconds + self.asking_seconds
        return "\n".join(
            [
                f"conversations  {self.conversations:,} to generate, {self.stored_conversations:,} in the store",
                f"questions      {self.questions:,} to ask, {self.stored_questions:,} in the store",
                f"tokens         {self.encoded_tokens:,.0f} to encode, {self.generated_tokens:,.0f} to generate",
                f"time           about {_duration(seconds)}, of which asking {_duration(self.asking_seconds)}",
                f"memory         about {self.memory_bytes / GIB:.1f} GiB",
                f"disk           about {self.disk_bytes / 1e6:,.0f} MB",
                *([] if self.usd is None else [f"price          about {self.usd:,.2f} US dollars"]),
                *([] if self.overflow is None else [_overflow(*self.overflow)]),
            ]
        )


class _Remaining(NamedTuple):
    """What the store lacks."""

    sessions: list[Session]
    """Sessions whose conversation is incomplete."""
    n_asked: int
    """Number of times that all items are asked after a conversation, or rated by a judge, retests included."""
    n_written: int
    """Number of times that all items are answered in the model's own words after a conversation; 0 without a judge."""


def estimate(
    plan: Plan, engine: Engine, conversation_log: RecordLog, answer_log: RecordLog, rating_log: RecordLog | None = None
) -> Estimate:
    """Return what a run will take for the records that its logs lack. Nothing is stored.

    Args:
        plan: the plan of the run.
        engine: the tested model, which is its own judge where the task has a rubric.
        conversation_log: its conversations so far.
        answer_log: its answers so far.
        rating_log: its ratings as a judge so far; None for a task without a rubric.

    Raises:
        EngineError: if the model can't be run.
    """
    window = window_if_truncating(plan, engine)
    sessions, n_asked, n_written = _remaining(plan, window, conversation_log, answer_log, rating_log)
    items = len(plan.task.items)
    size = (len(sessions), n_asked * items, len(plan.conversing) - len(sessions), plan.n_questions - n_asked * items)
    longest = longest_prompt(plan, window) if window else 0
    overflow = (longest, window.tokens) if window and longest > window.tokens else None
    if not n_asked:
        return Estimate(*size, overflow=overflow)
    sample = spread_evenly(sessions or plan.conversing or plan.sessions, SAMPLE_CONVERSATIONS)
    measured = measure_conversations(plan, engine, sample)
    conversations = [
        _conversation(plan, session, texts, window) for session, texts in zip(sample, measured.texts, strict=True)
    ]
    n_timed = max(MIN_SAMPLE_CONVERSATIONS, engine.cache.rows // items)
    timed = spread_evenly(conversations, n_timed)
    said, writing = measure_open_answers(plan, engine, timed) if plan.task.rubric else ((), NOTHING)
    asking = measure_questions(plan, engine, timed, said)
    batches = _batches(plan, engine.cache, len(sessions))
    work = [
        generation_work(measured.lengths, number, rows=rows, steps=measured.steps, cache_tokens=engine.cache.tokens)
        for rows in batches
        for number in range(plan.n_messages)
    ]
    answering = ((n_asked, asking), (n_written, writing))
    encoded = sum(each.encoded for each in work) + sum(number * each.encoded_tokens for number, each in answering)
    generated = sum(each.generated for each in work) + sum(number * each.generated_tokens for number, each in answering)
    conversation_bytes = stored_text_bytes(measured.texts)
    return Estimate(
        *size,
        encoded_tokens=encoded,
        generated_tokens=generated,
        conversing_seconds=predict(work, measured.costs),
        asking_seconds=sum(number * each.seconds for number, each in answering),
        memory_bytes=_memory_bytes(plan, engine.cache, measured, max(batches, default=0)),
        disk_bytes=len(sessions) * conversation_bytes
        + sum(number * each.stored_bytes for number, each in answering)
        + file_bytes(plan, conversation_bytes),
        usd=engine.usage.prices and usd(engine.usage.prices, encoded, generated),
        overflow=overflow,
    )


def _remaining(
    plan: Plan,
    window: Window | None,
    conversation_log: RecordLog,
    answer_log: RecordLog,
    rating_log: RecordLog | None,
) -> _Remaining:
    sessions, n_asked, n_written = [], 0, 0
    for session in plan.sessions:
        texts = replay_stored(plan, session, conversation_log, window)
        conversation = _conversation(plan, session, texts, window)
        is_whole = len(texts) == plan.n_texts(session)
        if not is_whole:
            sessions.append(session)
        for retest in range(1 + plan.retests):
            key = answers_key(plan, conversation, retest)
            if rating_log is None:
                n_asked += not (is_whole and is_stored(plan, answer_log, key))
                continue
            said = stored_open_answers(plan, conversation, answer_log, retest) if is_whole else None
            n_written += said is None
            n_asked += said is None or not is_stored(plan, rating_log, judged_key(plan, key, said))
    return _Remaining(sessions, n_asked, n_written)


def _conversation(plan: Plan, session: Session, texts: Sequence[str], window: Window | None) -> Conversation:
    return Conversation(session, tuple(texts), n_dropped=dropped_for_questions(plan, session, texts, window))


def _batches(plan: Plan, cache: Cache, n_conversations: int) -> list[int]:
    """Return the number of conversations in each batch."""
    size = conversations_per_batch(plan.n_messages, plan.max_new_tokens, cache)
    return [min(size, n_conversations - start) for start in range(0, n_conversations, size)]


def _memory_bytes(plan: Plan, cache: Cache, measured: MeasuredConversations, rows: int) -> float:
    """Return the peak so far, and the growth of the caches from the sample to a batch of `rows` full conversations."""

    def cached_tokens(rows: int, messages: int) -> float:
        """Return the tokens of a batch, with room for a message, and those kept for both speakers."""
        prompt = measured.lengths.prompt(messages - 1) if messages else 0
        return min(cache.tokens, rows * (prompt + plan.max_new_tokens)) + min(cache.tokens, 2 * rows * prompt)

    sampled = cached_tokens(len(measured.texts), min(MEASURED_MESSAGES, plan.n_messages))
    growth = max(0.0, cached_tokens(rows, plan.n_messages) - sampled)
    return cache.peak_bytes() + CACHE_GROWTH * growth * cache.token_bytes


def _overflow(longest: int, window: int) -> str:
    return (
        f"window         up to {longest:,} tokens, but the model can read {window:,}: the oldest messages are left "
        "out, which makes the time less certain"
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} hours"  # noqa: PLR2004
