"""The size of batches: what memory holds, smaller when it runs out, and smaller where a batch takes long."""

import ctypes
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch

from valstab.engines.base import EngineError

Result = TypeVar("Result")


SLOW_BATCH_SECONDS = 20.0
"""Time after which a batch counts as slow, in seconds: what it computes is shown and stored when it ends."""


SINGLE_DIALOGUE = "out of memory with a single dialogue; use a smaller model or shorter dialogues"
"""What is said when smaller batches do not help."""


@dataclass
class Limits:
    """The most rows and the most tokens, padding included, of one batch."""

    rows: int
    tokens: int
    min_rows: int | None = None
    """Number of rows down to which slow batches shrink; None for no shrinking."""

    def shrink_if_slow(self, rows: int, seconds: float) -> None:
        """Halve the rows after a batch of so many rows if it was slow."""
        if self.min_rows is not None and seconds > SLOW_BATCH_SECONDS:
            self.rows = min(self.rows, max(self.min_rows, rows // 2))


def free_bytes(device: str) -> int:
    """Return the bytes that are free on the CPU or on a GPU."""
    if device.startswith("cuda"):
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return psutil.virtual_memory().available


def gpu_peak_bytes() -> int:
    """Return the most bytes that this process has held so far on all GPUs together."""
    return sum(map(torch.cuda.max_memory_reserved, range(torch.cuda.device_count())))


def trim_memory() -> None:
    """Return unused memory of the C library to the system, where it can (glibc).

    Caches of many sizes are allocated and freed, and leave gaps that the next ones do not fit into.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def batches(lengths: Mapping[int, int], limits: Limits, max_tokens: int | None = None) -> Iterator[list[int]]:
    """Yield the indices in batches of similar length, the longest first.

    The time until the next is asked for is that of a batch: if it was slow, the next is smaller.

    Args:
        lengths: tokens by index.
        limits: of a batch; read for each, since they may shrink in between.
        max_tokens: a lower limit of tokens.
    """
    tokens = limits.tokens if max_tokens is None else min(limits.tokens, max_tokens)
    order = sorted(lengths, key=lambda index: lengths[index], reverse=True)
    while order:
        rows = max(1, min(limits.rows, tokens // max(1, lengths[order[0]])))
        start = time.monotonic()
        yield order[:rows]
        limits.shrink_if_slow(rows, time.monotonic() - start)
        order = order[rows:]


def retry_in_halves(
    batch: Sequence[int],
    compute: Callable[[Sequence[int]], Iterator[tuple[int, Result]]],
    limits: Limits,
) -> Iterator[tuple[int, Result]]:
    """Yield what `compute` yields for a batch; when memory runs out, retry what is left in halves.

    A single row is retried once.

    Args:
        batch: indices.
        compute: yields an index and its result.
        limits: its `rows` shrinks to the size of the halves.

    Raises:
        EngineError: if memory does not suffice for a single row.
    """
    waiting = [list(batch)]
    alone: set[int] = set()
    while waiting:
        rows = waiting.pop()
        done = set()
        try:
            for index, result in compute(rows):
                done.add(index)
                yield index, result
            continue
        except (RuntimeError, MemoryError) as error:
            make_room(error, rows, alone, limits)
        left = [index for index in rows if index not in done]
        half = max(1, len(rows) // 2)
        waiting += [left[start : start + half] for start in range(0, len(left), half)][::-1]


def make_room(error: Exception, rows: Collection[int], alone: set[int], limits: Limits) -> None:
    """Make batches smaller after an error, so that what is left can be tried again.

    Args:
        error: what a batch ended with.
        rows: indices of the batch; a single one is tried again once.
        alone: single rows that memory has run out for; this one is added.
        limits: its `rows` shrinks to half of the batch.

    Raises:
        EngineError: if memory does not suffice for a single row.
        Exception: the error itself, if it has another reason.
    """
    if not rows or not is_out_of_memory(error):
        raise error
    if len(rows) > 1:
        limits.rows = min(limits.rows, len(rows) // 2)
    elif alone.issuperset(rows):
        raise EngineError(SINGLE_DIALOGUE) from None
    else:
        alone.update(rows)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that memory ran out, on a GPU, on the CPU or in Python."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
