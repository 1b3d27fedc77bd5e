"""The results of a run: scores and stabilities, as objects and as plain data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
import xarray as xr

from valstab.engines.received import READINGS
from valstab.inputs.task import Task
from valstab.statistics.inference import Conclusion, conclude
from valstab.statistics.position import PositionEffect, position_effect
from valstab.statistics.resampling import Exchange, StabilitySpec
from valstab.statistics.scores import DIMENSIONS, Rounding, genders, score
from valstab.statistics.stability import AXES, Measure, Stability, Undefined, applicable_measures


@dataclass(frozen=True, repr=False)
class Results:
    """The answers of a run with their scores and stabilities."""

    task: Task
    answers: pd.DataFrame
    """One row a question, as `valstab.protocol.ask.ask` returns them."""
    scores: xr.DataArray
    """Dimensions: seed, context, persona, key."""
    conclusions: Mapping[Measure, Conclusion]
    """By measure, if it applies: rank_order needs several personas, ipsative several keys, both several contexts."""
    without_personas: bool
    """Whether there are repetitions instead of personas."""
    withheld: str = ""
    """Why the run has no headline, as a clause, such as too many unread answers; empty if it has one."""

    def __repr__(self) -> str:
        """Return the results in a line: the task, the size and the stabilities."""
        size = " x ".join(f"{count} {name}s" for name, count in self.scores.sizes.items())
        found = ", ".join(
            f"{name} {'-' if stability.why_not_reported else f'{stability.mean:.3f}'}"
            for name, stability in self.stabilities.items()
        )
        return f"<Results {self.task.name}: {size}; {found or 'no stability'}>"

    @cached_property
    def position_effect(self) -> PositionEffect:
        """How much the answers depend on the letter beside the option; computed once, since it redraws all orders."""
        return position_effect(self.answers)

    @property
    def stabilities(self) -> dict[Measure, Stability]:
        """The stabilities, by measure."""
        return {measure: conclusion.stability for measure, conclusion in self.conclusions.items()}

    @property
    def answer_mass(self) -> float | None:
        """The mean probability on the offered letters; None if it is unknown."""
        return _number(self.answers["answer_mass"].mean()) if "answer_mass" in self.answers else None

    @property
    def readings(self) -> dict[str, int]:
        """The number of answers that were read in each way, in the order of `READINGS`; empty if it is unknown."""
        if "reading" not in self.answers:
            return {}
        counts = self.answers["reading"].value_counts()
        return {name: int(counts[name]) for name in READINGS if name in counts}

    def headline(self) -> dict[str, float | None]:
        """Return the headline numbers by name; None if a number does not apply or says nothing.

        For each measure: its mean, `_se` over seeds (paper), `_low` and `_high` (95%, for other people, topics and
        seeds), `_chance` (95th percentile of chance) with `_p`, and `_undefined_fraction`.
        """
        numbers: dict[str, float | None] = {}
        for name in AXES:
            numbers |= _numbers_of(name, self.conclusions.get(name))
        return {
            **numbers,
            "undefined_fraction": _undefined_fraction(self.stabilities.values()),
            "unparsed_fraction": float(self.answers["score"].isna().mean()),
            "answer_mass": self.answer_mass,
            "queries": len(self.answers),
        }

    def document(self) -> dict[str, Any]:
        """Return the content of `stability.json` as plain data; None if a number does not apply or is undefined."""
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
            "centred_on": self.task.centred_on,
            "withheld": self.withheld,
            "key_of_item": {str(item.number): item.key for item in self.task.items},
            **self.headline(),
            "readings": self.readings,
            "why_undefined": {
                name: stability.why_undefined for name, stability in self.stabilities.items() if stability.undefined
            },
            "per_seed": {name: _by_label(stability.per_seed) for name, stability in self.stabilities.items()},
            "context_pairs": {
                name: [[_number(rho) for rho in row] for row in stability.pairs.to_numpy()]
                for name, stability in self.stabilities.items()
            },
            "per_key": _per_unit(self.stabilities.get("rank_order")),
            "per_persona": _per_unit(self.stabilities.get("ipsative")),
        }


def measure(
    answers: pd.DataFrame,
    task: Task,
    undefined: str,
    *,
    without_personas: bool,
    withheld: str = "",
    rounding: Rounding = "nine_decimals",
) -> Results:
    """Score the answers and compute every stability, its interval and what chance gives.

    Args:
        answers: one row a question, as `valstab.protocol.ask.ask` returns them. The columns `seed`, `context`,
            `persona`, `item` and `score` suffice.
        task: the questionnaire.
        undefined: `zero` counts an undefined correlation as 0, `drop` leaves it out.
        without_personas: whether there are repetitions instead of personas.
        withheld: why no stability is reported, as `valstab.results.fitness.why_withheld` returns it.
        rounding: which scores count as equal in ranks.

    Raises:
        ConfigError: if the answers are not complete.
    """
    scores = score(answers, task, rounding)
    specs = {
        name: StabilitySpec(name, cast("Undefined", undefined), without_personas)
        for name in applicable_measures(scores, without_personas=without_personas)
    }
    exchange = Exchange(genders(answers, scores["persona"].to_numpy().tolist()))
    conclusions = {name: conclude(scores, spec, exchange=exchange).withhold(withheld) for name, spec in specs.items()}
    return Results(task, answers, scores, conclusions, without_personas, withheld)


def profiles(scores: xr.DataArray) -> pd.DataFrame:
    """Return the scores as a table: one row per seed, context and persona, one column per key."""
    *rows, key = DIMENSIONS
    return pd.DataFrame(
        scores.transpose(*DIMENSIONS).to_numpy().reshape(-1, scores.sizes[key]),
        index=pd.MultiIndex.from_product([scores[name].to_numpy() for name in rows], names=rows),
        columns=scores[key].to_numpy(),
    )


def _numbers_of(name: str, conclusion: Conclusion | None) -> dict[str, float | None]:
    names = [name, *(f"{name}_{suffix}" for suffix in ("se", "low", "high", "chance", "p"))]
    undefined = {f"{name}_undefined_fraction": conclusion.stability.undefined_fraction if conclusion else None}
    if conclusion is None or conclusion.stability.why_not_reported:
        return dict.fromkeys(names) | undefined
    stability, (_, low, high, *_), chance = conclusion.stability, conclusion.interval, conclusion.chance
    numbers = (stability.mean, stability.se, low, high, chance.high, chance.p)
    return dict(zip(names, map(_number, numbers), strict=True)) | undefined


def _undefined_fraction(stabilities: Iterable[Stability]) -> float | None:
    counts = [(stability.undefined, stability.correlations) for stability in stabilities]
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
