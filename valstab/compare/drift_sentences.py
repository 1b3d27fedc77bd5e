"""What is said of drift, in sentences."""

import numpy as np
import pandas as pd

from valstab.compare.drift import Drift
from valstab.compare.sentences import Sentences, with_interval

TITLES = {
    ("rank_order", "first"): "the order of people on a value, held against that after the fewest messages,",
    ("ipsative", "first"): "the order of a person's values, held against that after the fewest messages,",
    ("ipsative", "neutral"): "the order of a person's values, held against their own without a conversation,",
    ("rank_order", "topics"): "the order of people on a value, between topics after as many messages,",
}
"""The curves that are described, and how; the tables have all."""


def describe_drift(found: Drift) -> Sentences:
    """Describe what falls, how fast, and whether it is beyond chance, for each label; then how labels differ."""
    said = []
    for label in dict.fromkeys(found.curves["label"]):
        for curve, title in TITLES.items():
            part = _of(found.curves, curve, label)
            if len(part):
                rates = _of(found.half_lives, curve, label)
                said.append(f"{label}: {title} {_course(part)}{_fall(rates)}.")
        said += _distance(found, label)
        said += _people(found, label)
    said += _differences(found.differences)
    return (*said, *found.notes)


def _course(part: pd.DataFrame) -> str:
    """Return the first and the last point of a curve, and which points are beyond chance."""
    again, rest = part[part["again"]], part[~part["again"]]
    ends = ", and ".join(_point(row) for _, row in rest.iloc[sorted({0, len(rest) - 1})].iterrows())
    before = "".join(f" (asked again there: {value:.3f})" for value in again["value"])
    shown = [str(length) for length in rest.loc[rest["shown"], "n_messages"]]
    where = "at each length" if len(shown) == len(rest) else f"after {', '.join(shown)} messages"
    return f"is {ends}{before}; {f'beyond chance {where}' if shown else 'never beyond chance'}"


def _point(row: pd.Series) -> str:
    return f"{_value(row)} (chance alone reaches {row['chance']:.3f})"


def _value(row: pd.Series, name: str = "value") -> str:
    number = row["n_messages"]
    return f"{with_interval(row, name, ('low', 'high'))} after {number} message{'' if number == 1 else 's'}"


def _fall(rates: pd.DataFrame) -> str:
    """Return how fast a curve falls, as a clause after the others; empty where no decay is fitted."""
    if rates.empty:
        return ""
    row = rates.iloc[0]
    if row["finding"] == "falls":
        return f"; it halves every {row['half_life']:.1f} messages (95% {row['low']:.1f} to {row['high']:.1f})"
    if row["finding"] == "no stability is shown":
        return "; there is no stability that could fall"
    least = f", and a half-life below {row['low']:.1f} messages is ruled out" if np.isfinite(row["low"]) else ""
    return f"; no fall is shown{least}"


def _distance(found: Drift, label: str) -> list[str]:
    """Return how far people are from their neutral profiles, in a sentence; none where these are unknown."""
    part = _of(found.curves, ("points", "neutral"), label)
    if part.empty:
        return []
    talks = part[~part["again"]]
    far, last = " and ".join(_value(row) for _, row in talks.iloc[[0, -1]].iterrows()), talks.iloc[-1]
    again = "".join(f" (asked again without one: {value:.3f})" for value in part.loc[part["again"], "value"])
    said = (
        f"{label}: a person's scores are {far} points of the scale away from those without a conversation{again}; the "
        f"last is {'nearer' if last['shown'] else 'not nearer'} than chance, which comes down to {last['chance']:.3f}."
    )
    return [said]


def _people(found: Drift, label: str) -> list[str]:
    """Return of how many people a fall is shown, in a sentence."""
    own = _of(found.persona_half_lives, ("ipsative", "first"), label)
    if own.empty:
        return []
    falls = own.loc[own["finding"] == "falls", "persona"].tolist()
    stable = int((own["finding"] != "no stability is shown").sum())
    named = f" ({', '.join(falls[:3])}{', ...' if len(falls) > 3 else ''})" if falls else ""  # noqa: PLR2004
    said = (
        f"{label}: of {len(own)} people, {stable} have a profile that is beyond chance where the fit begins, and of "
        f"{len(falls)} a fall is shown{named}; the tables of personas have each."
    )
    return [said]


def _differences(tests: pd.DataFrame) -> list[str]:
    """Return where labels differ, in a sentence for each two and each curve that is described."""
    said = []
    for (one, other), pair in tests.groupby(["one", "other"], sort=False):
        for curve, title in TITLES.items():
            part = _of(pair, curve)
            if part.empty:
                continue
            most = part.sort_values("difference", key=abs).iloc[-1]
            differ = [str(length) for length in part.loc[part["significant"], "n_messages"]]
            where = f"they differ after {', '.join(differ)} messages" if differ else "no difference shown at any length"
            said.append(f"{one} less {other}, {title} at most {_value(most, 'difference')}; {where}.")
    return said


def _of(table: pd.DataFrame, curve: tuple[str, str], label: str | None = None) -> pd.DataFrame:
    """Return the rows of a curve, and of a label."""
    rows = (table["measure"] == curve[0]) & (table["reference"] == curve[1])
    return table[rows if label is None else rows & (table["label"] == label)]
