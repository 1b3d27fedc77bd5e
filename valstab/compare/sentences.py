"""What tables say, in sentences: what they allow one to conclude, and what they do not."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from valstab.compare.stabilities import MESSAGES, Stabilities
from valstab.statistics.jackknife import LEVEL_NAMES
from valstab.statistics.resampling import ALPHA, Over
from valstab.statistics.stability import Measure

WHY_NONE = {
    "rank_order": "it needs several personas and two contexts",
    "ipsative": "it needs two contexts and a task with several keys",
}


Sentences = tuple[str, ...]


def describe_inapplicable(labels: Sequence[str], measure: Measure) -> Sentences:
    """Describe which runs are left out, since a stability does not apply to them."""
    if not labels:
        return ()
    named = ", ".join(dict.fromkeys(labels))
    return (f"Left out, without a {measure.replace('_', '-')} stability ({WHY_NONE[measure]}): {named}.",)


def describe_models(
    found: Stabilities,
    measure: Measure,
    reference: Mapping[str, float],
    pairs: Sequence[tuple[str, str]] | None = None,
) -> Sentences:
    """Describe how models compare.

    Args:
        found: their stabilities.
        measure: "rank_order" or "ipsative".
        reference: human stabilities by name.
        pairs: labels to test against each other; None tests each two.
    """
    table, tests = found.ranked(pairs)
    if pairs is None:
        said = [_highest(table, tests)] if len(table) else []
    else:
        said = [_pair(row) for _, row in tests.iterrows()]
    if len(tests):
        said.append(
            f"{int(tests['significant'].sum())} of {len(tests)} pairs of models differ (jackknife of the difference, "
            f"Benjamini-Hochberg at {ALPHA})."
        )
    said += _beside_humans(found.beside(reference, measure))
    said += describe_gaps(found, measure)
    said += describe_seeds(found)
    said.append(
        f"Intervals and tests are {found.generalises_to}; the standard errors "
        f"are over {'seeds' if measure == 'rank_order' else 'seeds, or repetitions without a persona,'} alone, for "
        "the same people and topics (paper)."
    )
    return tuple(said)


def describe_paper_tests(tests: pd.DataFrame) -> str:
    """Describe the result of the paper's tests."""
    return (
        f"The paper's t-tests over seeds find {int(tests['significant'].sum())} of {len(tests)} pairs different: for "
        "the same people and topics."
    )


def describe_seeds(found: Stabilities) -> Sentences:
    """Describe seeds that differ between models, so that no seeds can be paired."""
    by_seeds: dict[str, list[str]] = {}
    for run in found.runs:
        by_seeds.setdefault(", ".join(map(str, run.seeds)), []).append(run.label)
    if len(by_seeds) < 2:  # noqa: PLR2004
        return ()
    differ = "; ".join(f"{seeds}: {', '.join(labels)}" for seeds, labels in by_seeds.items())
    return (f"The models have different seeds ({differ}), so nothing is paired by seed.",)


def describe_gaps(found: Stabilities, measure: str) -> Sentences:
    """Describe which runs have no stability or no interval, and why."""
    name = measure.replace("_", "-")
    reasons: dict[str, list[str]] = {}
    for _, row in found.table.iterrows():
        if row["not_reported"]:
            reasons.setdefault(f"{name} stability is {row['not_reported']}", []).append(row["label"])
        elif row["no_interval"]:
            reasons.setdefault(f"no interval and no test, since {row['no_interval']}", []).append(row["label"])
        elif row["undefined"] > 0:
            reasons.setdefault("some correlations are undefined (column undefined)", []).append(row["label"])
    return tuple(f"{', '.join(dict.fromkeys(labels))}: {reason}." for reason, labels in reasons.items())


def describe_length(found: Stabilities, title: str) -> Sentences:
    """Describe how a stability changes with the length of the conversation, for each label."""
    trends = found.trends()
    said = [
        f"{row['label']}: {title} is {row['first']:.3f} at n={row['shortest']} and {row['last']:.3f} at "
        f"n={row['longest']}; {_change(row)}."
        for _, row in trends.iterrows()
    ]
    alone = [label for label in dict.fromkeys(found.table["label"]) if label not in set(trends["label"])]
    if alone:
        said.append(f"{', '.join(alone)}: one length only, so nothing is said of length.")
    return tuple(said)


def describe_context_pairs(pairs: pd.DataFrame) -> Sentences:
    """Describe which contexts agree, and whether longer openings go with lower stability."""
    said = []
    for label, part in pairs[pairs["context"] < pairs["other"]].groupby("label", sort=False):
        ordered = part.sort_values("stability")
        high, low = ordered.iloc[-1], ordered.iloc[0]
        said.append(
            f"{label}, for these topics: mean {part['stability'].mean():.3f}; highest between {high['context']} and "
            f"{high['other']} ({high['stability']:.2f}), lowest between {low['context']} and {low['other']} "
            f"({low['stability']:.2f})."
        )
        length = part[["length", "other_length"]].sum(axis=1)
        if length.nunique() > 2:  # noqa: PLR2004
            rho = length.corr(part["stability"], method="spearman")
            said.append(
                f"{label}: stability and the openings' length go together with a Spearman correlation of {rho:.2f} "
                "over pairs of contexts (pairs share contexts, so this is a description, not a test)."
            )
    return tuple(said)


EXPECTED = {
    "donation": "Benevolence and Universalism are expected to go with giving, Power and Achievement against it. "
}
"""How values are expected to go with a behaviour, by its task."""


def describe_behaviour(table: pd.DataFrame, task: str = "donation") -> Sentences:
    """Describe how values go with a task; columns as `tables.correlations_with_behaviour` returns them."""
    said = []
    for label, part in table.groupby("label", sort=False):
        shown = part[part["p_adjusted"] <= ALPHA]
        others = part[part["p_adjusted"] > ALPHA]
        clauses = [f"{row['value']} {with_interval(row)}" for _, row in shown.iterrows()]
        if len(others):
            clauses.append(f"not told from 0: {', '.join(others['value'])}")
        said.append(f"{label}: {'; '.join(clauses)}.")
    said.append(
        f"{EXPECTED.get(task, '')}Intervals are for other people, topics and seeds; tests are adjusted over all "
        f"correlations (Benjamini-Hochberg at {ALPHA})."
    )
    return tuple(said)


def describe_left_out(left_out: Mapping[str, Mapping[Over, int]]) -> Sentences:
    """Describe what only one of two tasks has; as `tables.left_out_beside_behaviour` returns it."""
    return tuple(
        f"{label}: left out, since only one of the tasks has them: "
        + ", ".join(f"{number} {LEVEL_NAMES[name][number != 1]}" for name, number in numbers.items())
        + "."
        for label, numbers in left_out.items()
    )


def describe_components(label: str, places: pd.DataFrame) -> str:
    """Describe the variance of two components, and whether the labels differ on the first."""
    first, second = places.attrs["explained"]
    means = places.groupby("label")["first"].mean()
    spread = places.groupby("label")["first"].std().mean()
    within = f" (within-label SD {spread:.1f})" if np.isfinite(spread) else ""
    apart = ", ".join(f"{name or 'no label'} {mean:.1f}" for name, mean in means.items())
    return (
        f"{label}: two components hold {first:.0%} and {second:.0%} of the variance; means on the first by label: "
        f"{apart}{within}. This describes these people; no test was made."
    )


def compare_curves(table: pd.DataFrame) -> Sentences:
    """Describe how two measures change with length; the columns label, n_messages, what and mean."""
    said = []
    for (label, what), part in table.groupby(["label", "what"], sort=False):
        ordered = part.sort_values("n_messages")
        first, last = ordered.iloc[0], ordered.iloc[-1]
        said.append(
            f"{label}: {what} {_number(first['mean'])} at n={first['n_messages']}, {_number(last['mean'])} at "
            f"n={last['n_messages']}."
        )
    return tuple(said)


def describe_board(setting: str, table: pd.DataFrame, tests: pd.DataFrame) -> str:
    """Describe which model leads a leaderboard, if any does."""
    return f"{setting}: {_highest(table, tests)}"


def with_interval(row: pd.Series, name: str = "mean", limits: tuple[str, str] | None = None) -> str:
    """Return a number of a row with its 95% interval, if it has one."""
    low, high = limits or (("low", "high") if name == "mean" else (f"{name}_low", f"{name}_high"))
    value = _number(row[name])
    return f"{value}, 95% {row[low]:.3f} to {row[high]:.3f}" if np.isfinite(row[low]) else value


def _pair(row: pd.Series) -> str:
    """Return whether two models differ."""
    change = with_interval(row, "difference", ("low", "high"))
    shown = "they differ" if row["significant"] else "no difference shown"
    return f"{row['one']} less {row['other']}: {change}; {shown}."


def _highest(table: pd.DataFrame, tests: pd.DataFrame) -> str:
    """Return whether the highest model is more stable than chance, and than the others."""
    best = table.iloc[0]
    named = f"{best['label']} ({with_interval(best)})"
    if not best["stable"]:
        what = "None is shown to be stable: the highest is" if len(table) > 1 else "No stability is shown:"
        chance = "can't be told" if np.isnan(best["chance"]) else f"alone reaches {best['chance']:.3f}"
        return f"{what} {named}, and chance {chance}."
    limit = only_among_these(best)
    if len(table) == 1:
        return f"{named} is more stable than chance{limit}."
    tied = [label for label in table["label"].iloc[1:] if not _differ(tests, best["label"], label)]
    if tied:
        return f"{named} is the highest and more stable than chance{limit}, but not told from {', '.join(tied)}."
    return f"{named} is the most stable: more than chance{limit}, and than each of the others."


def only_among_these(row: pd.Series) -> str:
    """Return what limits "more stable than chance" where the interval reaches 0: the shuffles keep who was asked.

    Args:
        row: a stability with its interval: low.
    """
    return (
        " among those who were asked (for others nothing is shown: the interval reaches 0)" if row["low"] <= 0 else ""
    )


def _differ(tests: pd.DataFrame, one: str, other: str) -> bool:
    pair = tests["one"].isin([one, other]) & tests["other"].isin([one, other])
    return bool(tests.loc[pair, "significant"].all())


def _beside_humans(beside: pd.DataFrame) -> list[str]:
    said = []
    for name, part in beside.groupby("name", sort=False):
        reference, expected = part["reference"].iloc[0], part["expected"].iloc[0]
        among = f"; about {expected:.3f} among as few people" if expected < reference else ""
        shown = {word: part.loc[part["place"] == word, "label"].tolist() for word in ("below", "above", "")}
        parts = [f"{word} it: {', '.join(labels)}" for word, labels in shown.items() if word and labels]
        parts += [f"not told from it: {len(shown[''])} of {len(part)}"] if shown[""] else []
        said.append(f"Beside the {reference:g} of humans ({name}{among}): {'; '.join(parts)}.")
    if said:
        said.append(
            "The human numbers are of hundreds of people over years of life, in part corrected for measurement error; "
            "those of models are over one change of topic, with the noise of their answers. Tests are adjusted over "
            f"all models and numbers (jackknife, Benjamini-Hochberg at {ALPHA})."
        )
    return said


def _change(row: pd.Series) -> str:
    change = f"change for each {MESSAGES} messages {with_interval(row, 'change', ('low', 'high'))}"
    if not np.isfinite(row["low"]):
        return f"{change}, which can't be tested"
    return f"{change}, {'beyond chance' if row['p_adjusted'] <= ALPHA else 'no change shown'}"


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "undefined"
