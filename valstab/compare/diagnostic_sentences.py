"""What diagnostics say, in sentences."""

import numpy as np
import pandas as pd

from valstab.compare.diagnostics import Diagnostics
from valstab.compare.sentences import Sentences, only_among_these, with_interval
from valstab.results.summary import describe_position
from valstab.statistics.position import PositionEffect
from valstab.statistics.psychometrics import LOW_ANSWER_MASS
from valstab.statistics.stability import MAX_UNDEFINED_FRACTION

AFFECTED_SHARE = 0.1
"""Share of conversations that went wrong from which a stability is to be read with care."""


def describe_diagnostics(found: Diagnostics, title: str) -> Sentences:
    """Describe the diagnostics of each run."""
    said = []
    for _, row in found.stability.iterrows():
        if np.isnan(row["mean"]):
            reason = row.get("not_reported")
            said.append(f"{_run(row)}: {title} is {reason if isinstance(reason, str) and reason else 'not there'}.")
            continue
        gap = f" (no interval: {row['no_interval']})" if row["no_interval"] else ""
        said.append(f"{_run(row)}: {title} {with_interval(row)}{gap}.")
        said += [f"{_run(row)}: {sentence}" for sentence in _appraised(row)]
    for _, row in found.mass.iterrows():
        if row.get("median", 1.0) < LOW_ANSWER_MASS:
            said.append(
                f"{_run(row)}: the answer mass is low (median {row['median']:.2f}): it was mostly not answering."
            )
    for _, row in found.position_effect.iterrows():
        effect = PositionEffect(*row[list(PositionEffect._fields)])._replace(p=row["p_adjusted"])
        if effect.dominates:
            said.append(f"{_run(row)}: {describe_position(effect)}.")
    return tuple(said)


def _appraised(row: pd.Series) -> list[str]:
    by_chance = not row["stable"]
    over_runs = f"; {row['p_adjusted']:.3g} adjusted over the runs" if row["p_adjusted"] > row["p"] else ""
    said = [
        "too few seeds and topics to tell it from chance, since neighbouring people shared option orders."
        if np.isnan(row["p"])
        else f"chance alone reaches {row['chance']:.3f} in one of twenty (p = {row['p']:.3g}{over_runs}): "
        + ("no stability is shown." if by_chance else f"it is more stable than chance{only_among_these(row)}.")
    ]
    if np.isfinite(row.get("within_gender", np.nan)):
        said.append(
            "among people for whom the questionnaire has the same wording (he, she or they) it is "
            f"{row['within_gender']:.3f}; chance exchanges people of the same wording only."
        )
    if np.isfinite(row.get("ceiling", np.nan)):
        again = f"after the same topic with another seed it is {with_interval(row, 'ceiling')}"
        said.append(f"{again}; {_cost(row)}.")
    if np.isfinite(row.get("order_ceiling", np.nan)):
        said.append(
            f"asked again after the same conversations with other option orders: {with_interval(row, 'order_ceiling')}."
        )
    if not by_chance and np.isfinite(row.get("generalisability", np.nan)):
        said.append(
            f"generalisability coefficient {with_interval(row, 'generalisability')}: the part of the variance of "
            "people's mean scores that would be there again with other topics and seeds."
        )
    if np.isfinite(row.get("congruence", np.nan)):
        said.append(
            f"as many factors as keys fit the keys with a congruence of {row['congruence']:.2f} (p = "
            f"{row['congruence_p']:.3g}, beside items dealt to the keys at random)."
        )
    if row.get("affected_conversations", 0) > AFFECTED_SHARE:
        said.append(
            f"{row['affected_conversations']:.0%} of the conversations went wrong somewhere (empty, repeated, refused, "
            f"leaked labels); {_without_them(row)}."
        )
    return said


def _cost(row: pd.Series) -> str:
    """Return what a change of topic costs, held against the same topic with another seed."""
    if not row.get("ceiling_low", np.nan) > 0:
        return "that is not told from no order at all, so nothing can be said of the topics"
    if row["no_interval"] or not np.isfinite(row["cost_low"]):
        return "what a change of topic costs can't be told"
    if row["cost_low"] > 0:
        return f"a change of topic keeps {row['kept']:.0%} of it (95% {row['kept_low']:.0%} to {row['kept_high']:.0%})"
    return f"no cost of a change of topic is shown (difference {with_interval(row, 'cost')})"


def _without_them(row: pd.Series) -> str:
    undefined = row["without_affected_undefined"]
    if not undefined <= MAX_UNDEFINED_FRACTION:
        return "too little is left without them to say what it would be"
    left = f", {undefined:.0%} of its correlations undefined" if undefined else ""
    return f"without them it is {row['without_affected']:.3f}{left}"


def _run(row: pd.Series) -> str:
    return f"{row['label']} (n={row['n_messages']})"
