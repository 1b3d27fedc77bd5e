"""How the profiles of runs drift with the messages of a conversation, beside chance and beside each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from valstab.analysis.comparability import require_comparable, require_unique
from valstab.analysis.runs import Run, Runs
from valstab.compare.stabilities import adjusted
from valstab.errors import ConfigError
from valstab.statistics.drift import (
    NEUTRAL,
    Curve,
    at,
    chance,
    chance_of_personas,
    curve_means,
    curves,
    fitted_lengths,
    half_life,
    persona_means,
    rate_of,
)
from valstab.statistics.inference import Null, differences
from valstab.statistics.jackknife import (
    DIMENSIONS,
    Jackknifed,
    Statistics,
    estimate,
    interval,
    jackknife,
    why_no_interval,
)
from valstab.statistics.resampling import ALPHA, Over
from valstab.statistics.stability import Undefined

OF_PERSONAS = (Curve("ipsative", "first"), Curve("ipsative", "neutral"), Curve("points", "neutral"))
"""The curves of single people."""

OVER_OF_PERSONAS: tuple[Over, ...] = ("context", "seed")
"""What the intervals of single people generalise over."""


OVERVIEW = {
    ("rank_order", "first"): "rank_order",
    ("ipsative", "first"): "ipsative",
    ("ipsative", "neutral"): "neutral_distance",
    ("points", "neutral"): "neutral_points",
}
"""The curves of the overview, and their columns there."""


@dataclass(frozen=True)
class Drift:
    """Tables of all labels; their rows are in the order of the labels.

    `curves` has label, measure, reference (`valstab.statistics.drift.Curve`), n_messages, again (whether the reference
    itself is asked again), value, low and high (95%, for other people, topics and seeds), chance (reached in one of
    twenty), p, p_adjusted (over all rows), shown (beyond chance). `half_lives` has label, measure, reference,
    fitted_from (the first length of the fit), half_life (messages; infinite without a fall), low, high, p (of no
    change), p_adjusted, and finding: "falls", "no fall is shown", or "no stability is shown" where the fit begins. The
    tables of personas are the same for each person, with intervals for other topics and seeds. `differences` are of
    each two labels: measure, reference, n_messages, and the columns of `valstab.statistics.inference.differences`,
    adjusted over all rows.
    """

    curves: pd.DataFrame
    half_lives: pd.DataFrame
    personas: pd.DataFrame
    persona_half_lives: pd.DataFrame
    differences: pd.DataFrame
    notes: tuple[str, ...]
    """What limits the reading, as sentences."""

    def overview(self) -> pd.DataFrame:
        """Return a row for each label and length with its values: stabilities with the first length, and distances.

        Returns:
            The columns label, n_messages, and of those that there are: rank_order and ipsative, each with what chance
            reaches, neutral_distance (1 less the ipsative correlation) and neutral_points (of the scale).
        """
        parts = []
        for (measure, reference), name in OVERVIEW.items():
            part = self.curves[self.curves["measure"].eq(measure) & self.curves["reference"].eq(reference)]
            numbers = part.set_index(["label", "n_messages"])[["value", "chance"]]
            turned = 1 - numbers if name == "neutral_distance" else numbers
            parts.append(turned.set_axis([name, f"{name}_chance"], axis=1))
        table = pd.concat(parts, axis=1).dropna(axis=1, how="all").reset_index().sort_values("n_messages")
        places = {label: place for place, label in enumerate(dict.fromkeys(self.curves["label"]))}
        return table.sort_values("label", key=lambda labels: labels.map(places), kind="stable", ignore_index=True)


def drift(runs: Runs, undefined: Undefined, resamples: int) -> Drift:
    """Compute how profiles drift.

    Args:
        runs: of each label, runs that differ in `n_messages` only.
        undefined: what an undefined correlation counts as.
        resamples: number of shuffles for chance.

    Raises:
        ConfigError: if no label has two lengths of conversation, or runs can't be set side by side.
    """
    require_comparable(runs, ("n_messages", "topics"))
    require_unique(runs, ("n_messages",))
    fit = Runs(tuple(run for run in runs if not run.withheld))
    notes = [f"{run.label} (n={run.n_messages}): left out, since {run.withheld}." for run in runs if run.withheld]
    points, rates, own_points, own_rates = [], [], [], []
    studies: dict[str, dict[str, Jackknifed]] = {}
    for label, own in _by_label(fit).items():
        scores, alone = _scores(own), own[-1].without_personas
        some = [each for each in curves(scores) if each.kind != "rank_order" or not alone]
        studies[label] = _study(scores, partial(curve_means, some=some, undefined=undefined), DIMENSIONS)
        nulls = {each: chance(scores, each, strata=own[-1].genders, resamples=resamples) for each in some}
        points.append(_curves(studies[label], scores, nulls).assign(label=label))
        rates.append(_rates(studies[label], scores, some).assign(label=label))
        few = [each for each in OF_PERSONAS if each in some]
        together = _study(scores, partial(persona_means, some=few, undefined=undefined), OVER_OF_PERSONAS)
        own_nulls = {each: chance_of_personas(scores, each, resamples=resamples) for each in few}
        for persona in scores["persona"].to_numpy().tolist():
            study = {name.removeprefix(f"{persona}/"): each for name, each in together.items()}
            named = {"label": label, "persona": persona}
            own_points.append(_curves(study, scores, {each: own_nulls[each][persona] for each in few}).assign(**named))
            own_rates.append(_rates(study, scores, few).assign(**named))
        notes += _limits(label, scores, without_personas=alone)
    all_points, all_own = (_joined(some).pipe(_with_shown) for some in (points, own_points))
    return Drift(
        curves=all_points,
        half_lives=_with_findings(_joined(rates), all_points),
        personas=all_own,
        persona_half_lives=_with_findings(_joined(own_rates), all_own),
        differences=_differences(studies),
        notes=tuple(notes),
    )


def _by_label(runs: Runs) -> dict[str, list[Run]]:
    """Return the runs of each label in the order of their lengths, with the one without conversation where it has one.

    Settings that count in conversations only are not in the label of the latter, so it belongs to all labels with its
    words.
    """
    talks: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.n_messages):
        if run.n_messages:
            talks.setdefault(run.label, []).append(run)
    several = {label: own for label, own in talks.items() if len(own) > 1}
    if not several:
        raise ConfigError(
            "runs", f"({len(runs)})", "need two or more lengths of conversation (n_messages) of one label"
        )
    require_comparable(Runs(tuple(run for own in several.values() for run in own)), ("n_messages",))
    for label, own in several.items():
        words = set(label.split())
        silent = [run for run in runs if not run.n_messages and words.issuperset(run.label.split())]
        own[:0] = sorted(silent, key=lambda run: len(run.label.split()))[-1:]
    return several


def _scores(runs: Sequence[Run]) -> xr.DataArray:
    """Return scores as `valstab.statistics.drift` takes them: of the seeds, people and orders that all runs have."""
    talk = runs[-1]
    seeds = [seed for seed in talk.seeds if all(seed in run.seeds for run in runs)]
    if not seeds or not all(set(talk.personas) <= set(run.personas) for run in runs):
        raise ConfigError("runs", talk.label, "all of its lengths must have the same personas, and a seed in common")
    orders = min(0 if run.retests is None else run.retests["retest"].nunique() for run in runs)
    contexts = [name for name in talk.contexts if name != talk.settings.get("topics.neutral")]
    parts = []
    for run in runs:
        asked = xr.concat([run.scores, *(run.rescored(number + 1) for number in range(orders))], "order")
        own = asked.sel(seed=seeds, persona=talk.personas)
        in_all = own.sel(context=contexts) if run.n_messages else own.isel(context=[0] * len(contexts))
        parts.append(in_all.assign_coords(context=contexts))
    lengths = pd.Index([run.n_messages for run in runs], name="length")
    return xr.concat(parts, lengths).assign_coords(order=range(orders + 1))


def _study(scores: xr.DataArray, means: Statistics, over: Sequence[Over]) -> dict[str, Jackknifed]:
    """Return the numbers of curves with their jackknives, where there are levels enough for an interval."""
    return jackknife(scores, means, () if why_no_interval(scores, over) else over)


def _curves(
    study: Mapping[str, Jackknifed], scores: xr.DataArray, nulls: Mapping[Curve, Mapping[int, Null]]
) -> pd.DataFrame:
    rows, lengths = [], scores["length"].to_numpy().tolist()
    for curve, of_lengths in nulls.items():
        for length, null in of_lengths.items():
            found = interval(estimate(study[at(curve, length)]), correlation=curve.kind != "points")
            again = curve.reference in {"first", "neutral"} and length not in fitted_lengths(curve, lengths)
            rows.append((*curve, length, again, found.value, found.low, found.high, null.high, null.p))
    names = ["measure", "reference", "n_messages", "again", "value", "low", "high", "chance", "p"]
    return pd.DataFrame(rows, columns=names)


def _rates(study: Mapping[str, Jackknifed], scores: xr.DataArray, some: Iterable[Curve]) -> pd.DataFrame:
    rows = []
    for curve in some:
        lengths = fitted_lengths(curve, scores["length"].to_numpy().tolist())
        if curve.decays and len(lengths) > 1:
            rate = interval(estimate(study[rate_of(curve)]))
            rows.append((*curve, lengths[0], *half_life(rate), rate.p))
    return pd.DataFrame(rows, columns=["measure", "reference", "fitted_from", "half_life", "low", "high", "p"])


def _differences(studies: Mapping[str, Mapping[str, Jackknifed]]) -> pd.DataFrame:
    parts = []
    for name in dict.fromkeys(name for study in studies.values() for name in study):
        measure, reference, length = name.split("/")
        known = {label: study[name] for label, study in studies.items() if name in study}
        if length != "rate" and not any(np.isnan(each.value) for each in known.values()):
            keys = {"measure": measure, "reference": reference, "n_messages": int(length)}
            parts.append(pd.DataFrame(keys, index=[0]).merge(differences(known), how="cross"))
    tests = pd.concat(parts, ignore_index=True).drop(columns=["df", "p_adjusted", "significant"]).pipe(adjusted)
    return tests.assign(significant=tests["p_adjusted"] <= ALPHA)


def _limits(label: str, scores: xr.DataArray, *, without_personas: bool) -> list[str]:
    """Return what limits the reading of a label's drift, as sentences."""
    said = []
    if reason := why_no_interval(scores, without_personas=without_personas):
        said.append(f"{label}: no interval and no test of a fall, since {reason}.")
    if scores.sizes["order"] == 1:
        said.append(
            f"{label}: each question was asked once, with its options in one order at all lengths, so a preference for "
            "some letters also looks like stability between lengths. retests=1 asks again in other orders."
        )
    if NEUTRAL not in scores["length"]:
        said.append(f"{label}: no run without conversation (n_messages=0), so nothing is said of the neutral profile.")
    return said


def _with_shown(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(shown=table["p_adjusted"] <= ALPHA)


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables as one with adjusted p-values, and with what names a row first."""
    table = pd.concat(parts, ignore_index=True).pipe(adjusted)
    names = [name for name in ("label", "persona") if name in table]
    return table[[*names, *(name for name in table if name not in names)]]


def _with_findings(rates: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Return half-lives with what is found of each: a fall needs a stability that is shown where the fit begins."""
    starts = points.rename(columns={"n_messages": "fitted_from"})
    keys = [name for name in rates if name in {"label", "persona", "measure", "reference", "fitted_from"}]
    stable = rates.merge(starts[[*keys, "shown"]], how="left", on=keys)["shown"].eq(True)
    falls = np.isfinite(rates["high"].astype(float)) & (rates["p_adjusted"] <= ALPHA)
    finding = np.where(stable, np.where(falls, "falls", "no fall is shown"), "no stability is shown")
    return rates.assign(finding=finding)
