"""What moves a model most: its stability over each axis of a study, over topics and over mere repetition."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from valstab.analysis.runs import Run
from valstab.analysis.studies import Study, studies
from valstab.compare import figures
from valstab.compare.comparison import Comparison, Request
from valstab.compare.stabilities import adjusted
from valstab.statistics.axes import LEVEL, LevelStability, level_components, level_stability, mean_change
from valstab.statistics.inference import Null, conclude, differences, significance_groups
from valstab.statistics.jackknife import LEVEL_NAMES, MIN_SPREAD, Interval, Jackknifed
from valstab.statistics.reliability import variance_components
from valstab.statistics.resampling import ALPHA, Exchange, Over, StabilitySpec
from valstab.statistics.stability import MEASURE_NAMES, Measure, Undefined

TOPIC = "(topic)"
SEED = "(another seed)"
AGAIN = "(asked again)"
"""What is compared besides the axes, in the base: topics, other conversations on the same topic, and the same questions
after the same conversation with other option orders. The last two are noise."""


NOISE = (AGAIN, SEED)
"""The repetitions, the purer first."""


class _Row(NamedTuple):
    """The stability over the levels of something."""

    axis: str
    levels: tuple[str, ...]
    scores: xr.DataArray
    """Dimensions: level, cell, seed, context, persona, key."""


def what_moves(request: Request) -> Comparison:
    """Compare the stabilities over the axes of each study, lowest first.

    Raises:
        ConfigError: if a run is of no study, or levels have nothing in common.
    """
    found = studies(request.runs)
    several = len(found) > 1
    tables, tests, components, sentences = [], [], [], []
    for study in found:
        table, compared = _stabilities(study, request)
        prefix = f"{study.label}: " if several else ""
        shown = table.assign(label=prefix + table["axis"])
        tables.append(shown.assign(study=study.label))
        tests.append(compared.assign(study=study.label))
        if study.crossed is not None:
            components.append(variance_components(study.crossed).assign(study=study.label))
        sentences += [f"{prefix}{each}" for each in _sentences(study, table, compared, request.measure)]
    whole = pd.concat(tables, ignore_index=True)
    name, label = request.figure.name, f"{MEASURE_NAMES[request.measure].lower()} stability over the levels"
    columns = [*(["study"] if several else []), *(each for each in whole if each not in {"label", "study"})]
    return Comparison(
        tables={
            name: whole[columns],
            "tests": pd.concat(tests, ignore_index=True),
            **({"components": pd.concat(components, ignore_index=True)} if components else {}),
        },
        pictures={name: figures.intervals(whole, title=request.figure.title, label=label)},
        sentences=tuple(sentences),
        numbers={f"{request.measure}/{axis}": mean for axis, mean in zip(whole["label"], whole["mean"], strict=True)},
    )


def _stabilities(study: Study, request: Request) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row for each axis and for what is beside it, lowest first; and the tests of each two."""
    rows, studied = [], {}
    for row in _rows(study):
        if _applies(study.base, row.scores, request.measure):
            strata = study.base.genders
            if strata is not None and len(strata) != row.scores.sizes["persona"]:
                strata = None
            over_levels = level_stability(
                row.scores, request.measure, request.undefined, strata=strata, resamples=request.resamples
            )
            rows.append(_numbers(row, over_levels))
            if over_levels.is_reported:
                studied[row.axis] = over_levels.study
    topics = _over_topics(study.base, request.measure, request.undefined, request.resamples)
    if topics is not None:
        rows.append(topics[0])
        studied[TOPIC] = topics[1]
    table = pd.DataFrame(rows).pipe(adjusted)
    tests = differences(studied, alpha=ALPHA)
    groups = significance_groups({axis: study.value for axis, study in studied.items()}, tests)
    table["group"] = table["axis"].map(groups).fillna("")
    return table.sort_values("mean", kind="stable", ignore_index=True), tests


def _rows(study: Study) -> Iterator[_Row]:
    for axis, scores in study.axes.items():
        yield _Row(axis, tuple(map(str, scores[LEVEL].to_numpy())), scores)
    base = study.base
    if base.scores.sizes["seed"] > 1:
        over_seeds = base.scores.rename(seed=LEVEL).expand_dims(["cell", "seed"])
        yield _Row(SEED, tuple(map(str, base.seeds)), over_seeds)
    if base.retests is not None:
        twice = xr.concat([base.scores, base.rescored(1)], LEVEL).expand_dims("cell")
        yield _Row(AGAIN, ("first", "second"), twice.assign_coords({LEVEL: ["first", "second"]}))


def _applies(base: Run, scores: xr.DataArray, measure: Measure) -> bool:
    if measure == "rank_order":
        return scores.sizes["persona"] > 1 and not base.without_personas
    return scores.sizes["key"] > 1


def _numbers(row: _Row, found: LevelStability) -> dict[str, object]:
    if not found.is_reported:
        nothing = Interval(*[np.nan] * len(Interval._fields))
        return _described(row, nothing, found.over, Null(np.nan, np.nan, np.nan, 1.0), found.undefined_fraction)
    return _described(row, found.interval, found.over, found.chance, found.undefined_fraction)


def _described(
    row: _Row, stability: Interval, over: Iterable[Over], chance: Null, undefined: float
) -> dict[str, object]:
    """Return a row of the table."""
    moved = level_components(row.scores)
    return {
        "axis": row.axis,
        "levels": ", ".join(row.levels),
        "mean": stability.value,
        "low": stability.low,
        "high": stability.high,
        "others": _others(stability, over),
        "chance": chance.high,
        "p": chance.p,
        "change": mean_change(row.scores),
        "moves_all": moved[LEVEL],
        "moves_apart": moved[f"persona x {LEVEL}"],
        "undefined": undefined,
    }


def _others(found: Interval, over: Iterable[Over]) -> str:
    """Return what an interval is for; empty without one."""
    if np.isnan(found.se):
        return ""
    *first, last = (LEVEL_NAMES[name][1] for name in over)
    return f"{', '.join(first)} and {last}" if first else last


def _over_topics(
    base: Run, measure: Measure, undefined: Undefined, resamples: int
) -> tuple[dict[str, object], Jackknifed] | None:
    """Return the row of the topics of the base, with the stability's jackknife; None without a stability."""
    reported = base.reported_stability(measure, undefined)
    if reported is None:
        return None
    found = conclude(
        base.scores,
        StabilitySpec(measure, undefined, base.without_personas),
        exchange=Exchange(base.genders, base.sliding_orders),
        resamples=resamples,
    )
    over = base.scores.rename(context=LEVEL).expand_dims(["cell", "context"])
    row = _Row(TOPIC, tuple(base.contexts), over)
    numbers = _described(row, found.interval, found.study.without, found.chance, found.stability.undefined_fraction)
    return numbers, found.study


def _sentences(study: Study, table: pd.DataFrame, tests: pd.DataFrame, measure: Measure) -> Iterator[str]:
    """Yield what moves the model, each claim with its test."""
    own = table[table["axis"].isin(study.axes) & table["mean"].notna()]
    if not own.empty:
        yield from _lowest(own, tests, measure)
    noise = next((name for name in NOISE if name in set(table["axis"])), None)
    if noise is None:
        yield (
            "what mere repetition moves is not known: with retests=1 or several seeds it stands beside the axes, and "
            "each is tested against it"
        )
    else:
        yield from _beside_noise(own, table, tests, noise)
    for axis, mean, chance in own.loc[own["p_adjusted"] > ALPHA, ["axis", "mean", "chance"]].itertuples(index=False):
        yield f"over {axis}, {_name(measure)} is not beyond chance ({mean:.3f}, chance reaches {chance:.3f})"
    if TOPIC in set(table["axis"]) and study.base.settings.get("option_order") == "random":
        yield (
            "another topic also draws other option orders, which the levels of an axis share: option_order=fixed "
            "compares topics without them"
        )
    for axis in study.undone:
        yield f"the axis {axis} has runs of one level only, so nothing is said of it"


def _lowest(own: pd.DataFrame, tests: pd.DataFrame, measure: Measure) -> Iterator[str]:
    """Yield which axis has the lowest stability, and which others can't be told apart from it."""
    first = own.iloc[0]
    rest = [str(axis) for axis in own["axis"].iloc[1:] if not _differ(tests, str(first["axis"]), str(axis))]
    found = f"{first['mean']:.3f}" + (
        f", 95% {first['low']:.3f} to {first['high']:.3f} for other {first['others']}" if first["others"] else ""
    )
    if own["mean"].min() > 1 - MIN_SPREAD:
        yield f"nothing moves it: over {', '.join(own['axis'])}, {_name(measure)} is {own['mean'].iloc[0]:.3f}"
    elif len(own) == 1:
        yield f"over {first['axis']}, {_name(measure)} is {found}"
    elif rest:
        yield (
            f"{_name(measure)} is lowest over {first['axis']} ({found}), but not to be told apart from that over "
            f"{', '.join(rest)}"
        )
    else:
        yield f"{first['axis']} moves this model most: over it, {_name(measure)} is {found}, below every other axis"


def _beside_noise(own: pd.DataFrame, table: pd.DataFrame, tests: pd.DataFrame, noise: str) -> Iterator[str]:
    repeated = float(table.loc[table["axis"] == noise, "mean"].iloc[0])
    lower = own.loc[own["mean"] < repeated, "axis"].astype(str)
    below = [axis for axis in lower if _differ(tests, axis, noise)]
    what = {SEED: "another conversation on the same topic", AGAIN: "the same questions with other option orders"}[noise]
    yield f"what moves it more than {what} ({repeated:.3f}; FDR {ALPHA}): {', '.join(below) or 'no axis'}"


def _differ(tests: pd.DataFrame, one: str, other: str) -> bool:
    pair = tests[tests["one"].isin([one, other]) & tests["other"].isin([one, other])]
    return bool(pair["significant"].any())


def _name(measure: Measure) -> str:
    return f"{MEASURE_NAMES[measure].lower()} stability"
