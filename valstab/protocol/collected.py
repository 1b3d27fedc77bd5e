"""The data that a run collects, and what collecting it cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from valstab.engines.base import Engine
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import Plan

GIB = 1 << 30


@dataclass(frozen=True)
class RunCost:
    """Cost of a run, and how much came from the store."""

    queries_per_second: float
    """Questions asked, without those from the store, over the time of asking; 0 if all came from the store."""
    conversing_seconds: float
    asking_seconds: float
    peak_memory_gib: float
    """Highest memory use of the process, or of its GPUs."""
    encoded_tokens: int
    generated_tokens: int
    reused_conversations: int
    """Conversations that came whole from the store."""
    reused_answers: int
    shortened_prompts: int = 0
    """Prompts that leave the oldest messages out, because all of them do not fit the model's context window."""
    usd: float | None = None
    """Price of the tokens in US dollars, if they have one."""


class StageTimes(NamedTuple):
    """Duration of both stages, in seconds."""

    conversing: float
    asking: float


@dataclass(frozen=True)
class CollectedData:
    """Conversations and answers of a run, before anything is computed from them."""

    conversations: Sequence[Conversation]
    """One for each session of the plan, in the plan's order."""
    answers: pd.DataFrame
    """One row a question, as `valstab.protocol.ask.ask` returns them."""
    retests: pd.DataFrame | None
    """The same for all retests, with their number in the column `retest`."""
    cost: RunCost
    engine: Mapping[str, str]
    """What the engine really used."""
    damaged: int
    """Number of lines of the store that could not be read."""


def run_cost(
    plan: Plan, conversations: Sequence[Conversation], engine: Engine, times: StageTimes, *, reused_answers: int
) -> RunCost:
    """Return what a run cost, from its engine's counters and the times of its stages."""
    return RunCost(
        queries_per_second=(plan.questions - reused_answers) / times.asking,
        conversing_seconds=times.conversing,
        asking_seconds=times.asking,
        peak_memory_gib=engine.cache.peak_bytes() / GIB,
        encoded_tokens=engine.usage.encoded_tokens,
        generated_tokens=engine.usage.generated_tokens,
        reused_conversations=sum(conversation.reused for conversation in conversations),
        reused_answers=reused_answers,
        shortened_prompts=sum(_truncated_prompts(plan, conversation) for conversation in conversations),
        usd=engine.usage.usd,
    )


def _truncated_prompts(plan: Plan, conversation: Conversation) -> int:
    questions = len(plan.task.items) * (1 + plan.retests)
    return conversation.shortened + (questions if conversation.unseen else 0)
