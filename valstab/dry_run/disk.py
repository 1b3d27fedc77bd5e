"""Estimates of the disk space of a run, in bytes."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from valstab.protocol.plan import Plan

RECORD_OVERHEAD_BYTES = 70
"""Bytes that the store adds to a record: its key and its checksum."""


ANSWER_FILE_BYTES = 95
"""Bytes per question in a run's files (`answers.parquet`, `profiles.csv` and the report, compressed)."""


RUN_BYTES, PERSONA_BYTES, KEY_BYTES = 170_000, 2_000, 10_000
"""Bytes of a run's figures, report and configuration: fixed, per persona, and per key of the task (value, race)."""


COPIES_OF_FILES = 2
"""Number of copies of a run's files: in its folder and in MLflow."""


def stored_text_bytes(conversations: Sequence[Sequence[str]]) -> float:
    """Return the mean size of a conversation in the store."""
    return float(
        np.mean([sum(len(text.encode()) + RECORD_OVERHEAD_BYTES for text in texts) for texts in conversations])
    )


def stored_answer_bytes(logprobs: NDArray[np.float64], samples: int) -> int:
    """Return the size in the store of the answers after one conversation.

    Args:
        logprobs: shape (items, options).
        samples: number of answers sampled for each item; 0 for exact distributions.
    """
    if samples:
        return samples * (len(logprobs) + RECORD_OVERHEAD_BYTES)
    return len(json.dumps(logprobs.tolist())) + RECORD_OVERHEAD_BYTES


def file_bytes(plan: Plan, conversation_bytes: float) -> float:
    """Return the size of a run's files with their copies, given that of one conversation."""
    fixed = RUN_BYTES + PERSONA_BYTES * len(plan.personas) + KEY_BYTES * len(plan.task.keys)
    return COPIES_OF_FILES * (fixed + len(plan.sessions) * conversation_bytes + plan.n_questions * ANSWER_FILE_BYTES)
