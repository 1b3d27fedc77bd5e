"""The numbers of a report as plain data."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from valstab.protocol.collected import RunCost
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import Plan
from valstab.protocol.prompts import instruction_of
from valstab.results import wording
from valstab.results.fitness import count_empty
from valstab.results.results import Results
from valstab.results.summary import read_in_words, warnings
from valstab.statistics.conversation_quality import cut_messages
from valstab.statistics.position import orders_vary, position_bias
from valstab.statistics.psychometrics import LOW_ANSWER_MASS, mass_spread
from valstab.statistics.stability import MEASURE_NAMES, Measure

DECIMALS = 4
"""Decimals of the scores in a report."""


def overview(
    title: str, plan: Plan, results: Results, conversations: Sequence[Conversation], cost: RunCost
) -> dict[str, Any]:
    """Return the data of a report, except its transcripts; None if a number does not apply or is undefined.

    The values of seeds, contexts, personas and keys are lists in the order of these. They are not keyed by name, since
    a name may be any text, such as `__proto__`. `profiles` has the shape (personas, keys, contexts): means over seeds.
    """
    document = results.document()
    for name in ("per_key", "per_persona"):
        document[name] = list(document[name].values())
        if results.scores.sizes["seed"] < wording.MIN_SAMPLES:
            document[name] = [each and {**each, "se": None} for each in document[name]]
    document["per_seed"] = {name: list(per_seed.values()) for name, per_seed in document["per_seed"].items()}
    spread = mass_spread(results.answers["answer_mass"], LOW_ANSWER_MASS)
    mass = results.answers.groupby("context", sort=False)["answer_mass"].mean()
    profiles = results.scores.mean("seed").transpose("persona", "key", "context").to_numpy()
    return {
        **document,
        "title": title,
        "headline": [_tile(results, name) for name in wording.MEANINGS],
        "luck": _luck(results),
        "permutations": plan.without_personas,
        "personas": [
            {
                "name": persona.name,
                "gender": persona.gender,
                "introduction": persona.introduction,
                "instruction": persona.introduction and instruction_of(persona.introduction, plan.language),
            }
            for persona in plan.personas
        ],
        "description": plan.task.description,
        "items": [
            {
                "number": item.number,
                "key": item.key,
                "text": dict(item.text),
                "options": dict(item.options),
                "scores": plan.task.scores_of(item),
                "criterion": plan.task.rubric and plan.task.rubric.criterion(item),
            }
            for item in plan.task.items
        ],
        "judged": plan.task.rubric is not None,
        "centred": plan.task.centred,
        "profiles": _numbers(profiles),
        # One line of chance for all letters needs as many options everywhere.
        "position_bias": _position_bias(results.answers) if len(plan.task.option_counts) == 1 else None,
        "answers_read": read_in_words(results),
        "mass_spread": spread and {"limit": LOW_ANSWER_MASS, **spread._asdict()},
        "mass_per_context": _numbers(mass.to_numpy()),
        "warnings": [*warnings(results), *conversation_warnings(plan, conversations)],
        "work": asdict(cost),
    }


def _tile(results: Results, name: Measure) -> dict[str, str]:
    """Return the title, the value and the note of a measure."""
    conclusion = results.conclusions.get(name)
    notes = [wording.MEANINGS[name]]
    if interval := wording.interval(conclusion):
        of_what = wording.generalises_to(results.scores, without_personas=results.without_personas)
        notes.append(f"95% {interval} {of_what}")
    if conclusion and wording.value(conclusion) != "-":
        notes.append(f"chance alone reaches {conclusion.chance.high:.3f}")
    return {
        "measure": name,
        "title": f"{MEASURE_NAMES[name]} stability",
        "value": wording.value(conclusion),
        "note": "; ".join(notes),
    }


def _luck(results: Results) -> str:
    """Return that the most and least stable are so by chance, as a sentence; empty if no measure is at chance."""
    names = [
        MEASURE_NAMES[name].lower()
        for name, conclusion in results.conclusions.items()
        if wording.value(conclusion) != "-" and not wording.more_than_chance(conclusion)
    ]
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    return f"{' and '.join(names).capitalize()} stability {verb} not beyond chance, so this order is luck."


def _position_bias(answers: pd.DataFrame) -> dict[str, Any] | None:
    """Return the share of each letter, and the share of answers that would change if all were equal (`excess`)."""
    if not orders_vary(answers):
        return None
    table = position_bias(answers)
    if table["share"].isna().all():
        return None
    excess = float(table["difference"].abs().sum() / 2)  # total variation distance
    return {"letters": table["letter"].tolist(), "shares": table["share"].tolist(), "excess": excess}


def conversation_warnings(plan: Plan, conversations: Sequence[Conversation]) -> list[str]:
    """Return what is wrong with the messages, one sentence each."""
    empty, total = count_empty(conversations)
    cut = sum(len(cut_messages(conversation.texts, plan.max_new_tokens)) for conversation in conversations)
    notes = []
    if cut:
        notes.append(
            f"{cut:,} of {total:,} messages ({cut / total:.1%}) seem cut off at the limit of {plan.max_new_tokens} "
            "tokens: they end in the middle of a sentence"
        )
    if empty:
        notes.append(f"{empty:,} of {total:,} messages ({empty / total:.1%}) are empty")
    return notes


def _numbers(array: Any) -> Any:
    """Return an array as nested lists of rounded numbers, with None for NaN."""
    rounded = np.round(np.asarray(array, dtype=float), DECIMALS).astype(object)
    rounded[np.isnan(array)] = None
    return rounded.tolist()
