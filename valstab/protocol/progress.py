"""Show how far a run is: one display on a terminal, a plain line now and then elsewhere, such as in a SLURM log."""

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
"""Seconds between plain lines."""


class Stage:
    """A part of a run that counts what is done of it.

    What the store had (`skip`) is done, but no work: rate and time left are of the rest.
    """

    def __init__(self, name: str, unit: str, total: int, show: Callable[["Stage"], None] = lambda _: None) -> None:
        self.name = name
        self.unit = unit
        self.total = total
        self.done = 0
        self.note = ""
        """What else is known so far."""
        self._worked = 0
        self._start = time.monotonic()
        self._show = show

    def advance(self, number: int) -> None:
        """Count what was computed."""
        self._worked += number
        self.skip(number)

    def skip(self, number: int) -> None:
        """Count what was there before."""
        self.done += number
        self._show(self)

    @property
    def rate(self) -> float:
        """Units a second."""
        return self._worked / max(time.monotonic() - self._start, 1e-9)

    @property
    def details(self) -> str:
        """The rate, the time left and the note, as far as they are known."""
        parts = []
        if self._worked:
            parts.append(f"{self.rate:,.1f} a second")
            if self.done < self.total:
                parts.append(f"{timedelta(seconds=round((self.total - self.done) / self.rate))} left in this stage")
        return " · ".join([*parts, self.note] if self.note else parts)

    def __str__(self) -> str:
        """Say all of it in one line."""
        line = f"{self.name} {self.done:,} of {self.total:,} {self.unit}"
        return f"{line} · {self.details}" if self.details else line


@contextmanager
def display(title: str, stream: TextIO | None = None) -> Iterator[Callable[[str, str, int], Stage]]:
    """Give what begins a stage, from its name, unit and total, and shows it on standard error from then on.

    Plain lines begin with the `title`, since several runs may share a log.
    """
    console = Console(file=stream or sys.stderr)
    # A process beside others, as under joblib, may not draw over what they show.
    if console.is_terminal and multiprocessing.current_process().name == "MainProcess":
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
        with Progress(*columns, console=console) as progress:
            yield lambda name, unit, total: _drawn(progress, name, unit, total)
    else:
        yield lambda name, unit, total: _written(console, title, name, unit, total)


def _drawn(progress: Progress, name: str, unit: str, total: int) -> Stage:
    task = progress.add_task(name, total=total, text="", visible=total > 0)

    def show(stage: Stage) -> None:
        text = f"{stage.done:,}/{stage.total:,} {stage.unit} · {stage.details}".rstrip(" ·")
        progress.update(task, completed=stage.done, text=text)

    return Stage(name, unit, total, show)


def _written(console: Console, title: str, name: str, unit: str, total: int) -> Stage:
    shown = time.monotonic()

    def show(stage: Stage) -> None:
        nonlocal shown
        if stage.done >= stage.total or time.monotonic() - shown >= LINE_INTERVAL_SECONDS:
            shown = time.monotonic()
            console.print(f"{title}: {stage}", markup=False, highlight=False, soft_wrap=True)

    return Stage(name, unit, total, show)
