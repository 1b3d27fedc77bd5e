"""Progress of a run: a live display on a terminal, plain lines elsewhere, as in a SLURM log."""

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LINE_INTERVAL_SECONDS = 20.0
"""Time between plain lines, in seconds, however slow the model."""


BEAT_SECONDS = 1.0
"""Time between two looks at the clock, in seconds."""


class Stage:
    """A stage of a run, which counts its finished units.

    Units from the store (`skip`) count as finished, but not in the rate and the time left.

    Args:
        name: what is done, such as `asking`.
        unit: what is counted, in the plural.
        total: how many there are.
        show: is called after each change.
        tokens: returns the tokens that the engine has processed so far; shown until the first unit is computed.
        then: what the run does after this stage, such as `2,000 questions`; nothing for the last one.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        total: int,
        show: Callable[["Stage"], None] = lambda _: None,
        tokens: Callable[[], int] = lambda: 0,
        *,
        then: str = "",
    ) -> None:
        self.name = name
        self.unit = unit
        self.total = total
        self.then = then
        self.done = 0
        self.note = ""
        """Text that is shown after the rate and the time left."""
        self._n_computed = 0
        self._start = time.monotonic()
        self._show = show
        self._tokens = tokens
        self._first_token = tokens()

    def beat(self) -> None:
        """Show the stage again, since time has passed."""
        self._show(self)

    def advance(self, number: int) -> None:
        """Count units that were computed."""
        self._n_computed += number
        self.skip(number)

    def skip(self, number: int) -> None:
        """Count units that came from the store."""
        self.done += number
        self._show(self)

    @property
    def rate(self) -> float:
        """Computed units per second."""
        return self._n_computed / max(time.monotonic() - self._start, 1e-9)

    @property
    def _speed(self) -> str:
        """The rate, or the time of one unit where that takes more than a second."""
        if self.rate >= 1:
            return f"{self.rate:,.1f} a second"
        return f"{1 / self.rate:,.0f} s a {self.unit.removesuffix('s')}"

    @property
    def _after(self) -> str:
        """What follows this stage and has no rate yet; without it, the time left is that of the run."""
        return f" for {self.unit}, then {self.then}" if self.then else ""

    @property
    def details(self) -> str:
        """The rate, the time left of the run and the note, without those that are not known yet."""
        parts = []
        tokens = self._tokens() - self._first_token
        if tokens and not self._n_computed:
            parts.append(f"{tokens:,} tokens so far")
        if self._n_computed:
            parts.append(self._speed)
            if self.done < self.total:
                parts.append(f"{timedelta(seconds=round((self.total - self.done) / self.rate))} left{self._after}")
        return " · ".join([*parts, self.note] if self.note else parts)

    def __str__(self) -> str:
        """Return name, count and details in one line."""
        line = f"{self.name} {self.done:,} of {self.total:,} {self.unit}"
        return f"{line} · {self.details}" if self.details else line


class Begin(Protocol):
    """Begins a stage."""

    def __call__(self, name: str, unit: str, total: int, then: str = "") -> Stage:
        """Return the stage, as `Stage` describes it."""


@contextmanager
def display(title: str, stream: TextIO | None = None, tokens: Callable[[], int] = lambda: 0) -> Iterator[Begin]:
    """Yield a function that begins a stage, and show the latest stage as time passes, whether it advances or not.

    Args:
        title: begins each plain line, since several runs may share a log.
        stream: where stages are shown; standard error by default.
        tokens: returns the tokens that the engine has processed so far.
    """
    latest: list[Stage] = []
    with _shown(title, stream, tokens) as begin_shown:

        def begin(name: str, unit: str, total: int, then: str = "") -> Stage:
            latest[:] = [begin_shown(name, unit, total, then)]
            return latest[0]

        def beat() -> None:
            for stage in latest:
                stage.beat()

        with _repeated(beat):
            yield begin


@contextmanager
def _repeated(work: Callable[[], object]) -> Iterator[None]:
    """Call a function every `BEAT_SECONDS`, in a thread of its own."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(BEAT_SECONDS):
            work()

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _shown(title: str, stream: TextIO | None, tokens: Callable[[], int]) -> Iterator[Begin]:
    shown = stream or sys.stderr
    console = Console(file=shown)
    # A child process, as under joblib, would draw over the other processes' output.
    if console.is_terminal and multiprocessing.current_process().name == "MainProcess":
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
        with Progress(*columns, console=console) as progress:
            yield lambda name, unit, total, then="": Stage(
                name, unit, total, _live(progress, name, total), tokens, then=then
            )
    else:
        yield lambda name, unit, total, then="": Stage(name, unit, total, _plain(shown, title), tokens, then=then)


def _live(progress: Progress, name: str, total: int) -> Callable[[Stage], None]:
    """Return a function that shows a stage as a bar."""
    task = progress.add_task(name, total=total, text="", visible=total > 0)

    def show(stage: Stage) -> None:
        text = f"{stage.done:,}/{stage.total:,} {stage.unit} · {stage.details}".rstrip(" ·")
        progress.update(task, completed=stage.done, text=text)

    return show


def _plain(stream: TextIO, title: str) -> Callable[[Stage], None]:
    """Return a function that prints a stage as a line if one is due, and when the stage is complete."""
    last_line, last_done = time.monotonic(), 0
    lock = threading.Lock()

    def show(stage: Stage) -> None:
        nonlocal last_line, last_done
        with lock:
            is_complete = stage.done >= stage.total
            if (is_complete and last_done < stage.done) or (
                not is_complete and time.monotonic() - last_line >= LINE_INTERVAL_SECONDS
            ):
                last_line, last_done = time.monotonic(), stage.done
                with suppress(OSError):  # a reader such as `head` that is gone is no reason to stop
                    stream.write(f"{title}: {stage}\n")
                    stream.flush()

    return show
