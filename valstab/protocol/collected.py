"""The data that a run collects, and its cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from valstab.engines.base import GIB, Engine
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import Plan


@dataclass(frozen=True)
class RunCost:
    """Cost of a run, and how much came from the store. The names of the fields are MLflow's names of the metrics."""

    queries_per_second: float
    """Rate of asking, without the answers from the store; 0 if all came from there."""
    conversing_seconds: float
    asking_seconds: float
    peak_memory_gib: float
    """Highest memory use of the process, or of its GPUs."""
    encoded_tokens: int
    generated_tokens: int
    reused_conversations: int
    """Number of conversations with all messages from the store."""
    reused_answers: int
    shortened_prompts: int = 0
    """Number of prompts that leave the oldest texts out, to fit the context window."""
    usd: float | None = None
    """Price of the tokens in US dollars; None if they have no price."""


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
    """One row per question, as `valstab.protocol.ask.ask` returns them."""
    retests: pd.DataFrame | None
    """The same for all retests, with their number (1, 2, ...) in the column `retest`; None without retests."""
    cost: RunCost
    engine: Mapping[str, str]
    """The engine's identity and properties."""
    damaged: Sequence[str]
    """The lines of the store that could not be read, as `FILE:LINE`."""


def run_cost(
    plan: Plan,
    conversations: Sequence[Conversation],
    engines: Sequence[Engine],
    times: StageTimes,
    *,
    reused_answers: int,
) -> RunCost:
    """Return what a run cost, from its engines' counters and the times of its stages."""
    prices = [engine.usage.usd for engine in engines if engine.usage.usd is not None]
    return RunCost(
        queries_per_second=(plan.n_questions - reused_answers) / times.asking,
        conversing_seconds=times.conversing,
        asking_seconds=times.asking,
        peak_memory_gib=max(engine.cache.peak_bytes() for engine in engines) / GIB,
        encoded_tokens=sum(engine.usage.encoded_tokens for engine in engines),
        generated_tokens=sum(engine.usage.generated_tokens for engine in engines),
        reused_conversations=sum(conversation.reused for conversation in conversations),
        reused_answers=reused_answers,
        shortened_prompts=sum(_truncated_prompts(plan, conversation) for conversation in conversations),
        usd=sum(prices) if prices else None,
    )


def _truncated_prompts(plan: Plan, conversation: Conversation) -> int:
    questions = len(plan.task.items) * (1 + plan.retests)
    return conversation.n_truncated + (questions if conversation.n_dropped else 0)
