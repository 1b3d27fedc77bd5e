"""Stop work of others' code that takes too long or too much memory, such as a chat template that loops or grows."""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_SECONDS = 10.0
"""Maximum time in a block, in seconds."""


MAX_BYTES = 1 << 30
"""Maximum memory that a block may take in addition, in bytes."""


class TooSlowError(Exception):
    """The end of a block that took too long."""


@contextmanager
def bounded() -> Iterator[None]:
    """Limit time and memory of a block. Time is limited in the main thread only, which alone gets signals.

    Raises:
        TooSlowError: after `MAX_SECONDS`.
        MemoryError: where it would take more than `MAX_BYTES`.
    """
    with _limited_memory():
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGALRM, _end)
        left, _ = signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, left)
            signal.signal(signal.SIGALRM, before)


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Limit the address space, where the system tells how large it is."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + MAX_BYTES
    lowest = min((limit for limit in (soft, hard, wanted) if limit != resource.RLIM_INFINITY), default=wanted)
    resource.setrlimit(resource.RLIMIT_AS, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _end(*_: object) -> None:
    raise TooSlowError(f"it takes more than {MAX_SECONDS:g} seconds")
