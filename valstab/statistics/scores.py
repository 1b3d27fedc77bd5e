"""Compute scores from answers: one number for each seed, context, persona and key (`docs/protocol.md`; paper B.5)."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from valstab.errors import ConfigError
from valstab.inputs.task import Task
from valstab.statistics.correlation import RANK_DECIMALS

DIMENSIONS = ("seed", "context", "persona", "key")


Rounding = Literal["nine_decimals", "none"]
"""Which scores count as equal in ranks: those equal to nine decimals, or those that are the same floating-point number.
The paper's published code has no rounding, so that some scores that are equal in exact arithmetic have an order."""


UNROUNDED_STEP = 2 * 10.0**-RANK_DECIMALS
"""Smallest difference of scores without rounding: twice the unit of `valstab.statistics.correlation.ranks`."""


def score(answers: pd.DataFrame, task: Task, rounding: Rounding = "nine_decimals") -> xr.DataArray:
    """Average the answers over each key's items, centred on the person's mean over all items if the task says so.

    Fillers belong to no key, and count in that mean only if the task says so (`Task.centring_items`). Scores are those
    of the options (`Task.scores_of`): items with more options weigh more, unless the task rescales them.

    Answers without a score (NaN) are left out of the means; a key without any answer has no score (NaN).

    Args:
        answers: one row a question, with at least `seed`, `context`, `persona`, `item` and `score`.
        task: which item belongs to which key.
        rounding: "none" computes scores as the paper's published code does (the mean of a key minus the mean of all
            items), and sets those that differ at all 2e-9 apart, so that ranks tell them apart.

    Returns:
        The scores, with the dimensions seed, context, persona, key; labels in order of appearance.

    Raises:
        ConfigError: if an answer is missing, doubled, not a number, or to an item that the task lacks.
    """
    coordinates = [answers[name].unique().tolist() for name in DIMENSIONS[:-1]]
    numbers = [item.number for item in task.items]
    _check(answers, task, numbers)
    names = [*DIMENSIONS[:-1], "item"]
    levels: list[list[Any]] = [*coordinates, numbers]
    given = answers.set_index(names)["score"]
    every = pd.MultiIndex.from_product(levels, names=names)
    values = given.reindex(every)
    if len(given) < len(every):
        seed, context, persona, item = every[int(np.argmin(every.isin(given.index)))]
        raise ConfigError(
            "answers",
            f"(seed {seed}, {context}, {persona}, item {item})",
            "is missing; every persona must have answered every item in every context with every seed",
        )
    items = xr.DataArray(
        values.to_numpy(dtype=float).reshape([len(level) for level in levels]),
        dims=names,
        coords=dict(zip(names, levels, strict=True)),
    )
    centre = items.where(items["item"].isin(task.centring_items)).mean("item") if task.centred else 0.0
    if rounding == "none":
        return _apart(_mean_by_key(items, task) - centre)
    return _mean_by_key(items - centre, task)


def genders(answers: pd.DataFrame, personas: Sequence[str]) -> list[str] | None:
    """Return the gender of the questionnaire's wording for each persona; None where the answers lack the column."""
    if "gender" not in answers:
        return None
    people = answers.drop_duplicates("persona", keep="last")  # millions of rows take seconds in Python
    known = dict(zip(people["persona"], people["gender"], strict=True))
    return [str(known[name]) for name in personas]


def _mean_by_key(items: xr.DataArray, task: Task) -> xr.DataArray:
    by_key = [items.sel(item=[item.number for item in task.items if item.key == key]).mean("item") for key in task.keys]
    return xr.concat(by_key, pd.Index(task.keys, name="key")).transpose(*DIMENSIONS)


def _apart(scores: xr.DataArray) -> xr.DataArray:
    """Return the scores in the same order, each `UNROUNDED_STEP` or more above the next lower one."""
    values, places = np.unique(scores.to_numpy(), return_inverse=True)
    least = UNROUNDED_STEP * np.arange(len(values))
    spread = least + np.maximum.accumulate(values - least)  # each at least a step above the one before
    return scores.copy(data=spread[places].reshape(scores.shape))


def _check(answers: pd.DataFrame, task: Task, numbers: list[int]) -> None:
    if answers.empty:
        raise ConfigError("answers", "(none)", "there must be at least one")
    for name in (*DIMENSIONS[:-1], "item"):
        if answers[name].isna().any():
            raise ConfigError("answers", name, "may not be empty in any row")
    numeric = pd.api.types.is_numeric_dtype(answers["score"]) and not pd.api.types.is_bool_dtype(answers["score"])
    if not numeric or np.isinf(answers["score"]).any():
        raise ConfigError("answers", "score", "must be finite numbers")
    unknown = sorted(set(answers["item"]) - set(numbers))
    if unknown:
        raise ConfigError("answers", f"item {unknown[0]}", f"is unknown; {task.name} has the items 1 to {len(numbers)}")
    doubled = answers.duplicated([*DIMENSIONS[:-1], "item"])
    if doubled.any():
        row = answers.loc[doubled].iloc[0]
        raise ConfigError(
            "answers",
            f"(seed {row['seed']}, {row['context']}, {row['persona']}, item {row['item']})",
            "is there twice; each may stand only once",
        )
