"""What tables say, in sentences: what they allow one to conclude, and what they do not."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from valstab.compare.diagnostics import Diagnostics
from valstab.results.summary import describe_position
from valstab.statistics.position import PositionEffect
from valstab.statistics.psychometrics import LOW_ANSWER_MASS

WHY_NONE = {
    "rank_order": "it needs several personas and two contexts",
    "ipsative": "it needs two contexts and a task with several keys",
}


ALPHA = 0.05


AFFECTED_SHARE = 0.1
"""Share of conversations that went wrong from which a stability is to be read with care."""


MAX_UNDEFINED_SHARE = 0.5
"""Smallest share of undefined correlations for which no stability is reported."""


Sentences = tuple[str, ...]


def describe_models(
    table: pd.DataFrame, tests: pd.DataFrame, measure: str, reference: Mapping[str, float]
) -> Sentences:
    """Describe how models compare.

    Args:
        table: the columns label, mean, se and n, highest first.
        tests: pairwise tests, as `valstab.statistics.inference.pairwise_tests` returns them.
        measure: "rank_order" or "ipsative".
        reference: human stabilities by name.
    """
    best = table.iloc[0]
    said = [_highest(best) if len(table) > 1 else _alone(best)]
    if len(table) > 1:
        pairs, differing = len(tests), int(tests["significant"].sum())
        said.append(
            f"{differing} of {pairs} pairs of models differ significantly (Student's t-test on the samples, "
            f"Benjamini-Hochberg at {ALPHA})."
        )
    for name, height in reference.items():
        below = int((table["mean"] < height).sum())
        said.append(f"{_count(below, len(table))} below the {height:g} of humans ({name}).")
    if reference:
        said.append(
            "That a model lies above would not make it as stable as people: their years of change were compared with "
            "one change of topic."
        )
    if (table["n"] < 2).any():  # noqa: PLR2004
        said.append("Where there is one sample only, there is no standard error and no test.")
    said.append(
        "The tests and errors are over "
        + ("seeds" if measure == "rank_order" else "seeds, or repetitions without a persona")
        + ": they tell whether the same people and topics would give the same again, not whether others would."
    )
    return tuple(said)


def describe_length(samples: pd.DataFrame, title: str) -> Sentences:
    """Describe how a stability changes from the shortest to the longest conversation of each label."""
    said = []
    for label, part in samples.groupby("label", sort=False):
        lengths = sorted(part["n_messages"].unique())
        short, long = (
            part.loc[part["n_messages"] == n, "stability"].to_numpy(float) for n in (lengths[0], lengths[-1])
        )
        if len(lengths) < 2:  # noqa: PLR2004
            said.append(f"{label}: one length only, so nothing is said of length.")
            continue
        change = (
            f"{label}: {title} goes from {short.mean():.3f} at n={lengths[0]} to {long.mean():.3f} at n={lengths[-1]}"
        )
        if min(len(short), len(long)) > 1 and np.ptp(np.concatenate([short, long])) > 0:
            p = float(stats.ttest_ind(short, long).pvalue)
            said.append(f"{change} ({'significant' if p < ALPHA else 'not significant'}, t-test, p = {p:.2g}).")
        else:
            said.append(f"{change} (too few samples for a test).")
    return tuple(said)


def describe_context_pairs(pairs: pd.DataFrame) -> Sentences:
    """Describe which contexts agree, and whether longer openings go with lower stability."""
    said = []
    for label, part in pairs[pairs["context"] < pairs["other"]].groupby("label", sort=False):
        ordered = part.sort_values("stability")
        high, low = ordered.iloc[-1], ordered.iloc[0]
        said.append(
            f"{label}: mean {part['stability'].mean():.3f}; highest between {high['context']} and {high['other']} "
            f"({high['stability']:.2f}), lowest between {low['context']} and {low['other']} ({low['stability']:.2f})."
        )
        length = part[["length", "other_length"]].sum(axis=1)
        if length.nunique() > 2:  # noqa: PLR2004
            rho = length.corr(part["stability"], method="spearman")
            said.append(
                f"{label}: stability and the openings' length go together with a Spearman correlation of {rho:.2f} "
                "over pairs of contexts (pairs share contexts, so this is a description, not a test)."
            )
    return tuple(said)


def describe_behaviour(table: pd.DataFrame) -> Sentences:
    """Describe how values correlate with coins given; the columns label, value, mean and se."""
    said = [
        f"{label}: " + ", ".join(f"{row['value']} {_with_error(row)}" for _, row in part.iterrows()) + "."
        for label, part in table.groupby("label", sort=False)
    ]
    said.append(
        "Benevolence and Universalism are expected to go with giving, Power and Achievement against it; a correlation "
        "within two standard errors of 0 shows neither."
    )
    return tuple(said)


def describe_components(label: str, places: pd.DataFrame) -> str:
    """Describe the variance of two components, and whether the labels differ on the first."""
    first, second = places.attrs["explained"]
    means = places.groupby("label")["first"].mean()
    apart = ", ".join(f"{name or 'no label'} {mean:.1f}" for name, mean in means.items())
    return (
        f"{label}: two components hold {first:.0%} and {second:.0%} of the variance; means on the first by label: "
        f"{apart} (within-label SD {places.groupby('label')['first'].std().mean():.1f})."
    )


def compare_curves(table: pd.DataFrame) -> Sentences:
    """Describe how two measures change with length; the columns label, n_messages, what and mean."""
    said = []
    for (label, what), part in table.groupby(["label", "what"], sort=False):
        ordered = part.sort_values("n_messages")
        first, last = ordered.iloc[0], ordered.iloc[-1]
        said.append(
            f"{label}: {what} {first['mean']:.3f} at n={first['n_messages']}, {last['mean']:.3f} at "
            f"n={last['n_messages']}."
        )
    return tuple(said)


def describe_board(setting: str, table: pd.DataFrame) -> str:
    """Describe which model leads a leaderboard, and which share its group."""
    best = table.iloc[0]
    tied = [row["label"] for _, row in table.iloc[1:].iterrows() if set(row["group"]) & set(best["group"])]
    lead = f"{setting}: {best['label']} leads ({_with_error(best)})"
    return f"{lead}, not significantly before {', '.join(tied)}." if tied else f"{lead}."


def describe_diagnostics(found: Diagnostics, title: str) -> Sentences:
    """Describe the diagnostics of each run."""
    said = []
    for _, row in found.stability.iterrows():
        if np.isnan(row["mean"]):
            said.append(f"{_run(row)}: has no {title}.")
            continue
        said.append(f"{_run(row)}: {title} {row['mean']:.3f}, 95% over personas {row['low']:.3f} to {row['high']:.3f}.")
        said += [f"{_run(row)}: {sentence}" for sentence in _appraised(row)]
    for _, row in found.mass.iterrows():
        if row.get("median", 1.0) < LOW_ANSWER_MASS:
            said.append(
                f"{_run(row)}: the answer mass is low (median {row['median']:.2f}): it was mostly not answering."
            )
    for _, row in found.position_effect.iterrows():
        effect = PositionEffect(*row[list(PositionEffect._fields)])
        if effect.dominates:
            said.append(f"{_run(row)}: {describe_position(effect)}.")
    return tuple(said)


def _appraised(row: pd.Series) -> list[str]:
    said = []
    by_chance = row["p"] >= ALPHA
    said.append(
        f"chance alone reaches {row['chance']:.3f} in one of twenty (p = {row['p']:.3g}): "
        + ("nothing says that it is stable at all." if by_chance else "it is more stable than chance.")
    )
    if np.isfinite(row.get("within_gender", np.nan)):
        said.append(
            "among people for whom the questionnaire has the same wording (he or she) it is "
            f"{row['within_gender']:.3f}; chance exchanges people of the same wording only."
        )
    ceiling = row.get("ceiling", np.nan)
    if np.isfinite(ceiling):
        if ceiling <= row["chance"]:
            said.append(
                f"after the same topic with another seed it is {ceiling:.3f}, no more than chance: noise alone hides "
                "any order there may be, so nothing can be said of the topics."
            )
        else:
            topic = "what order there is does not show across topics" if by_chance else _kept(row)
            said.append(f"after the same topic with another seed it is {ceiling:.3f}; {topic}.")
    if np.isfinite(row.get("order_ceiling", np.nan)):
        said.append(f"asked again after the same conversations with other option orders: {row['order_ceiling']:.3f}.")
    if np.isfinite(row.get("generalisability", np.nan)):
        said.append(
            f"generalisability coefficient {row['generalisability']:.2f}: the part of the variance of people's mean "
            "scores that would be there again with other topics and seeds."
        )
    if row.get("affected_conversations", 0) > AFFECTED_SHARE:
        said.append(
            f"{row['affected_conversations']:.0%} of the conversations went wrong somewhere (empty, repeated, refused, "
            f"leaked labels); {_without_them(row)}."
        )
    return said


def _kept(row: pd.Series) -> str:
    kept = row["mean"] / row["ceiling"]
    topic = f"keeps {kept:.0%} of it" if kept < 1 else "costs no more than noise"
    return f"a change of topic {topic} (corrected for noise {row['corrected']:.2f})"


def _without_them(row: pd.Series) -> str:
    undefined = row["without_affected_undefined"]
    if not undefined < MAX_UNDEFINED_SHARE:
        return "too little is left without them to say what it would be"
    left = f", {undefined:.0%} of its correlations undefined" if undefined else ""
    return f"without them it is {row['without_affected']:.3f}{left}"


def _run(row: pd.Series) -> str:
    return f"{row['label']} (n={row['n_messages']})"


def _highest(row: pd.Series) -> str:
    if row["mean"] <= stats.t.ppf(1 - ALPHA / 2, row["n"] - 1) * row["se"]:
        return (
            f"None is seen to be stable: the highest, {row['label']}, has {_with_error(row)}, whose 95% interval over "
            "the samples reaches 0."
        )
    return f"{row['label']} is the most stable ({_with_error(row)})."


def _alone(row: pd.Series) -> str:
    return f"{row['label']}: {_with_error(row)}."


def _with_error(row: pd.Series) -> str:
    return f"{row['mean']:.3f}" + (f" ± {row['se']:.3f}" if np.isfinite(row["se"]) else "")


def _count(part: int, whole: int) -> str:
    return f"All {whole} lie" if part == whole else f"{part} of {whole} lie"
