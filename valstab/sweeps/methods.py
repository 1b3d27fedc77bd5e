"""The methods of a sweep in words: those of its first run, and what varied between the runs."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from valstab.config.axes import LEVELS
from valstab.config.schema import MEASURES
from valstab.results import latex
from valstab.sweeps.table import job_labels, rows, swept_keys
from valstab.tracking.record import FINISHED

OVER_AXES = (
    "The stability over an axis is the mean Spearman correlation between two of its levels, after the same topic, with "
    "the same seed and people; its 95% interval is by a delete-one jackknife over people, and over topics and seeds "
    "where there are several, and chance is what shuffled people (rank-order) or keys (ipsative) reach. Axes are "
    "compared by jackknifed differences, at a false discovery rate of 5%."
)
"""How the runs of a study with axes are compared."""


def study_methods(of_runs: Mapping[int, str], table: pd.DataFrame) -> str:
    """Return `methods.md` of a sweep: the paragraphs of its first run, what varied, and what other runs say otherwise.

    Args:
        of_runs: `methods.md` of the finished runs, by the number of the job.
        table: the sweep's jobs, as `valstab.sweeps.table.job_table` returns them.
    """
    first, *others = of_runs
    reference = re.search(r"# Reference\n.*", of_runs[first], re.DOTALL)
    base = _described(of_runs[first])
    labels = dict(zip(table["job"], job_labels(table), strict=True))
    known = set(_sentences(base))
    differing = [
        f"Of {labels[job]}: {' '.join(said)}"
        for job in others
        if (said := [each for each in _sentences(_described(of_runs[job])) if each not in known])
    ]
    heading = ["# The other runs", "What differs is said of each; the rest is as above."] if differing else []
    parts = ["# Methods", base, _varied(table), *heading, *differing, reference[0] if reference else ""]
    return "\n\n".join(filter(None, parts)).rstrip() + "\n"


def table_of_runs(table: pd.DataFrame) -> str:
    """Return `tables.tex` of a sweep: what varied, and the stabilities with their intervals and chance."""
    numbers = [f"{name}{part}" for name in MEASURES for part in ("", "_low", "_high", "_chance")]
    return latex.table(table[["job", *(swept_keys(table) or ["name"]), *numbers]])


def _described(text: str) -> str:
    """Return the paragraphs on methods of a run's `methods.md`."""
    found = re.search(r"# Methods\n\n(.*?)\n\n# Results", text, re.DOTALL)
    return found[1] if found else ""


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.”]) (?=[A-Z])|\n\n", text)


def _varied(table: pd.DataFrame) -> str:
    """Return what varied between the runs, as a paragraph."""
    keys = swept_keys(table)
    axes = [key for key in keys if key.startswith(LEVELS)]
    finished = int((table["status"] == FINISHED).sum())
    unfinished = "" if finished == len(table) else f" {finished} of them finished."
    said = f"This describes the first of {len(table)} runs.{unfinished}"
    if not keys:
        return f"{said} They differ in no setting."
    rest = _listed(table, [key for key in keys if key not in axes])
    if not axes:
        return f"{said} They differ in {rest}."
    bases = table.iloc[0]
    crossed = any(sum(row[key] != bases[key] for key in axes) > 1 for row in rows(table))
    how = (
        "All combinations of levels were run"
        if crossed
        else "The first level of each is the base, and each other level was run by itself"
    )
    each = f", for each of {rest}" if rest else ""
    said += f" The context had {len(axes)} axes besides the topic: {_listed(table, axes)}. {how}{each}."
    return f"{said} {OVER_AXES}"


def _listed(table: pd.DataFrame, keys: Sequence[str]) -> str:
    """Return settings with their values in a sweep, as a list within a sentence."""
    return "; ".join(f"{key.removeprefix(LEVELS)} ({', '.join(dict.fromkeys(table[key].astype(str)))})" for key in keys)
