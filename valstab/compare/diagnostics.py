"""Diagnostics of a stability: uncertainty, chance, noise, and flaws of the answers and conversations."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valstab.analysis.runs import Run, Runs
from valstab.compare.stabilities import adjusted, stabilities
from valstab.statistics import conversation_quality
from valstab.statistics.agreement import agreement
from valstab.statistics.congruence import factor_congruence
from valstab.statistics.consistency import item_consistency
from valstab.statistics.jackknife import DIMENSIONS, MIN_LEVELS, stability_interval
from valstab.statistics.position import orders_vary, position_bias, position_effect
from valstab.statistics.psychometrics import answer_mass, circular_structure, cronbach_alpha
from valstab.statistics.reliability import corrected, generalisability_intervals, variance_components
from valstab.statistics.resampling import StabilitySpec
from valstab.statistics.stability import Measure, Undefined, rank_order_within


@dataclass(frozen=True)
class Diagnostics:
    """Tables of all runs; each has a column label.

    `stability` has a row a run: the columns of `valstab.compare.stabilities.Stabilities.table`; persona_low,
    persona_high and so on (95% over one dimension, the others as they are); the rank-order stability within each gender
    where the questionnaire is worded for two (within_gender; chance exchanges people within them too); the noise
    ceilings with their intervals (ceiling: same topic, other seed; order_ceiling: same conversation, other option
    orders), and for each what a change of topic costs, the share kept, and the corrected stability; for rank-order the
    generalisability coefficient and the index of dependability with intervals, the intraclass correlations between
    contexts (absolute and consistency), the circle's fit and the congruence of factors with keys; and the stability
    without conversations that went wrong.

    Published results lack letters of options, answer mass and conversations: they have no rows in those tables.
    """

    stability: pd.DataFrame
    variance: pd.DataFrame
    positions: pd.DataFrame
    position_effect: pd.DataFrame
    consistency: pd.DataFrame
    mass: pd.DataFrame
    alpha: pd.DataFrame
    conversations: pd.DataFrame

    def details(self) -> dict[str, pd.DataFrame]:
        """Return the tables other than `stability` that are not empty, by name."""
        tables = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "stability"}
        return {name: table for name, table in tables.items() if not table.empty}


def diagnose(runs: Runs, measure: Measure, undefined: Undefined = "zero", resamples: int = 1000) -> Diagnostics:
    """Compute the diagnostics of each run; p-values are adjusted over the runs."""
    found = stabilities(runs, measure, undefined, resamples)
    rows = dict(zip([run.id for run in found.runs], found.table.to_dict("records"), strict=True))
    return Diagnostics(
        stability=pd.DataFrame([_stability(run, rows.get(run.id), measure, undefined) for run in runs]),
        variance=_of_all(runs, _variance),
        positions=_of_all(runs, _positions),
        position_effect=_of_all(runs, _position_effect).pipe(lambda table: table if table.empty else adjusted(table)),
        consistency=_of_all(runs, _consistency),
        mass=_of_all(runs, _mass),
        alpha=_of_all(runs, _alpha),
        conversations=_of_all(runs, _conversations),
    )


def _stability(
    run: Run, found: Mapping[Hashable, Any] | None, measure: Measure, undefined: Undefined
) -> dict[Hashable, Any]:
    """Return the row of a run; `found` is that of its stability, None where the measure does not apply."""
    if found is None:
        return {"label": run.label, "n_messages": run.n_messages, "mean": np.nan, "low": np.nan, "high": np.nan}
    row = dict(found)
    if row["not_reported"]:
        return row
    spec = StabilitySpec(measure, undefined, run.without_personas)
    for dimension in DIMENSIONS:
        if run.scores.sizes[dimension] > 1:
            _, low, high, *_ = stability_interval(run.scores, spec, [dimension])
            row |= {f"{dimension}_low": low, f"{dimension}_high": high}
    if measure == "rank_order" and run.genders is not None and len(set(run.genders)) > 1:
        row["within_gender"] = rank_order_within(run.scores, run.genders, undefined)
    return (
        row | noise_ceilings(run, measure, undefined) | structure(run, measure) | _sensitivity(run, measure, undefined)
    )


def noise_ceilings(run: Run, measure: Measure, undefined: Undefined = "zero") -> dict[str, float]:
    """Return a run's noise ceilings, what a change of topic costs, and their intervals: columns of `Diagnostics`."""
    again = None if run.retests is None else run.rescored(1)
    found = corrected(_repeated(run), measure, again=again, undefined=undefined)
    prefixes = {"seed": "", "order": "order_"}
    return {
        f"{prefixes[source]}{name}{suffix}": number
        for source, ceiling in found.items()
        for name in ("ceiling", "cost", "kept", "corrected")
        for suffix, number in zip(("", "_low", "_high"), getattr(ceiling, name)[:3], strict=True)
    }


def _repeated(run: Run) -> xr.DataArray:
    """Return scores whose seeds repeat the same questions: without personas and with one seed, the repetitions.

    Each repetition is worded for one gender: there is a persona for each, with as many repetitions as both have.
    """
    if not run.without_personas or run.retests is not None or run.scores.sizes["seed"] > 1:
        return run.scores
    repetitions = run.scores.isel(seed=0, drop=True)
    labels = np.asarray(run.genders or [""] * run.scores.sizes["persona"])
    groups = [repetitions.isel(persona=labels == label) for label in np.unique(labels)]
    several = [group for group in groups if group.sizes["persona"] > 1] or groups
    number = min(group.sizes["persona"] for group in several)
    parts = [group.isel(persona=slice(number)).rename(persona="seed") for group in several]
    return xr.concat([part.assign_coords(seed=range(number)) for part in parts], "persona")


def structure(run: Run, measure: Measure) -> dict[str, float]:
    """Return the generalisability and agreement of people's scores, and the fit of the structure that is expected.

    That is Schwartz's circle for values, and a factor for each key for traits, whose scores are raw. They are about
    differences between people, as rank-order stability is.
    """
    if measure != "rank_order" or run.without_personas:
        return {}
    row: dict[str, float] = {}
    if run.scores.dropna("persona").sizes["persona"] >= MIN_LEVELS["persona"]:
        for name, (value, low, high, *_) in generalisability_intervals(run.scores).items():
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        found = agreement(run.scores)
        row |= {"icc_absolute": float(found.absolute.mean()), "icc_consistency": float(found.consistency.mean())}
    circle = circular_structure(run.scores)
    if circle is not None:
        row |= {"circle_fit": circle.fit, "circle_p": circle.p}
    factors = None if run.task.centred else factor_congruence(run.answers, run.task)
    if factors is not None:
        row |= {"congruence": factors.mean, "congruence_p": factors.p}
    return row


def _sensitivity(run: Run, measure: Measure, undefined: Undefined) -> dict[str, float]:
    """Compute the stability again without the conversations that went wrong."""
    if not run.conversations or not run.n_messages:
        return {}
    flags = _flaws(run)
    left: xr.DataArray = conversation_quality.without_affected(run.scores, flags)
    found = replace(run, scores=left).stability(measure, undefined)
    return {
        "affected_conversations": float((flags[list(conversation_quality.SERIOUS)] > 0).any(axis=1).mean()),
        "without_affected": np.nan if found is None else found.mean,
        "without_affected_undefined": np.nan if found is None else found.undefined_fraction,
    }


def _positions(run: Run) -> pd.DataFrame:
    return position_bias(run.answers) if _has_letters(run) else pd.DataFrame()


def _position_effect(run: Run) -> pd.DataFrame:
    return pd.DataFrame([position_effect(run.answers)]) if _has_letters(run) else pd.DataFrame()


def _has_letters(run: Run) -> bool:
    """Return whether it is known under which letters the options stood, in which orders, and a letter was chosen."""
    if "letters" not in run.answers or not run.answers["letter"].notna().any():
        return False
    return orders_vary(run.answers)


def _variance(run: Run) -> pd.DataFrame:
    if run.without_personas or min(run.scores.sizes[name] for name in ("persona", "context")) < 2:  # noqa: PLR2004
        return pd.DataFrame()
    scores = run.scores
    if run.retests is not None:
        scores = xr.concat([run.scores, run.rescored(1)], pd.Index([0, 1], name="order"))
    if scores.dropna("persona").sizes["persona"] < 2:  # noqa: PLR2004
        return pd.DataFrame()
    found = variance_components(scores)
    return found if found["share"].notna().all() else pd.DataFrame()


def _alpha(run: Run) -> pd.DataFrame:
    if run.without_personas or run.scores.sizes["persona"] < 2:  # noqa: PLR2004
        return pd.DataFrame()
    raw = cronbach_alpha(run.answers, run.task).rename("alpha")
    centred = cronbach_alpha(run.answers, run.task, centred=True).rename("alpha_centred")
    factors = None if run.task.centred else factor_congruence(run.answers, run.task, resamples=0)
    columns = [raw, centred, *([] if factors is None else [factors.of_keys])]
    return pd.concat(columns, axis=1).rename_axis("key").reset_index()


def _consistency(run: Run) -> pd.DataFrame:
    return item_consistency(run.answers, run.retests)


def _mass(run: Run) -> pd.DataFrame:
    return answer_mass(run.answers).to_frame().T if "answer_mass" in run.answers else pd.DataFrame()


def _conversations(run: Run) -> pd.DataFrame:
    if not run.conversations or not run.n_messages:
        return pd.DataFrame()
    return conversation_quality.by_context(_flaws(run)).rename_axis("context").reset_index()


def _flaws(run: Run) -> pd.DataFrame:
    return conversation_quality.inspect(run.conversations, int(run.settings["max_new_tokens"]))


def _of_all(runs: Runs, of_run: Any) -> pd.DataFrame:
    parts = []
    for run in runs:
        part = of_run(run)
        if not part.empty:
            part = part.copy()
            part.insert(0, "label", run.label)
            part.insert(1, "n_messages", run.n_messages)
            parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
