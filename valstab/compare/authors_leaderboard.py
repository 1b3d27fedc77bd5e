"""The cardinal and the ordinal board of the authors' leaderboard: models in order of stability and value structure.

A model has a column for each two contexts (rank-order stability), and for each context four of its structure: CFI,
1 - SRMR, 1 - RMSEA and 1 - stress. Its runs may be several, such as one of each questionnaire with the ten values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from valstab.analysis.runs import Run, Runs
from valstab.compare.comparison import Comparison, Request
from valstab.compare.panels import axes_of_panels, note
from valstab.errors import ConfigError
from valstab.results.marks import label_inches
from valstab.results.picture import MAX_ROWS, left_out
from valstab.statistics import boards
from valstab.statistics.stability import Undefined, rank_order
from valstab.statistics.structure import HIGHER_ORDER_VALUES, structure, value_places, why_no_structure

GOOD = {"CFI": "cfi", "1 - SRMR": "srmr", "1 - RMSEA": "rmsea", "1 - stress": "stress"}
"""Columns of a context's structure, higher being better: the measure of each; all but CFI are taken from 1."""


FEW_PEOPLE = 200
"""Fewer people than this are too few for the usual limits of CFI, RMSEA and SRMR."""


class Place(NamedTuple):
    """A context of a model: the run that has it, and its name there."""

    run: Run
    context: str


@dataclass(frozen=True)
class ModelColumns:
    """The columns of a model."""

    values: Mapping[str, float]
    """By name."""
    structure: pd.DataFrame
    """A row for each context and seed; empty where there are too few people."""
    refused: str
    """Why there is no structure, as a clause; empty if there is one."""


def authors_boards(request: Request) -> Comparison:
    """Put the models on the two boards.

    Raises:
        ConfigError: if no model has two contexts of questionnaires with the ten values.
    """
    models = _by_model(request.runs)
    contexts = _shared(list(models.values()))
    found = {
        label: model_columns({name: places[name] for name in contexts}, request.undefined)
        for label, places in models.items()
    }
    columns = pd.DataFrame({label: each.values for label, each in found.items()}).T.dropna(axis=1)
    table = _board(columns, found)
    structures = pd.concat([each.structure.assign(label=label) for label, each in found.items()], ignore_index=True)
    published = pd.DataFrame(list(request.reference.items()), columns=["published by the authors", "rank_order"])
    groups = {context: [name for name in map(str, columns) if f"({context})" in name] for context in contexts}
    numbers = {
        "diversity_w": boards.concordance(columns),
        "cardinal_sensitivity": boards.cardinal_sensitivity(columns, groups),
        "ordinal_sensitivity": boards.ordinal_sensitivity(columns),
    }
    name = request.figure.name
    long = columns.rename_axis("label").reset_index().melt("label", var_name="column")
    tables = {name: table, "columns": long, "structure": structures, "published": published}
    return Comparison(
        tables={key: each for key, each in tables.items() if not each.empty},
        pictures={name: _picture(table, request.reference, request.figure.title)},
        sentences=tuple(_sentences(table, numbers, found, contexts, len(columns.columns))),
        numbers={key: number for key, number in numbers.items() if not np.isnan(number)},
    )


def model_columns(places: Mapping[str, Place], undefined: Undefined = "zero") -> ModelColumns:
    """Compute the columns of a model: 5 contexts give 10 + 4 * 5, the nine of the leaderboard 36 + 4 * 9.

    Args:
        places: the contexts, by name.
        undefined: what an undefined correlation counts as.

    Raises:
        ConfigError: if the runs have fewer than two people or no seed in common.
    """
    people, seeds = _common([place.run for place in places.values()])
    some = {"persona": people, "seed": seeds, "key": list(value_places())}
    parts = [
        run.scores.sel({"context": [own], **some}).assign_coords(context=[name]) for name, (run, own) in places.items()
    ]
    pairs = rank_order(xr.concat(parts, "context"), undefined).pairs
    values = {
        f"rank-order ({one}) ({other})": float(pairs.sel(context=one, other=other))
        for one, other in combinations(places, 2)
    }
    rows = []
    for name, place in places.items():
        for seed in seeds:
            answers, keys = _answers(place, seed, people)
            complete = int((~np.isnan(answers)).all(axis=1).sum())
            refused = why_no_structure(complete, keys)
            if refused:
                return ModelColumns(values, pd.DataFrame(), f"{name}: {refused}")
            rows.append({"context": name, "seed": seed, "people": complete, **_structure_row(answers, keys)})
    table = pd.DataFrame(rows)
    mean = table.groupby("context")[list(GOOD.values())].mean()
    for column, measure in GOOD.items():
        for name in places:
            value = float(mean[measure][name])
            values[f"{column} ({name})"] = value if measure == "cfi" else 1 - value
    return ModelColumns(values, table, "")


def _structure_row(answers: NDArray[np.float64], keys: Sequence[str]) -> dict[str, object]:
    found = structure(answers, keys)
    why = {name: fit.why_not_fitted for name, fit in found.models.items() if fit.why_not_fitted}
    return {
        **{name: getattr(found, name) for name in ("cfi", "srmr", "rmsea", "stress", "alpha", "loading")},
        "not_fitted": len(why),
        "why_not_fitted": "; ".join(f"{name}: {reason}" for name, reason in why.items()),
    }


def _by_model(runs: Runs) -> dict[str, dict[str, Place]]:
    """Return the contexts of each label, of questionnaires with the ten values.

    Raises:
        ConfigError: if no run has these values, or a label has a context twice.
    """
    models: dict[str, dict[str, Place]] = {}
    for run in runs:
        if run.without_personas or not set(value_places()) <= set(run.task.keys):
            continue
        own = models.setdefault(run.label, {})
        for context in run.contexts:
            name = context if run.task.name == "pvq" else f"{run.task.name}: {context}"
            if name in own:
                raise ConfigError("runs", run.label, f"has the context {context} in {own[name].run.id} and in {run.id}")
            own[name] = Place(run, context)
    if not models:
        raise ConfigError(
            "runs", f"({len(runs)})", f"need one with personas and the values {', '.join(value_places())}"
        )
    return models


def _shared(several: Sequence[Mapping[str, Place]]) -> list[str]:
    """Return the contexts that all models have.

    Raises:
        ConfigError: if these are fewer than two.
    """
    shared = [name for name in several[0] if all(name in others for others in several)]
    if len(shared) < 2:  # noqa: PLR2004
        raise ConfigError("runs", f"({len(several)} models)", "have fewer than two contexts in common")
    return shared


def _common(runs: Sequence[Run]) -> tuple[list[str], list[int]]:
    """Return the people and seeds that all runs have."""
    first = runs[0]
    people = [name for name in first.personas if all(name in run.personas for run in runs)]
    seeds = [seed for seed in first.seeds if all(seed in run.seeds for run in runs)]
    if len(people) < 2 or not seeds:  # noqa: PLR2004
        raise ConfigError("runs", first.label, "have no two people and seed in common in all contexts")
    return people, seeds


def _answers(place: Place, seed: int, people: Sequence[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Return the scores of the answers, shape (people, items), and the value of each item."""
    run = place.run
    some = run.answers[(run.answers["context"] == place.context) & (run.answers["seed"] == seed)]
    table = some.pivot_table(index="persona", columns="item", values="score", dropna=False)
    numbers = [item.number for item in run.task.items]
    keys = [str(item.key) for item in run.task.items]
    return table.reindex(index=list(people), columns=numbers).to_numpy(dtype=float), keys


def _board(columns: pd.DataFrame, found: Mapping[str, ModelColumns]) -> pd.DataFrame:
    table = pd.DataFrame({"cardinal": boards.cardinal_scores(columns), "ordinal": boards.win_rates(columns)})
    table["rank_order"] = columns[[name for name in map(str, columns) if name.startswith("rank-order")]].mean(axis=1)
    for name in (*GOOD.values(), "alpha", "loading"):
        table[name] = [each.structure[name].mean() if not each.refused else np.nan for each in found.values()]
    fitted = len(HIGHER_ORDER_VALUES)
    table["not_fitted"] = [
        each.structure["not_fitted"].mean() / fitted if not each.refused else np.nan for each in found.values()
    ]
    table = table.sort_values("cardinal", ascending=False, kind="stable")
    if len(table) == 1:
        table = table.drop(columns="ordinal")
    for name in ("ordinal", "cardinal"):
        if name in table:
            table.insert(0, f"{name}_rank", table[name].rank(ascending=False, method="min").astype(int))
    refused = all(each.refused for each in found.values())
    unknown = [*GOOD.values(), "alpha", "loading", "not_fitted"] if refused else []
    return table.drop(columns=unknown).rename_axis("label").reset_index()


def _sentences(
    table: pd.DataFrame,
    numbers: Mapping[str, float],
    found: Mapping[str, ModelColumns],
    contexts: Sequence[str],
    number: int,
) -> list[str]:
    counted = f"{number} columns of {len(table)} model{'s' * (len(table) > 1)}"
    said = [f"{counted} in {len(contexts)} contexts: {', '.join(contexts)}."]
    said.append("The boards have no intervals: models near each other may differ by chance.")
    if len(table) > 1:
        firsts = {name: ", ".join(table.loc[table[f"{name}_rank"] == 1, "label"]) for name in ("cardinal", "ordinal")}
        said.append(f"First on the cardinal board: {firsts['cardinal']}; on the ordinal board: {firsts['ordinal']}.")
        said.append(
            f"The columns' orders of the models agree to W = {numbers['diversity_w']:.2f} (1: all are the same)."
        )
    else:
        said.append("With one model there is no order: no win rate, diversity or sensitivity.")
    places = len(table) - 1
    for name, other in {"cardinal": "context", "ordinal": "other model"}.items():
        change = numbers[f"{name}_sensitivity"]
        if not np.isnan(change):
            said.append(f"Without one {other}, a model moves by up to {change * places:g} places on the {name} board.")
    refused = [f"{label} ({each.refused})" for label, each in found.items() if each.refused]
    if refused:
        said.append(f"The boards are of rank-order alone, without the structure of values: {'; '.join(refused)}.")
    else:
        said.append(_caution(table, found))
    return said


def _caution(table: pd.DataFrame, found: Mapping[str, ModelColumns]) -> str:
    people = min(int(each.structure["people"].min()) for each in found.values())
    loadings = "" if table["loading"].isna().all() else f" and loadings of {table['loading'].mean():.2f} on average"
    few = f"fewer than {FEW_PEOPLE} people" if people < FEW_PEOPLE else "many people"
    return (
        f"With {people} people ({few}){loadings}, read CFI, RMSEA and SRMR with caution: they scatter, and small "
        f"loadings make RMSEA and SRMR look good. {table['not_fitted'].mean():.0%} of the factor models are not "
        "fitted, and count as the worst."
    )


def _picture(table: pd.DataFrame, published: Mapping[str, float], title: str) -> Figure:
    """Draw both boards and rank-order stability, each in its own order; what the authors published is hollow."""
    theirs = pd.DataFrame({"label": published.keys(), "rank_order": published.values(), "published": True})
    beside = pd.concat([table.assign(published=False), theirs], ignore_index=True)
    labels = {
        "cardinal": "cardinal board: mean of all columns",
        "ordinal": "ordinal board: mean win rate",
        "rank_order": "rank-order stability\n(hollow: published by the authors)",
    }
    panels = {name: label for name, label in labels.items() if name in table}
    size = (3.5 + label_inches(beside["label"]), 2.0 + 0.3 * len(beside))
    figure, axes = axes_of_panels(None, len(panels), len(panels), size, title)
    for ax, (name, label) in zip(axes, panels.items(), strict=True):
        shown = (beside if name == "rank_order" else beside[~beside["published"]]).dropna(subset=[name])
        ordered = shown.sort_values(name, ascending=False, kind="stable").head(MAX_ROWS)
        places, values = np.arange(len(ordered)), ordered[name].to_numpy(float)
        ax.scatter(values, places, facecolors=np.where(ordered["published"], "none", "black"), edgecolors="black")
        ax.set_yticks(places, ordered["label"])
        ax.set_ylim(len(ordered) - 0.5, -0.5)
        ax.set_xlabel(note(label, left_out(len(shown), "models")))
        ax.grid(axis="x", alpha=0.3)
    return figure
