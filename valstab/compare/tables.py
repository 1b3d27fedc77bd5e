"""Tables behind the paper's figures, as tidy pandas tables that `valstab.compare.figures` draws."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valstab.analysis.runs import Run, Runs
from valstab.compare.stabilities import adjusted
from valstab.errors import ConfigError
from valstab.statistics.inference import pairwise_tests
from valstab.statistics.jackknife import DIMENSIONS, estimate, interval, jackknife, why_no_interval
from valstab.statistics.resampling import Over
from valstab.statistics.stability import (
    Measure,
    Undefined,
    neutral_order,
    neutral_profile,
    neutral_similarity,
    value_behaviour,
)

Tasks = Sequence[str]
"""The names of two tasks: a questionnaire, and a behaviour."""


OF_PAPER: Tasks = ("pvq", "donation")
"""Those that the paper compares."""


def means(samples: pd.DataFrame, by: Sequence[str], value: str = "stability") -> pd.DataFrame:
    """Average samples.

    Returns:
        The columns `by`, then mean, se (SD with ddof=1 over the square root of the number; NaN for one sample) and
        n; the groups in order of appearance.
    """
    groups = samples.groupby(list(by), sort=False, dropna=False)[value]
    return groups.agg(mean="mean", se="sem", n="size").reset_index()


def context_pairs(runs: Runs, measure: Measure, undefined: Undefined = "zero") -> pd.DataFrame:
    """Stability between each two contexts (Fig. 10).

    Returns:
        The columns label, context, other, stability, and the lengths of their opening messages in characters
        (`length`, `other_length`; 0 where unknown), ordered by them.
    """
    parts = []
    for run in runs:
        stability = run.reported_stability(measure, undefined)
        if stability is None:
            continue
        lengths = run.opening_lengths
        part = stability.pairs.to_series().rename("stability").reset_index()
        part.insert(0, "label", run.label)
        part["length"] = part["context"].map(lambda name, known=lengths: known.get(name, 0))
        part["other_length"] = part["other"].map(lambda name, known=lengths: known.get(name, 0))
        parts.append(part.sort_values(["length", "other_length"], kind="stable"))
    return pd.concat(parts, ignore_index=True)


def values_and_behaviour(
    runs: Runs, values: Sequence[str], undefined: Undefined = "zero", tasks: Tasks = OF_PAPER
) -> pd.DataFrame:
    """Correlate values with behaviour, such as coins given, after the same topics, with the same seeds (Fig. 9).

    Each model needs a run of the questionnaire and one of the behaviour. Only people, topics and seeds that both
    have are used: see `left_out_beside_behaviour`.

    Args:
        runs: the runs.
        values: of the questionnaire; all of them if there are none.
        undefined: what an undefined correlation counts as.
        tasks: the names of the questionnaire and of the behaviour.

    Returns:
        The columns label, value, seed, correlation: the mean over races and contexts.

    Raises:
        ConfigError: if no model has both, or a value is unknown.
    """
    parts = []
    for label, (one, other) in _values_beside_behaviour(runs, values, tasks).items():
        table = value_behaviour(one, other, undefined).to_series().rename("correlation").reset_index()
        parts.append(table.rename(columns={"key": "value"}).assign(label=label))
    table = pd.concat(parts, ignore_index=True)
    ordered = [table[table["value"] == value] for value in values or table["value"].unique()]
    return pd.concat(ordered, ignore_index=True)[["label", "value", "seed", "correlation"]]


def correlations_with_behaviour(
    runs: Runs, values: Sequence[str], undefined: Undefined = "zero", tasks: Tasks = OF_PAPER
) -> pd.DataFrame:
    """Return the mean correlations of `values_and_behaviour` with intervals for other people, topics and seeds.

    Returns:
        The columns label, value, mean, low, high (95%), p, p_adjusted (over all rows).
    """
    rows = []
    for label, (one, other) in _values_beside_behaviour(runs, values, tasks).items():
        both = xr.concat([one, other], "key")
        names = [str(name) for name in one["key"].to_numpy()]

        def means(some: xr.DataArray, names: Sequence[str] = names) -> dict[str, float]:
            coins = some.isel(key=slice(len(names), None))
            found = value_behaviour(some.isel(key=slice(len(names))), coins, undefined).mean("seed")
            return dict(zip(names, found.to_numpy().tolist(), strict=True))

        studies = jackknife(both, means)
        too_few = why_no_interval(both)
        for value in values or names:
            study = studies[value]._replace(without={}) if too_few else studies[value]
            mean, low, high, _, _, p = interval(estimate(study), correlation=True)
            rows.append((label, value, mean, low, high, p))
    return pd.DataFrame(rows, columns=["label", "value", "mean", "low", "high", "p"]).pipe(adjusted)


def left_out_beside_behaviour(runs: Runs, tasks: Tasks = OF_PAPER) -> dict[str, dict[Over, int]]:
    """Return for each model how many people, topics and seeds only one of the two tasks has."""
    counts: dict[str, dict[Over, int]] = {}
    for label, both in _of_both_tasks(runs, tasks).items():
        names: dict[Over, list[set[Any]]] = {
            dimension: [set(run.scores[dimension].to_numpy().tolist()) for run in both] for dimension in DIMENSIONS
        }
        counts[label] = {dimension: len(one ^ other) for dimension, (one, other) in names.items() if one ^ other}
    return {label: numbers for label, numbers in counts.items() if numbers}


def paper_tests(
    runs: Runs, samples: pd.DataFrame, pairs: Sequence[tuple[str, str]] | None = None
) -> dict[str, pd.DataFrame]:
    """Return the paper's t-tests over seeds by name: unpaired, and paired where all runs have the same seeds."""
    spread = samples_by_label(samples)
    found = {"paper_tests": pairwise_tests(spread, pairs=pairs)}
    seeds = {tuple(run.seeds) for run in runs if run.label in spread}
    if len(seeds) == 1 and len({len(values) for values in spread.values()}) == 1:
        found["paper_paired_tests"] = pairwise_tests(spread, pairs=pairs, paired=True)
    return found


def _of_both_tasks(runs: Runs, tasks: Tasks) -> dict[str, tuple[Run, Run]]:
    """Return each model's run of the questionnaire and of the behaviour.

    Raises:
        ConfigError: if no model has both.
    """
    questionnaire, behaviour = tasks
    asked = {run.label: run for run in runs if run.task.name == questionnaire}
    both = {
        run.label: (asked[label], run)
        for label in asked
        for run in runs
        if run.task.name == behaviour
        and label in {run.label, run.label.removesuffix(f" judged by {run.settings.get('judge.name')}")}
    }
    if not both:
        raise ConfigError("runs", f"({len(runs)})", f"need one of {questionnaire} and one of {behaviour} by one model")
    return both


def _values_beside_behaviour(
    runs: Runs, values: Sequence[str], tasks: Tasks
) -> dict[str, tuple[xr.DataArray, xr.DataArray]]:
    """Return the scores of each model's questionnaire and behaviour, of the people and topics that both have."""
    found = {label: _common(*both) for label, both in _of_both_tasks(runs, tasks).items()}
    known = {str(key) for one, _ in found.values() for key in one["key"].to_numpy()}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError("figure.values", unknown[0], f"is no value of {tasks[0]}")
    return found


def components(run: Run, labels: Mapping[str, str], positive: str = "positive") -> pd.DataFrame:
    """Two principal components of the personas' scores in all seeds and contexts (Fig. 12, paper D.1).

    Columns are standardised with the population SD. The signs of components are arbitrary: the first is turned so
    that `positive` personas stand on the left, the second so that the first persona is not below zero.

    Persons with a missing score are left out.

    Returns:
        The columns persona, first, second, label, and the shares of variance as `attrs["explained"]`.

    Raises:
        ConfigError: if fewer than three persons have all their scores, or there is one column, or nothing varies.
    """
    # Only now: it takes seconds to import, and no other table needs it.
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    complete = run.scores.dropna("persona").transpose("persona", "seed", "context", "key")
    personas = [str(name) for name in complete["persona"].to_numpy()]
    matrix = complete.to_numpy().reshape(len(personas), complete[:1].size if personas else 0)
    if min(len(personas) - 1, matrix.shape[1]) < 2 or not np.ptp(matrix, axis=0).any():  # noqa: PLR2004
        raise ConfigError("runs", run.id, "has no two components: it needs three people with scores that differ")
    standard = StandardScaler().fit_transform(matrix)
    pca = PCA(n_components=2, svd_solver="full")
    places = pca.fit_transform(standard)
    table = pd.DataFrame(places, columns=["first", "second"])
    table.insert(0, "persona", personas)
    table["label"] = [labels.get(name, "") for name in personas]
    if table.loc[table["label"] == positive, "first"].mean() > 0:
        table["first"] = -table["first"]
    if table["second"].iloc[0] < 0:
        table["second"] = -table["second"]
    table.attrs["explained"] = pca.explained_variance_ratio_.tolist()
    return table


def neutral_profile_table(runs: Runs, undefined: Undefined = "zero") -> pd.DataFrame:
    """Similarity to the neutral profile beside rank-order stability, over length (Fig. 13, paper D.2).

    The neutral profile is of the run without personas and without conversation.

    Returns:
        The columns label, n_messages, what (`similarity to the neutral profile` or `rank-order stability`), sample
        and value.
    """
    neutral = _only(runs, lambda run: run.without_personas and run.n_messages == 0, "population=none conversation=none")
    profile = neutral_profile(neutral.scores)

    def similarity(run: Run) -> xr.DataArray:
        return neutral_similarity(run.scores, profile, undefined)

    return _beside_stability(runs, "similarity to the neutral profile", similarity, undefined)


def neutral_order_table(runs: Runs, undefined: Undefined = "zero") -> pd.DataFrame:
    """Stability between contexts beside that towards the order without conversation, over length (Fig. 14, D.3).

    Returns:
        The columns label, n_messages, what, sample and value.
    """
    neutral = _only(
        runs, lambda run: not run.without_personas and run.n_messages == 0, "personas and conversation=none"
    )

    def towards(run: Run) -> xr.DataArray:
        seeds = [seed for seed in run.scores["seed"].to_numpy() if seed in neutral.scores["seed"]]
        if not seeds or not set(run.personas) <= set(neutral.personas):
            raise ConfigError("runs", neutral.id, f"without conversation must have the seeds and personas of {run.id}")
        return neutral_order(
            run.scores.sel(seed=seeds), neutral.scores.sel(seed=seeds, persona=run.personas), undefined
        )

    return _beside_stability(runs, "towards the neutral order", towards, undefined)


def _beside_stability(
    runs: Runs, what: str, measure: Callable[[Run], xr.DataArray], undefined: Undefined
) -> pd.DataFrame:
    conversing = [run for run in runs if run.n_messages and not run.without_personas]
    if not conversing:
        raise ConfigError("runs", f"({len(runs)})", "need some with personas and conversations")
    rows: list[dict[str, Any]] = []
    for run in conversing:
        stability = run.reported_stability("rank_order", undefined)
        for name, values in (
            ("rank-order stability", None if stability is None else stability.samples),
            (what, measure(run)),
        ):
            for sample, value in enumerate([] if values is None else values.to_numpy().ravel()):
                rows.append(
                    {"label": run.label, "n_messages": run.n_messages, "what": name, "sample": sample, "value": value}
                )
    return pd.DataFrame(rows)


def _only(runs: Runs, fits: Callable[[Run], bool], which: str) -> Run:
    found = [run for run in runs if fits(run)]
    if len(found) != 1:
        raise ConfigError("runs", f"({len(runs)})", f"need one with {which}, there are {len(found)}")
    return found[0]


def _common(one: Run, other: Run) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the scores of two runs for the seeds, contexts and personas that both have."""
    names = ("seed", "context", "persona")
    shared = {
        name: [label for label in one.scores[name].to_numpy() if label in other.scores[name].to_numpy()]
        for name in names
    }
    missing = [name for name, labels in shared.items() if not labels]
    if missing or len(shared["persona"]) < 2:  # noqa: PLR2004
        raise ConfigError("runs", f"{one.id} and {other.id}", f"have no {(missing or ['persona'])[0]} in common")
    return one.scores.sel(shared), other.scores.sel(shared)


def samples_by_label(
    samples: pd.DataFrame, value: str = "stability"
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the samples of each label, for tests between models."""
    return {str(label): part[value].to_numpy(float) for label, part in samples.groupby("label", sort=False)}
