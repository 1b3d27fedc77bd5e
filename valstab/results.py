"""Everything that answers say about stability, as numbers for a program to read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import xarray as xr

from valstab.scores import score
from valstab.stability import Stability, Undefined, ipsative, rank_order
from valstab.task import Task


@dataclass(frozen=True)
class Results:
    """A run's answers with all that follows from them.

    A stability is None where it has no meaning: rank-order without personas, ipsative with a single key, and
    both without a second context.
    """

    task: Task
    answers: pd.DataFrame
    scores: xr.DataArray
    rank_order: Stability | None
    ipsative: Stability | None

    @property
    def answer_mass(self) -> float | None:
        """The mean probability on the offered letters, if the answers tell."""
        return float(self.answers["answer_mass"].mean()) if "answer_mass" in self.answers else None

    def headline(self) -> dict[str, float | None]:
        """Give the headline numbers by name; None is what has no meaning or can't be computed."""
        both = [one for one in (self.rank_order, self.ipsative) if one is not None]
        return {
            "rank_order": self.rank_order and _number(self.rank_order.mean),
            "rank_order_se": self.rank_order and _number(self.rank_order.se),
            "ipsative": self.ipsative and _number(self.ipsative.mean),
            "ipsative_se": self.ipsative and _number(self.ipsative.se),
            "undefined_fraction": _fraction(*both),
            "rank_order_undefined_fraction": _fraction(*both[:1]) if self.rank_order else None,
            "ipsative_undefined_fraction": _fraction(*both[-1:]) if self.ipsative else None,
            "answer_mass": self.answer_mass,
            "queries": len(self.answers),
        }

    def document(self) -> dict[str, Any]:
        """Give everything as plain data for `stability.json`; None for what has no meaning."""
        labels = {name: self.scores[name].values.tolist() for name in self.scores.dims}
        measures = {
            name: stability
            for name, stability in (("rank_order", self.rank_order), ("ipsative", self.ipsative))
            if stability is not None
        }
        return {
            "task": self.task.name,
            "wording": self.task.wording,
            "wording_sha256": self.task.digest,
            "seeds": labels["seed"],
            "contexts": labels["context"],
            "personas": labels["persona"],
            "keys": labels["key"],
            **self.headline(),
            "per_seed": {name: _by_label(one.per_seed) for name, one in measures.items()},
            "context_pairs": {
                name: [[_number(rho) for rho in row] for row in one.pairs.values] for name, one in measures.items()
            },
            "per_key": _with_errors(self.rank_order),
            "per_persona": _with_errors(self.ipsative),
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
    how = cast(Undefined, undefined)
    scores = score(answers, task)
    contexts, personas, keys = (scores.sizes[name] for name in ("context", "persona", "key"))
    return Results(
        task=task,
        answers=answers,
        scores=scores,
        rank_order=rank_order(scores, how) if contexts > 1 and personas > 1 and not permutations else None,
        ipsative=ipsative(scores, how, permutations=permutations) if contexts > 1 and keys > 1 else None,
    )


def profiles(scores: xr.DataArray) -> pd.DataFrame:
    """Lay the scores out with one row for each seed, context and persona, and one column for each key."""
    return scores.to_series().unstack("key")[scores["key"].values.tolist()].reindex(
        pd.MultiIndex.from_product([scores[name].values for name in ("seed", "context", "persona")]).set_names(
            ["seed", "context", "persona"]
        )
    )


def _fraction(*stabilities: Stability) -> float | None:
    total = sum(one.correlations for one in stabilities)
    return sum(one.undefined for one in stabilities) / total if total else None


def _with_errors(stability: Stability | None) -> dict[str, dict[str, float | None]]:
    if stability is None:
        return {}
    errors = _by_label(stability.per_unit_se)
    return {name: {"mean": mean, "se": errors[name]} for name, mean in _by_label(stability.per_unit).items()}


def _by_label(array: xr.DataArray) -> Mapping[str, float | None]:
    labels = array[array.dims[0]].values.tolist()
    return {str(label): _number(value) for label, value in zip(labels, array.values, strict=True)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
