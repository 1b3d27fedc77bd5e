"""Timing of a few conversations and their questions, as a sample of a run. Nothing is stored."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np

from valstab.dry_run.cost_model import DialogueLengths, Floats, GenerationWork, attended, fit
from valstab.dry_run.disk import stored_answer_bytes, stored_text_bytes
from valstab.engines.base import ChoiceRequest, Engine, GenerationRequest, Prompt, Usage, Window
from valstab.protocol.answers import Answered, answer_all
from valstab.protocol.ask import choice_requests, option_orders
from valstab.protocol.context_window import PLACEHOLDER_MESSAGE, dropped_for_reply
from valstab.protocol.converse import Conversation, opening_messages, reply_request, window_if_truncating
from valstab.protocol.open_answers import answer_openly
from valstab.protocol.plan import Plan, Session
from valstab.protocol.progress import Stage
from valstab.protocol.store import RecordLog

MIN_SAMPLE_CONVERSATIONS = 4
"""Minimum number of conversations in each timing sample (warm-up, long prompts, questions)."""


SHORT_MESSAGE_TOKENS = 16
"""Maximum number of tokens of a generated message whose length does not matter."""


LONG_SAMPLE_TOKENS = 8192
"""Total number of prompt tokens in the sample of full-length conversations."""


MEASURED_MESSAGES = 3
"""Number of messages that are generated in full; later ones are projected from them."""


CHARACTERS_PER_TOKEN = 4
"""Length of a token where it is not known."""


Result = TypeVar("Result")


class EngineCall(NamedTuple):
    """Duration of an engine call in seconds, and the work that the engine counted."""

    seconds: float
    usage: Usage


class MeasuredMessage(NamedTuple):
    """One message of several conversations, generated together."""

    call: EngineCall
    rows: int
    """Number of conversations."""
    mean_prompt: float
    """Mean length of the prompts, in tokens."""
    longest_prompt: float
    """Length of the longest prompt, in tokens."""

    @property
    def work(self) -> GenerationWork:
        """The work of generating the message in all conversations."""
        usage = self.call.usage
        each = attended(self.mean_prompt, usage.generated_tokens / self.rows, usage.encoded_tokens / self.rows)
        return GenerationWork(usage.steps, usage.generated_tokens, usage.encoded_tokens, self.rows * each)


class MeasuredConversations(NamedTuple):
    """Measurements of a sample of conversations."""

    texts: list[list[str]]
    """Texts of each conversation, at full length. Messages that were not generated repeat those that were."""
    lengths: DialogueLengths
    steps: float
    """Forward passes per message of a batch: as many as a message has tokens, since the next takes its place."""
    costs: Floats
    """Seconds per unit of each kind of `GenerationWork`."""


class MeasuredQuestions(NamedTuple):
    """Mean cost of all questions after one conversation."""

    seconds: float
    encoded_tokens: int
    generated_tokens: int
    stored_bytes: int
    """Bytes of their answers in the store."""


class _Sample:
    """Generates messages of some sessions and times them."""

    def __init__(self, plan: Plan, engine: Engine, sessions: Sequence[Session]) -> None:
        self._plan, self._engine, self._sessions = plan, engine, sessions
        self._window = window_if_truncating(plan, engine)

    def generate(
        self, rows: Sequence[int], max_new_tokens: int, conversations: Sequence[list[str]]
    ) -> tuple[MeasuredMessage, dict[int, str]]:
        """Generate the next message of the conversations in `rows`; return the measurement and the texts by row."""
        requests = [
            replace(
                _next_request(self._plan, self._sessions[row], conversations[row], self._window),
                max_new_tokens=max_new_tokens,
            )
            for row in rows
        ]
        call, replies = _timed(self._engine, lambda: dict(self._engine.generate(requests)))
        window = self._engine.window
        lengths = (
            [window.count(each.prompt) for each in requests] if window else [call.usage.encoded_tokens / len(rows)]
        )
        message = MeasuredMessage(call, len(rows), float(np.mean(lengths)), max(lengths))
        return message, {row: replies[index] for index, row in enumerate(rows)}


def measure_conversations(plan: Plan, engine: Engine, sessions: Sequence[Session]) -> MeasuredConversations:
    """Time the first messages of some conversations, and one message after the plan's last in fewer of them.

    Raises:
        EngineError: if the model can't be run.
    """
    texts = [opening_messages(session) for session in sessions]
    if not plan.n_messages:
        return MeasuredConversations(texts, DialogueLengths((0, 0), (0, 0)), 0, np.zeros(len(GenerationWork._fields)))
    sample, rows = _Sample(plan, engine, sessions), range(len(sessions))
    few = spread_evenly(rows, MIN_SAMPLE_CONVERSATIONS)
    # A doubled opening: the measured prompts below must not find a prefix of theirs in the engine's cache.
    aside = [opening * 2 for opening in texts]
    sample.generate(few, SHORT_MESSAGE_TOKENS, aside)  # warm-up: the first call is slow
    apart, _ = sample.generate(few, plan.max_new_tokens, aside)
    first = []
    for _ in range(min(MEASURED_MESSAGES, plan.n_messages)):
        message, replies = sample.generate(rows, plan.max_new_tokens, texts)
        first.append(message)
        for row, reply in replies.items():
            texts[row].append(reply)
    lengths = _with_reminders(_dialogue_lengths(first), plan, engine, sessions)
    for conversation in texts:
        conversation.extend(conversation[1 + i % len(first)] for i in range(plan.n_messages - len(first)))
    n_long = int(LONG_SAMPLE_TOKENS / max(1, lengths.prompt(plan.n_messages)))
    late_rows = spread_evenly(rows, max(MIN_SAMPLE_CONVERSATIONS, n_long))
    late, _ = sample.generate(late_rows, SHORT_MESSAGE_TOKENS, texts)
    measured = [apart, *first, late]
    steps = float(np.mean(lengths.replies)) if any(message.call.usage.steps for message in first) else 0.0
    costs = fit([message.work for message in measured], [message.call.seconds for message in measured])
    return MeasuredConversations(texts, lengths, steps, costs)


def measure_questions(
    plan: Plan, engine: Engine, conversations: Sequence[Conversation], said: Sequence[Sequence[str]] = ()
) -> MeasuredQuestions:
    """Time all questions after some conversations, or those of a judge about what was `said` there.

    Raises:
        EngineError: if the model can't be run.
    """
    dialogues = [
        choice_requests(plan, each, option_orders(plan, each.session), said=texts)
        for each, texts in zip(conversations, said or itertools.repeat(()), strict=False)
    ]

    def answer(some: Sequence[Sequence[ChoiceRequest]]) -> list[Answered]:
        keys = [str(number) for number in range(len(some))]
        return list(answer_all(plan, engine, RecordLog(None), keys, some.__getitem__))

    answer([dialogues[0][:2]])  # warm-up: the first call is slow
    call, answers = _timed(engine, lambda: answer(dialogues))
    number, usage = len(dialogues), call.usage
    return MeasuredQuestions(
        seconds=call.seconds / number,
        encoded_tokens=usage.encoded_tokens // number,
        generated_tokens=usage.generated_tokens // number,
        stored_bytes=stored_answer_bytes(answers[0].answers.logprobs, plan.answer_samples),
    )


def measure_open_answers(
    plan: Plan, engine: Engine, conversations: Sequence[Conversation]
) -> tuple[list[list[str]], MeasuredQuestions]:
    """Return the answers to all items in the model's own words after some conversations, and what they took.

    Raises:
        EngineError: if the model can't be run.
    """
    once = replace(plan, retests=0)
    call, (said,) = _timed(
        engine, lambda: answer_openly(once, conversations, engine, RecordLog(None), Stage("", "", 0))
    )
    number, usage = len(conversations), call.usage
    return said, MeasuredQuestions(
        seconds=call.seconds / number,
        encoded_tokens=usage.encoded_tokens // number,
        generated_tokens=usage.generated_tokens // number,
        stored_bytes=round(stored_text_bytes(said)),
    )


def spread_evenly(choices: Sequence[Result], maximum: int) -> list[Result]:
    """Return up to `maximum` of the choices at even distances: of sessions, from all seeds and contexts."""
    number = min(maximum, len(choices))
    return [choices[i * len(choices) // number] for i in range(number)]


def _next_request(plan: Plan, session: Session, texts: Sequence[str], window: Window | None) -> GenerationRequest:
    return reply_request(plan, session, texts, dropped_for_reply(plan, session, texts, window))


def _dialogue_lengths(messages: Sequence[MeasuredMessage]) -> DialogueLengths:
    """Return the lengths of dialogues, from their first messages."""
    prompts = [each.mean_prompt for each in messages]
    replies = [each.call.usage.generated_tokens / each.rows for each in messages]
    frames = prompts[2] - prompts[0] - replies[0] - replies[1] if len(messages) == MEASURED_MESSAGES else 0.0
    return DialogueLengths(
        (prompts[0], prompts[min(1, len(prompts) - 1)]),
        replies,
        frame=max(0.0, frames / 2),
        spread=messages[-1].longest_prompt / prompts[-1] if prompts[-1] else 1.0,
    )


def _with_reminders(
    lengths: DialogueLengths, plan: Plan, engine: Engine, sessions: Sequence[Session]
) -> DialogueLengths:
    """Return lengths with the tokens of reminders, spread over the messages, where the measured ones have none."""
    reminder, count = plan.reminder, engine.window.count if engine.window else _roughly_counted
    if reminder is None or reminder.every < MEASURED_MESSAGES or plan.n_messages <= reminder.every:
        return lengths
    texts = [PLACEHOLDER_MESSAGE] * (reminder.every + 1)
    bare = replace(plan, reminder=None)
    tokens = [
        count(plan.reply_prompt(session, texts)) - count(bare.reply_prompt(session, texts)) for session in sessions
    ]
    return lengths._replace(frame=lengths.frame + float(np.mean(tokens)) / reminder.every)


def _roughly_counted(prompt: Prompt) -> float:
    """Return about how many tokens a prompt has, for an engine that counts none."""
    return sum(len(text) for text in (prompt.text, *(text for _, text in prompt.messages))) / CHARACTERS_PER_TOKEN


def _timed(engine: Engine, compute: Callable[[], Result]) -> tuple[EngineCall, Result]:
    before, start = replace(engine.usage), time.perf_counter()
    result = compute()
    seconds, after = time.perf_counter() - start, engine.usage
    counted = Usage(
        after.encoded_tokens - before.encoded_tokens,
        after.generated_tokens - before.generated_tokens,
        after.steps - before.steps,
    )
    return EngineCall(seconds, counted), result
