"""Transcripts: the messages and answers, packed so that a browser unpacks one persona at a time.

A persona's block is a JSON array with one object for each session (seed and context), the seeds outermost::

    {"texts": [...], "cut": [3], "letters": ["BAC", ...], "chosen": ["B", null, ...], "logprobs": [[105, 2303, null]]}

`letters` and `logprobs` have one entry per item, with options in the order of the answer scale. Log-probabilities are
negated and rounded to thousandths of a nat, which keeps a probability to a relative error of 0.05%. null is unknown.
A model that thinks also has `thoughts` (one per text) and `reasons` (one per item). With answers in the model's own
words, these are `said` (one per item), and the options are a judge's.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valstab.protocol.converse import Conversation
from valstab.protocol.plan import Plan
from valstab.statistics.conversation_quality import cut_messages

STEPS_PER_NAT = 1000
"""Resolution of log-probabilities."""


MAX_STEPS = 99_999
"""The steps of an impossible option, whose log-probability is minus infinity."""


def blocks(plan: Plan, answers: pd.DataFrame, conversations: Sequence[Conversation]) -> Iterator[str]:
    """Yield the block of each persona: JSON, compressed with gzip, in base64.

    Args:
        plan: the run's plan.
        answers: one row a question in the plan's order, as `valstab.protocol.ask.ask` returns them.
        conversations: one for each session, in the plan's order.
    """
    options, items, personas = len(plan.task.scores), len(plan.task.items), len(plan.personas)
    names = [f"logprob_{number}" for number in range(1, options + 1)]
    logprobs = answers[names].to_numpy(dtype=float).reshape(-1, items, options)
    letters = answers["letters"].to_numpy(dtype=object).reshape(-1, items)
    reasons = answers["thought"].to_numpy(dtype=object).reshape(-1, items) if "thought" in answers else None
    said = answers["open_answer"].to_numpy(dtype=object).reshape(-1, items) if "open_answer" in answers else None
    chosen = answers["letter"].astype(object).where(answers["letter"].notna(), None).to_numpy().reshape(-1, items)
    for persona in range(personas):
        steps = to_steps(logprobs[persona::personas])
        sessions: list[dict[str, Any]] = [
            {
                "texts": conversations[place].texts,
                "cut": cut_messages(conversations[place].texts, plan.max_new_tokens),
                "letters": letters[place].tolist(),
                "chosen": chosen[place].tolist(),
                "logprobs": [[None if step < 0 else step for step in row] for row in of_session.tolist()],
                **({} if reasons is None else {"reasons": reasons[place].tolist()}),
                **({} if said is None else {"said": said[place].tolist()}),
                **_thoughts(conversations[place]),
            }
            for place, of_session in zip(range(persona, len(conversations), personas), steps, strict=True)
        ]
        document = json.dumps(sessions, separators=(",", ":")).encode()
        yield base64.b64encode(gzip.compress(document, compresslevel=6, mtime=0)).decode()


def _thoughts(conversation: Conversation) -> dict[str, list[str]]:
    thoughts = [getattr(text, "thought", "") for text in conversation.texts]
    return {"thoughts": thoughts} if any(thoughts) else {}


def to_steps(logprobs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return log-probabilities (nats) as negated thousandths of a nat, rounded; -1 if unknown (NaN).

    Example:
        >>> to_steps(np.array([np.log(0.5), 0.0, -np.inf, np.nan]))
        array([  693,     0, 99999,    -1])
    """
    known = np.clip(-logprobs * STEPS_PER_NAT, 0, MAX_STEPS)
    steps: NDArray[np.int64] = np.where(np.isnan(logprobs), -1, np.rint(np.nan_to_num(known))).astype(np.int64)
    return steps
