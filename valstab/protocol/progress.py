"""Progress of a run: a live display on a terminal, plain lines elsewhere, as in a SLURM log."""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LINE_INTERVAL_SECONDS = 30.0
"""Minimum time between plain lines, in seconds."""


class Stage:
    """A stage of a run, which counts its finished units.

    Units from the store (`skip`) count as finished, but not in the rate and the time left.
    """

    def __init__(self, name: str, unit: str, total: int, show: Callable[["Stage"], None] = lambda _: None) -> None:
        self.name = name
        self.unit = unit
        self.total = total
        self.done = 0
        self.note = ""
        """Text that is shown after the rate and the time left."""
        self._n_computed = 0
        self._start = time.monotonic()
        self._show = show

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
    def details(self) -> str:
        """The rate, the time left and the note, without those that are not known yet."""
        parts = []
        if self._n_computed:
            parts.append(f"{self.rate:,.1f} a second")
            if self.done < self.total:
                parts.append(f"{timedelta(seconds=round((self.total - self.done) / self.rate))} left in this stage")
        return " · ".join([*parts, self.note] if self.note else parts)

    def __str__(self) -> str:
        """Return name, count and details in one line."""
        line = f"{self.name} {self.done:,} of {self.total:,} {self.unit}"
        return f"{line} · {self.details}" if self.details else line


@contextmanager
def display(title: str, stream: TextIO | None = None) -> Iterator[Callable[[str, str, int], Stage]]:
    """Yield a function that begins a stage, given its name, its unit and the total number of units.

    The stage is shown on `stream` (standard error by default). Plain lines begin with `title`, since several runs may
    share a log.
    """
    console = Console(file=stream or sys.stderr)
    # A child process, as under joblib, would draw over the other processes' output.
    if console.is_terminal and multiprocessing.current_process().name == "MainProcess":
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
        with Progress(*columns, console=console) as progress:
            yield lambda name, unit, total: _live_stage(progress, name, unit, total)
    else:
        yield lambda name, unit, total: _plain_stage(console, title, name, unit, total)


def _live_stage(progress: Progress, name: str, unit: str, total: int) -> Stage:
    task = progress.add_task(name, total=total, text="", visible=total > 0)

    def show(stage: Stage) -> None:
        text = f"{stage.done:,}/{stage.total:,} {stage.unit} · {stage.details}".rstrip(" ·")
        progress.update(task, completed=stage.done, text=text)

    return Stage(name, unit, total, show)


def _plain_stage(console: Console, title: str, name: str, unit: str, total: int) -> Stage:
    last_line = time.monotonic()

    def show(stage: Stage) -> None:
        nonlocal last_line
        if stage.done >= stage.total or time.monotonic() - last_line >= LINE_INTERVAL_SECONDS:
            last_line = time.monotonic()
            console.print(f"{title}: {stage}", markup=False, highlight=False, soft_wrap=True)

    return Stage(name, unit, total, show)
