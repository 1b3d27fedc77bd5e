"""Everything that answers say about stability, as numbers for a program to read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import xarray as xr

from valstab.inputs.task import Task
from valstab.statistics.scores import DIMENSIONS, score
from valstab.statistics.stability import AXES, Measure, Stability, Undefined, applicable_stabilities


@dataclass(frozen=True)
class Results:
    """A run's answers with all that follows from them.

    `stabilities` has "rank_order" and "ipsative", where they have a meaning: rank-order needs
    personas, ipsative needs more than one key, and both need a second context.
    """

    task: Task
    answers: pd.DataFrame
    scores: xr.DataArray
    stabilities: Mapping[Measure, Stability]

    @property
    def answer_mass(self) -> float | None:
        """The mean probability on the offered letters, if the answers tell."""
        return _number(self.answers["answer_mass"].mean()) if "answer_mass" in self.answers else None

    def headline(self) -> dict[str, float | None]:
        """Give the headline numbers by name; None is what has no meaning or can't be computed."""
        numbers: dict[str, float | None] = {}
        for name in AXES:
            one = self.stabilities.get(name)
            numbers[name] = _number(one.mean) if one else None
            numbers[f"{name}_se"] = _number(one.se) if one else None
            numbers[f"{name}_undefined_fraction"] = one.undefined_fraction if one else None
        return {
            **numbers,
            "undefined_fraction": _undefined_fraction(self.stabilities.values()),
            "unparsed_fraction": float(self.answers["score"].isna().mean()),
            "answer_mass": self.answer_mass,
            "queries": len(self.answers),
        }

    def document(self) -> dict[str, Any]:
        """Give everything as plain data for `stability.json`; None for what has no meaning."""
        labels = {str(name): self.scores[name].to_numpy().tolist() for name in self.scores.dims}
        return {
            "task": self.task.name,
            "wording": self.task.wording,
            "wording_sha256": self.task.digest,
            "seeds": labels["seed"],
            "contexts": labels["context"],
            "personas": labels["persona"],
            "keys": labels["key"],
            "centred": self.task.centred,
            "key_of_item": {str(item.number): item.key for item in self.task.items},
            **self.headline(),
            "per_seed": {name: _by_label(one.per_seed) for name, one in self.stabilities.items()},
            "context_pairs": {
                name: [[_number(rho) for rho in row] for row in one.pairs.to_numpy()]
                for name, one in self.stabilities.items()
            },
            "per_key": _per_unit(self.stabilities.get("rank_order")),
            "per_persona": _per_unit(self.stabilities.get("ipsative")),
        }


def measure(answers: pd.DataFrame, task: Task, undefined: str, *, permutations: bool) -> Results:
    """Score the answers and compute every stability.

    Args:
        answers: as `valstab.ask.ask` gives them, or just `seed`, `context`, `persona`, `item` and `score`.
        task: what was asked.
        undefined: whether an undefined correlation counts as `zero`, or is left out (`drop`).
        permutations: whether there are repetitions instead of personas.

    Raises:
        ConfigError: if the answers are not complete.
    """
    scores = score(answers, task)
    stabilities = applicable_stabilities(scores, cast("Undefined", undefined), without_personas=permutations)
    return Results(task, answers, scores, stabilities)


def profiles(scores: xr.DataArray) -> pd.DataFrame:
    """Lay the scores out with one row for each seed, context and persona, and one column for each key."""
    *rows, key = DIMENSIONS
    return pd.DataFrame(
        scores.transpose(*DIMENSIONS).to_numpy().reshape(-1, scores.sizes[key]),
        index=pd.MultiIndex.from_product([scores[name].to_numpy() for name in rows], names=rows),
        columns=scores[key].to_numpy(),
    )


def _undefined_fraction(stabilities: Iterable[Stability]) -> float | None:
    counts = [(one.undefined, one.correlations) for one in stabilities]
    return sum(undefined for undefined, _ in counts) / sum(total for _, total in counts) if counts else None


def _per_unit(stability: Stability | None) -> dict[str, dict[str, float | None]]:
    if stability is None:
        return {}
    errors = _by_label(stability.per_unit_se)
    return {name: {"mean": mean, "se": errors[name]} for name, mean in _by_label(stability.per_unit).items()}


def _by_label(array: xr.DataArray) -> Mapping[str, float | None]:
    labels = array[array.dims[0]].to_numpy().tolist()
    return {str(label): _number(value) for label, value in zip(labels, array.to_numpy(), strict=True)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
