"""The methods of a sweep in words: those of its first run, and what varied between the runs."""

import re

import pandas as pd

from valstab.config.schema import MEASURES
from valstab.results import latex
from valstab.sweeps.table import LEVELS, swept_keys
from valstab.tracking.record import FINISHED

OVER_AXES = (
    "The stability over an axis is the mean Spearman correlation between two of its levels, after the same topic, with "
    "the same seed and people; its 95% interval is by a delete-one jackknife over people, and over topics and seeds "
    "where there are several, and chance is what shuffled people (rank-order) or keys (ipsative) reach. Axes are "
    "compared by jackknifed differences, at a false discovery rate of 5%."
)
"""How the runs of a study with axes are compared."""


def study_methods(of_a_run: str, table: pd.DataFrame) -> str:
    """Return `methods.md` of a sweep: paragraphs to be edited.

    Args:
        of_a_run: `methods.md` of its first finished run.
        table: the sweep's jobs, as `valstab.sweeps.table.job_table` returns them.
    """
    described = re.search(r"# Methods\n\n(.*?)\n\n# Results", of_a_run, re.DOTALL)
    reference = re.search(r"# Reference\n.*", of_a_run, re.DOTALL)
    paragraphs = [described[1] if described else "", _varied(table), reference[0] if reference else ""]
    return "\n\n".join(["# Methods", *filter(None, paragraphs)]).rstrip() + "\n"


def table_of_runs(table: pd.DataFrame) -> str:
    """Return `sweep.tex`: what varied, and the stabilities with their intervals and chance."""
    numbers = [f"{name}{part}" for name in MEASURES for part in ("", "_low", "_high", "_chance")]
    return latex.table(table[["job", *(swept_keys(table) or ["name"]), *numbers]])


def _varied(table: pd.DataFrame) -> str:
    """Return what varied between the runs, as a paragraph."""
    keys = swept_keys(table)
    axes = [key for key in keys if key.startswith(LEVELS)]
    several = f"So far, this describes the first of {len(table)} runs"
    finished = int((table["status"] == FINISHED).sum())
    unfinished = "" if finished == len(table) else f" {finished} of them finished."
    if not keys:
        return f"{several}, which differ in no setting.{unfinished}"
    listed = "; ".join(
        f"{key.removeprefix(LEVELS)} ({', '.join(dict.fromkeys(table[key].astype(str)))})" for key in keys
    )
    if not axes:
        return f"{several}. What varied is {listed}.{unfinished}"
    crossed = len(table) > 1 + sum(table[key].nunique() - 1 for key in keys)
    how = (
        "in all combinations"
        if crossed
        else "the first level of each axis is the base, and each other level was run by itself"
    )
    return f"{several}. Its context had {len(axes)} axes besides the topic: {listed}; {how}.{unfinished} {OVER_AXES}"
