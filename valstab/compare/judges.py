"""Do judges agree? Runs that have the same answers in the model's own words, rated by different judges."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valstab.analysis.runs import Run, Runs
from valstab.compare import figures
from valstab.compare.comparison import Comparison, Request
from valstab.compare.sentences import with_interval
from valstab.compare.stabilities import adjusted
from valstab.errors import ConfigError
from valstab.hashing import content_hash
from valstab.statistics.jackknife import estimate, interval, jackknife, why_no_interval
from valstab.statistics.rater_agreement import ordinal_alpha

UNITS = ["seed", "context", "persona", "item"]
"""The columns that name an answer."""


def judges(request: Request) -> Comparison:
    """Compare judges of the same answers; runs of other tasks, or with answers that nobody else rates, are left out.

    Raises:
        ConfigError: if no two runs have the same answers in the model's own words.
    """
    groups = list(_of_same_answers(request.runs))
    table = pd.concat([agreement_table(group) for group in groups], ignore_index=True).pipe(adjusted)
    name = request.figure.name
    return Comparison(
        tables={name: table, "keys": pd.concat([keys_table(group) for group in groups], ignore_index=True)},
        pictures={name: figures.intervals(table, title=request.figure.title, label="Krippendorff's alpha (ordinal)")},
        sentences=tuple(_described(row) for _, row in table.iterrows()),
        numbers={str(row["label"]): float(row["mean"]) for _, row in table.iterrows()},
    )


def agreement_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Return how much each two judges agree, and all of them where there are more.

    Returns:
        The columns label, mean (Krippendorff's alpha), low and high (95%, for other people, topics and seeds), p (of
        the test that alpha is 0), kappa (Cohen's, with squared weights), same (the share of equal ratings), difference
        (mean rating of the second less that of the first) and n (answers). The last four are of two judges only, but n.
    """
    rows = [_row(pair, f"{pair[0].label} and {pair[1].label}") for pair in combinations(runs, 2)]
    if len(runs) > 2:  # noqa: PLR2004
        rows.append(_row(runs, f"all {len(runs)} judges of {runs[0].settings.get('model.name', 'a model')}"))
    return pd.DataFrame(rows)


def keys_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Return Krippendorff's alpha of each two judges by key, with the columns label, key, alpha and n."""
    key_of = {item.number: item.key for item in runs[0].task.items}
    rows = []
    for one, other in combinations(runs, 2):
        ratings = _ratings((one, other))
        for key in runs[0].task.keys:
            some = ratings.sel(item=[number for number in ratings["item"].to_numpy().tolist() if key_of[number] == key])
            rows.append((f"{one.label} and {other.label}", key, ordinal_alpha(_flat(some)), some[0].size))
    return pd.DataFrame(rows, columns=["label", "key", "alpha", "n"])


def _row(runs: Sequence[Run], label: str) -> dict[str, object]:
    ratings = _ratings(runs)
    study = jackknife(ratings, lambda some: {"alpha": ordinal_alpha(_flat(some))})["alpha"]
    if why_no_interval(ratings):
        study = study._replace(without={})
    mean, low, high, _, _, p = interval(estimate(study), correlation=True)
    flat = _flat(ratings)
    of_two: Mapping[str, float] = {}
    if len(runs) == 2:  # noqa: PLR2004
        both = flat[:, ~np.isnan(flat).any(axis=0)]
        of_two = {
            "kappa": weighted_kappa(both),
            "same": float((both[0] == both[1]).mean()),
            "difference": float((both[1] - both[0]).mean()),
        }
    return {"label": label, "mean": mean, "low": low, "high": high, "p": p, **of_two, "n": flat.shape[1]}


def weighted_kappa(ratings: NDArray[np.float64]) -> float:
    """Return Cohen's kappa of two raters with squared weights (Cohen 1968); NaN if all ratings are equal.

    Args:
        ratings: shape (2, things), without NaN.
    """
    # Only now: it takes seconds to import.
    from sklearn.metrics import cohen_kappa_score

    values, codes = np.unique(ratings, return_inverse=True)
    if len(values) < 2:  # noqa: PLR2004
        return float("nan")
    return float(cohen_kappa_score(*codes.reshape(ratings.shape), weights="quadratic"))


def _of_same_answers(runs: Runs) -> Iterator[list[Run]]:
    """Yield the runs that have the same answers in the model's own words and the same rubric, if at least two have."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if "open_answer" in run.answers:
            said = run.answers.sort_values(UNITS)[[*UNITS, "open_answer"]]
            groups.setdefault(content_hash([run.digest, *(said[name].tolist() for name in said)]), []).append(run)
    found = [group for group in groups.values() if len(group) > 1]
    if not found:
        raise ConfigError(
            "runs",
            f"({len(runs)})",
            "need two judges of the same answers: make the run of a task with a rubric again with another judge=...",
        )
    yield from found


def _ratings(runs: Sequence[Run]) -> xr.DataArray:
    """Return the ratings of each run. Dimensions: judge, seed, context, persona, item."""
    return xr.concat([run.answers.set_index(UNITS)["score"].to_xarray() for run in runs], "judge")


def _flat(ratings: xr.DataArray) -> NDArray[np.float64]:
    """Return ratings as an array: (judges, answers)."""
    flat: NDArray[np.float64] = ratings.to_numpy().astype(float).reshape(ratings.sizes["judge"], -1)
    return flat


def _described(row: pd.Series) -> str:
    """Return how much judges agree, as a sentence."""
    if np.isnan(row["mean"]):
        return f"{row['label']}: all ratings are equal, so that alpha is undefined."
    same = f"; {row['same']:.0%} of {row['n']:,} ratings are equal, kappa {row['kappa']:.2f}" if "same" in row else ""
    return f"{row['label']}: alpha {with_interval(row)}{same}."
