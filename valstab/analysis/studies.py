"""The runs of a study whose context has several axes, as arrays with a dimension for the levels of each."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from valstab.analysis.runs import Run, Runs
from valstab.config.axes import LEVELS, settings_apart
from valstab.errors import ConfigError

IGNORED = ("store.", "tracking.", "axes", "figures")
"""Starts of the names of settings that make no other study."""


@dataclass(frozen=True)
class Study:
    """The runs of a study: one for each combination of levels that was run."""

    label: str
    """What the runs share, and other studies do not; the model's name if there are no others."""
    base: Run
    """The run at the base level of each axis."""
    axes: Mapping[str, xr.DataArray]
    """The scores over the levels of each axis: dimensions level, cell, seed, context, persona, key."""
    crossed: xr.DataArray | None
    """All scores, with a dimension for each axis, if all combinations of several axes were run."""
    undone: tuple[str, ...] = ()
    """Axes of which less than two levels have a run."""


def levels_of(run: Run) -> dict[str, str]:
    """Return the names of the levels that a run is at, by axis; empty if it is of no study."""
    return {key.removeprefix(LEVELS): value for key, value in run.settings.items() if key.startswith(LEVELS)}


def studies(runs: Runs) -> list[Study]:
    """Return the studies that runs belong to, in the order of their first run.

    Runs at the same levels that differ in other settings, such as their model, belong to different studies.

    Raises:
        ConfigError: if a run is of no study, or levels have no people, keys, topics or seeds in common.
    """
    for run in runs:
        if not levels_of(run):
            raise ConfigError("runs", run.label, "is at no level of an axis; a study is a sweep over +axes=[...]")
    apart = _settings_apart(list(runs))
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.settings.get(name, "") for name in apart), []).append(run)
    return [_study(group, " ".join(values)) for values, group in groups.items()]


def _settings_apart(runs: Sequence[Run]) -> list[str]:
    """Return the settings in which runs at the same levels differ."""
    apart = sorted(name for name in settings_apart([run.settings for run in runs]) if not name.startswith(IGNORED))
    # An option's name stands for what its file sets.
    named = {name.removesuffix(".name") for name in apart if name.endswith(".name")}
    return [name for name in apart if name.endswith(".name") or name.partition(".")[0] not in named]


def _study(runs: Sequence[Run], label: str) -> Study:
    names = list(dict.fromkeys(axis for run in runs for axis in levels_of(run)))
    base_levels = {axis: _most_common([levels_of(run).get(axis, "") for run in runs]) for axis in names}
    base = next((run for run in runs if levels_of(run) == base_levels), runs[0])
    axes = {axis: scores for axis in names if (scores := _over_levels(runs, axis)) is not None}
    return Study(
        label=label or base.settings.get("model.name", ""),
        base=base,
        axes=axes,
        crossed=_crossed(runs, names),
        undone=tuple(axis for axis in names if axis not in axes),
    )


def _most_common(levels: Sequence[str]) -> str:
    """Return the level that most runs are at, the first of several."""
    return max(dict.fromkeys(levels), key=levels.count)


def _over_levels(runs: Sequence[Run], axis: str) -> xr.DataArray | None:
    """Return the scores over an axis, of the cells in which all of its levels were run; None without two levels."""
    cells: dict[tuple[tuple[str, str], ...], dict[str, Run]] = {}
    for run in runs:
        levels = levels_of(run)
        level = levels.pop(axis, "")
        cells.setdefault(tuple(sorted(levels.items())), {})[level] = run
    most = max(len(cell) for cell in cells.values())
    names = list(next(cell for cell in cells.values() if len(cell) == most))
    whole = [cell for cell in cells.values() if set(cell) == set(names)]
    if most < 2:  # noqa: PLR2004
        return None
    found = [cell[name] for cell in whole for name in names]
    scores = _aligned(found, axis)
    parts = [xr.concat(scores[start : start + most], "level") for start in range(0, len(scores), most)]
    return xr.concat(parts, "cell").assign_coords(level=names)


def _aligned(runs: Sequence[Run], axis: str) -> list[xr.DataArray]:
    """Return the scores of runs for what they have in common.

    A run with a single context, such as one without conversation, is compared with each topic of the others.
    """
    several = [run.scores for run in runs if run.scores.sizes["context"] > 1]
    scores = [
        run.scores
        if run.scores.sizes["context"] > 1 or not several
        else run.scores.isel(context=0, drop=True).expand_dims(context=several[0]["context"].to_numpy())
        for run in runs
    ]
    if not several and len({run.contexts[0] for run in runs}) > 1:
        scores = [each.assign_coords(context=["any"]) for each in scores]
    aligned = [each.transpose("seed", "context", "persona", "key") for each in xr.align(*scores, join="inner")]
    for name in aligned[0].dims:
        if not aligned[0].sizes[name]:
            raise ConfigError("runs", axis, f"the levels of this axis have no {name} in common")
    # The order of the first run: an inner join may sort.
    first = scores[0]
    order = {name: [label for label in first[name].to_numpy() if label in aligned[0][name]] for name in first.dims}
    return [each.sel(order) for each in aligned]


def _crossed(runs: Sequence[Run], axes: Sequence[str]) -> xr.DataArray | None:
    """Return all scores with a dimension for each axis; None unless all combinations of several axes were run."""
    levels = {axis: list(dict.fromkeys(levels_of(run).get(axis, "") for run in runs)) for axis in axes}
    found = {tuple(levels_of(run).get(axis, "") for axis in axes): run for run in runs}
    combinations = list(itertools.product(*levels.values()))
    if len(axes) < 2 or set(combinations) - set(found):  # noqa: PLR2004
        return None
    scores = _aligned([found[each] for each in combinations], ", ".join(axes))
    sizes = [len(names) for names in levels.values()]
    stacked = np.stack([each.to_numpy() for each in scores]).reshape(*sizes, *scores[0].shape)
    return xr.DataArray(stacked, dims=(*axes, *scores[0].dims))
