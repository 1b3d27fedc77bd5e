"""End a command at Ctrl-C, SIGTERM or SIGHUP: in order at the first, at once at the second, and never without end.

SLURM and `docker stop` send SIGTERM, and SIGKILL half a minute or ten seconds later.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from valstab.config.terminal import warn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a command."""


SAME_SECONDS = 1.0
"""Time in which a second signal counts as the first one, in seconds: a terminal and a parent may both send it."""


LAST_SECONDS = 30.0
"""Maximum time from the first signal to the end of the process, in seconds."""


PARENT_SECONDS = 1.0
"""Time between two looks of a worker whether its parent is still there, in seconds."""


class _Interruption:
    """Handles signals: the first raises KeyboardInterrupt in the main thread, a later one ends the process."""

    def __init__(self) -> None:
        self._since: float | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
            end = threading.Timer(LAST_SECONDS, os._exit, [128 + number])
            end.daemon = True
            end.start()
            raise KeyboardInterrupt(*([] if number == signal.SIGINT else [signal.Signals(number).name]))
        if now - self._since > SAME_SECONDS:
            os._exit(128 + number)


def handle_signals() -> None:
    """Handle signals in this process, but for those that it ignores or handles in another way, as Ray's workers do."""
    if threading.current_thread() is not threading.main_thread():
        return
    own = [number for number in SIGNALS if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}]
    handler = _Interruption()
    for number in own:
        signal.signal(number, handler)
    if own and multiprocessing.current_process().name.startswith("Loky"):
        threading.Thread(target=_follow_parent, args=[os.getppid()], name="parent", daemon=True).start()


@contextmanager
def interruptible() -> Iterator[None]:
    """End the command with one line and a shell's exit code, where a signal interrupts the block.

    Raises:
        SystemExit: then, with 128 and the number of the signal.
    """
    handle_signals()
    try:
        yield
    except KeyboardInterrupt as interruption:
        number = signal.Signals[interruption.args[0]] if interruption.args else signal.SIGINT
        warn("\nvalstab: interrupted; the same command goes on where it was, with what its store has")
        sys.exit(128 + number)


def _follow_parent(parent: int) -> None:
    """End a worker of joblib's when its parent is gone: nobody would take its result."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
