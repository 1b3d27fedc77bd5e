"""Measure how stable the values that a language model expresses are when only the topic of conversation changes."""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from valstab.analysis.runs import Runs

__version__ = version("valstab")


def load_runs(
    experiments: Iterable[str] = (),
    *,
    filter_string: str | None = None,
    runs: Iterable[str] = (),
    folders: Iterable[str | Path] = (),
) -> "Runs":
    """Load finished runs as tidy pandas tables: see `valstab.analysis.load.load_runs`."""
    from valstab.analysis.load import load_runs as load

    return load(experiments, filter_string=filter_string, runs=runs, folders=folders)
