"""What a run will take, before it starts: measured on a few of its conversations, projected to all (`dry_run=true`)."""

import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from valstab.ask import answers_key, choices_after, option_orders
from valstab.converse import HELD_TOGETHER, Conversation, recall, reply_request
from valstab.cost import Dialogue, Talking, attended, fit, predict, talking
from valstab.engine import Engine, Usage
from valstab.plan import Encounter, Plan
from valstab.store import Shelf

SAMPLE = 32
"""Conversations that are held to measure."""
FEW = 4
"""Conversations that are made long, and that all questions are asked after."""
BRIEF = 16
"""Tokens of a message where its length does not matter."""
MEASURED = 3
"""Messages that are measured; the later ones are projected from them."""
LINE_BYTES = 70
"""What the store adds to a record: its key and its checksum."""
ANSWER_BYTES = 45
"""Of one question in `answers.parquet`, compressed."""
PICTURES_BYTES = 700_000
"""A run's pictures and tables, and their copies in MLflow."""
COPIES = 3
"""A conversation is in the store, in the run's files and in MLflow."""
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
    """Of the process, at its highest."""
    disk_bytes: float = 0
    """Of the store, the run's files and their copies in MLflow."""

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
            ]
        )


class _Call(NamedTuple):
    """What a call of the engine took, and counted."""

    seconds: float
    usage: Usage


def estimate(plan: Plan, engine: Engine, said: Shelf, answered: Shelf) -> Estimate:
    """Find what the shelves do not have, measure some of it and project the rest. Nothing is stored.

    Raises:
        EngineError: if the model can't be run.
    """
    known = [_recalled(plan, encounter, said) for encounter in plan.encounters]
    held = [conversation for conversation in known if len(conversation.texts) == plan.n_texts]
    unsaid = [conversation.encounter for conversation in known if len(conversation.texts) < plan.n_texts]
    unasked = len(unsaid) + sum(answered.get(answers_key(plan, conversation)) is None for conversation in held)
    items = len(plan.task.items)
    size = (len(unsaid), unasked * items, len(held), (len(known) - unasked) * items)
    if not unasked:
        return Estimate(*size)
    sample = _evenly(unsaid or plan.encounters, SAMPLE)
    texts, work, seconds, memory = _talk(plan, engine, sample, len(unsaid))
    conversations = [Conversation(encounter, tuple(said)) for encounter, said in zip(sample, texts, strict=True)]
    asked, answer_bytes = _ask(plan, engine, _evenly(conversations, FEW))
    said_bytes = np.mean([sum(len(text.encode()) + LINE_BYTES for text in said) for said in texts])
    return Estimate(
        *size,
        encoded_tokens=sum(each.encoded for each in work) + unasked * asked.usage.encoded_tokens,
        generated_tokens=sum(each.generated for each in work),
        conversing_seconds=seconds,
        asking_seconds=unasked * asked.seconds,
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + memory,
        disk_bytes=len(unsaid) * COPIES * float(said_bytes)
        + unasked * (answer_bytes + 2 * items * ANSWER_BYTES)
        + PICTURES_BYTES,
    )


def _recalled(plan: Plan, encounter: Encounter, shelf: Shelf) -> Conversation:
    texts = [encounter.context.opening] if encounter.context.opening else []
    recall(plan, encounter, shelf, texts)
    return Conversation(encounter, tuple(texts))


def _talk(
    plan: Plan, engine: Engine, sample: Sequence[Encounter], number: int
) -> tuple[list[list[str]], list[Talking], float, float]:
    """Hold the first messages of a few conversations, and one that is as late as the plan's last.

    Gives the sample's texts (the messages that were not held repeat those that were), the work of holding `number`
    conversations, its seconds, and the bytes that are then encoded beyond those of the sample.
    """
    texts = [[encounter.context.opening] if encounter.context.opening else [] for encounter in sample]
    if not plan.n_messages:
        return texts, [], 0.0, 0.0

    def call(rows: int, max_new_tokens: int) -> tuple[_Call, list[str]]:
        requests = [reply_request(plan, *each) for each in zip(sample[:rows], texts[:rows], strict=True)]
        brief = [replace(request, max_new_tokens=max_new_tokens) for request in requests]
        timed, replies = _timed(engine, lambda: dict(engine.continue_dialogues(brief)))
        return timed, [replies[index] for index in range(len(brief))]

    few = min(FEW, len(sample))
    call(few, BRIEF)  # the first call of all is slow
    calls = []
    for _ in range(min(MEASURED, plan.n_messages)):
        timed, replies = call(len(sample), plan.max_new_tokens)
        calls.append(timed)
        for said, reply in zip(texts, replies, strict=True):
            said.append(reply)
    dialogue = _lengths([each.usage for each in calls], len(sample))
    for said in texts:
        said.extend(said[1 + i % len(calls)] for i in range(plan.n_texts - len(said) - 1))
    late, replies = call(few, BRIEF)
    for said in texts:
        said.extend(said[1:2] * (plan.n_texts - len(said)))
    prompts = [(dialogue.prompt(i), len(sample)) for i in range(len(calls))]
    prompts.append((dialogue.prompt(plan.n_messages - 1), few))
    costs = fit(
        [_work(each.usage, *size) for each, size in zip([*calls, late], prompts, strict=True)],
        [each.seconds for each in [*calls, late]],
    )
    groups = [min(HELD_TOGETHER, number - start) for start in range(0, number, HELD_TOGETHER)]
    steps, most = max(each.usage.steps for each in calls), engine.cache.tokens
    work = [
        talking(dialogue, message, rows=rows, steps=steps, cache_tokens=most)
        for rows in groups
        for message in range(plan.n_messages)
    ]

    def encoded(rows: int, messages: int) -> float:
        """Count the tokens of a batch, with room for a message, and of what both speakers keep."""
        prompt = dialogue.prompt(messages - 1)
        return min(most, rows * (prompt + plan.max_new_tokens)) + min(most, 2 * rows * prompt)

    more = encoded(max(groups, default=0), plan.n_messages) - encoded(len(sample), len(calls))
    return texts, work, predict(work, costs), max(0.0, more) * engine.cache.token_bytes


def _work(usage: Usage, prompt: float, rows: int) -> Talking:
    each = attended(prompt, usage.generated_tokens / rows, usage.encoded_tokens / rows)
    return Talking(usage.steps, usage.generated_tokens, usage.encoded_tokens, rows * each)


def _lengths(counted: Sequence[Usage], rows: int) -> Dialogue:
    """Take the lengths of dialogues from what their first messages counted."""
    encoded = [usage.encoded_tokens / rows for usage in counted]
    replies = [usage.generated_tokens / rows for usage in counted]
    if len(counted) < MEASURED:
        return Dialogue((encoded[0], encoded[0]), (replies[0], replies[0]))
    # All of the second prompt is encoded, or what is new since the first.
    is_kept = encoded[2] < encoded[0] + replies[0]
    new = encoded[2] - (0 if is_kept else encoded[0] + replies[0])
    return Dialogue((encoded[0], encoded[1]), (replies[0], replies[1]), max(0.0, (new - replies[1]) / 2))


def _ask(plan: Plan, engine: Engine, conversations: Sequence[Conversation]) -> tuple[_Call, float]:
    """Give what asking all questions after one conversation takes, and the bytes of the answers in the store."""
    dialogues = [choices_after(plan, each, option_orders(plan.task, each.encounter)) for each in conversations]
    list(engine.choose([dialogues[0][:2]]))  # the first call of all is slow
    timed, answers = _timed(engine, lambda: [logprobs for _, logprobs in engine.choose(dialogues)])
    encoded = timed.usage.encoded_tokens // len(dialogues)
    return _Call(timed.seconds / len(dialogues), Usage(encoded)), len(json.dumps(answers[0].tolist())) + LINE_BYTES


def _timed(engine: Engine, compute: Callable[[], Result]) -> tuple[_Call, Result]:
    before, start = replace(engine.usage), time.perf_counter()
    result = compute()
    seconds = time.perf_counter() - start
    return _Call(
        seconds, Usage(**{name: value - getattr(before, name) for name, value in vars(engine.usage).items()})
    ), result


def _evenly(all_of_them: Sequence[Result], most: int) -> list[Result]:
    """Take some, as far apart as they can be: of all seeds and contexts."""
    number = min(most, len(all_of_them))
    return [all_of_them[i * len(all_of_them) // number] for i in range(number)]


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} hours"  # noqa: PLR2004
