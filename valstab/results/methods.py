"""The methods of a run in words, for a paper: what was done, with which numbers, and how it is tested."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from valstab.config.labels import model_label
from valstab.config.schema import Config
from valstab.inputs.task import Task
from valstab.protocol.plan import Plan
from valstab.results import latex, wording
from valstab.results.results import Results
from valstab.statistics.stability import MEASURE_NAMES

DIGEST_CHARACTERS = 12
"""Characters of a SHA-256 that are given."""


FORMATS = {"base": "in a line before the conversation", "chat": "in a system message"}
"""Where a persona is introduced, by `model.format`."""


ANSWERS = {
    "letter": "the option whose label had the highest probability after “Answer: (”, read from the model's whole "
    "distribution where the engine has it",
    "thinking": "the option whose label had the highest probability after a thought of at most {max_thought_tokens} "
    "tokens",
    "sampled": "the option chosen most often in {answer_samples} samples",
}
"""What counts as an answer, by the setting `answer`."""


ORDERS = {
    "random": "in an order drawn for each question",
    "fixed": "in the order of the scale",
    "reversed": "in the reversed order of the scale",
}
"""The order of options, by the setting `option_order`."""


ITEM_ORDERS = {
    "file": "in the order of its items",
    "reversed": "in the reversed order of its items",
    "random": "in an order of items drawn for each conversation",
}
"""The order of a dialogue's items, by the setting `item_order`."""


PAPER = """\
@article{kovac2024stick,
  title   = {Stick to your Role! Stability of Personal Values Expressed in Large Language Models},
  author  = {Kova{\\v{c}}, Grgur and Portelas, R{\\'e}my and Sawayama, Masataka and Dominey, Peter Ford and Oudeyer,
             Pierre-Yves},
  journal = {PLOS ONE},
  year    = {2024}
}"""
"""The paper whose protocol a run follows, in BibTeX."""


def methods(config: Config, plan: Plan, results: Results, made_by: Mapping[str, Any]) -> str:
    """Return `methods.md`: the methods and results of a run as paragraphs to be edited, and the paper's reference.

    Args:
        config: the configuration.
        plan: its plan.
        results: the results.
        made_by: the content of `provenance.json`, with what the engine used.
    """
    paragraphs = [_model(config, made_by), _sessions(config, plan), _questions(config, plan), _statistics(results)]
    text = "\n\n".join(paragraphs)
    tables = "The tables are in `tables.tex`; they compile without packages (with other scripts than Latin: XeLaTeX)."
    found = f"# Results\n\n{_findings(results)}\n\n{tables}"
    return f"# Methods\n\n{text}\n\n{found}\n\n# Reference\n\n```bibtex\n{PAPER}\n```\n"


def tables(results: Results) -> str:
    """Return `tables.tex`: the stabilities of a run, and the rank-order stability of each key."""
    headline = results.headline()
    rows = [
        {
            "stability": MEASURE_NAMES[name],
            **{
                column: np.nan if (number := headline[f"{name}{suffix}"]) is None else number
                for column, suffix in (("mean", ""), ("95% low", "_low"), ("95% high", "_high"))
            },
            **{
                column: np.nan if (number := headline[f"{name}_{column}"]) is None else number
                for column in ("se", "chance", "p")
            },
        }
        for name in wording.MEANINGS
    ]
    parts = ["% Stabilities; chance is its 95th percentile, se is over seeds.", latex.table(pd.DataFrame(rows))]
    if "rank_order" in results.stabilities:
        stability = results.stabilities["rank_order"]
        keys = pd.DataFrame(
            {
                "key": stability.per_unit["key"].to_numpy(),
                "rank-order stability": stability.per_unit.to_numpy(),
                "se": stability.per_unit_se.to_numpy(),
            }
        )
        parts += ["% The rank-order stability of each key; se is over seeds.", latex.table(keys)]
    return "\n".join(parts)


def _model(config: Config, made_by: Mapping[str, Any]) -> str:
    engine, versions = made_by.get("engine", {}), made_by.get("versions", {})
    name = model_label(config.model.name, config.model.quantization)
    known = [
        config.model.path and f"`{config.model.path}`",
        config.model.adapter and f"adapter {str(engine.get('adapter', config.model.adapter))[:DIGEST_CHARACTERS]}",
        engine.get("weights") and f"weights {str(engine['weights'])[:DIGEST_CHARACTERS]}",
    ]
    where = "; ".join(filter(None, known))
    precision = engine.get("dtype") or (config.model.dtype if config.model.dtype != "auto" else "")
    quantised = "" if config.model.quantization == "none" else f", quantised to {config.model.quantization}"
    libraries = [f"{each} {versions[each]}" for each in ("transformers", "vllm", "torch") if each in versions]
    used = libraries if config.engine.name in {"transformers", "vllm"} else []
    commit = f", commit {str(made_by['commit'])[:DIGEST_CHARACTERS]}" if made_by.get("commit") else ""
    return (
        f"We measured how stable the values are that the model {name}{f' ({where})' if where else ''} expresses when "
        "only the topic of the conversation before changes, by the protocol of Kovač et al. (2024), with valstab "
        f"{versions.get('valstab', '')}{commit}. The engine was {config.engine.name}"
        + (f" ({', '.join(used)})" if used else "")
        + (f" in {precision}{quantised}" if precision else quantised)
        + f". Messages were sampled with {_sampling(config, engine)}, up to {config.max_new_tokens} tokens each."
    )


def _sampling(config: Config, engine: Mapping[str, str]) -> str:
    if engine.get("sampling"):
        return re.sub("[{}']", "", str(engine["sampling"]))
    settings = {name: value for name, value in vars(config.model.sampling).items() if value is not None}
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "the model's own settings"


def _sessions(config: Config, plan: Plan) -> str:
    if plan.without_personas:
        who = f"The model had no persona; the study was repeated {len(plan.personas)} times"
    else:
        place = FORMATS["base" if config.model.format == "base" else "chat"]
        if config.model.format != "base" and not config.model.system_prompt:
            place = "in a user message"
        text = config.language.base_persona if config.model.format == "base" else config.language.you_are
        words = text.replace("{introduction}", "…")
        crossed = " and ".join(
            f"{column} ({', '.join(map(str, values))})" for column, values in config.population.grid.items() if values
        )
        people = config.population.name + (f": all combinations of {crossed}" if crossed else "")
        who = f"It played {len(plan.personas)} personas ({people}), introduced {place} (“{words}”)"
    topics = ", ".join(context.name for context in plan.contexts)
    seeds = f"{_count(len(plan.seeds), 'seed')} ({', '.join(map(str, plan.seeds))})"
    return f"{who}. For each of {_count(len(plan.contexts), 'topic')} ({topics}) and {seeds}, {_talk(config, plan)}."


def _talk(config: Config, plan: Plan) -> str:
    if not plan.n_messages:
        return "there was no conversation"
    other, contexts = config.interlocutor, plan.contexts
    speaker = "a second instance of itself" if other.model is None else other.model.name
    role = "that simulated a human"
    acted = [context.name for context in contexts if context.between_personas and context.openings]
    if plan.personas[0].interlocutor is not None and acted:
        role += f" or, on {', '.join(acted)}, another persona of the population"
    partner = "a person's recorded turns" if other.turns is not None else f"{speaker} {role}"
    own = [context.name for context in contexts if context.own_openings]
    opening = "a fixed opening" + (f" (for each persona its own on {', '.join(own)})" if own else "")
    neutral = "".join(f"; in {context.name} there was no conversation" for context in contexts if not context.openings)
    return (
        f"it exchanged {_count(plan.n_messages, 'message')} with {partner}, after {opening}{neutral}{_reminded(plan)}"
    )


def _reminded(plan: Plan) -> str:
    """Return how the model was reminded of its persona, as a clause after others; empty if it was not."""
    if plan.reminder is None or plan.n_messages <= plan.reminder.every:
        return ""
    place = "in a system message before" if plan.reminder.slot == "system" else "at the beginning of"
    words = plan.reminder.text.replace("{introduction}", "…")
    return f"; every {plan.reminder.every} messages, {place} the interlocutor's, it alone was reminded (“{words}”)"


def _questions(config: Config, plan: Plan) -> str:
    task = plan.task
    if task.rubric:
        return _judged(config, plan)
    answer = ANSWERS[config.answer].format(**vars(config))
    return (
        f"Then each of the {len(task.items)} items of {task.name} (wording {task.wording}, SHA-256 "
        f"{task.digest[:DIGEST_CHARACTERS]}) was asked {_together(plan)}, with its options "
        f"{ORDERS[config.option_order]} and labelled by {config.option_labels}. The answer is {answer}. Scores are "
        f"means over the items of a key ({_count(len(task.keys), 'key')}); {_scored(task)}."
    )


def _judged(config: Config, plan: Plan) -> str:
    """Return how answers in the model's own words were asked for and rated, as sentences."""
    task, judge = plan.task, config.judge
    who = "the same model without a persona" if judge.model is None else judge.name
    return (
        f"Then each of the {len(task.items)} items of {task.name} (wording {task.wording}, with its rubric SHA-256 "
        f"{task.digest[:DIGEST_CHARACTERS]}) was asked by itself after the whole conversation, and answered in the "
        f"model's own words, in up to {task.max_answer_tokens} tokens. A judge ({who}) read each answer with the item "
        "and the rubric, but neither the conversation nor the persona, whose whole name was hidden. It had "
        f"{len(task.scores)} options {ORDERS[config.option_order]} and labelled by {config.option_labels}. The rating "
        f"is {ANSWERS['letter']}. Scores are means over the items of a key ({_count(len(task.keys), 'key')}); "
        f"{_scored(task)}."
    )


def _scored(task: Task) -> str:
    """Return whether scores are centred, as a clause."""
    return "a person's mean over the items was subtracted from the scores" if task.centred else "scores are raw"


def _together(plan: Plan) -> str:
    """Return whether items were asked by themselves or in dialogues, as a clause."""
    task = plan.task
    if not task.dialogues:
        return "by itself after the whole conversation"
    anchors = len(task.anchors)
    began = (
        f", which began with {_count(anchors, 'question')} that gave {_count(anchors, 'item')} the ends of the scale"
        if anchors
        else ""
    )
    where = "one dialogue" if len(task.dialogues) == 1 else f"one of {len(task.dialogues)} dialogues"
    order = ITEM_ORDERS[plan.item_order]
    return f"after the whole conversation in {where} {order}, with all earlier answers in view{began}"


def _statistics(results: Results) -> str:
    counts = next((each.undefined_counts_as for each in results.stabilities.values()), "zero")
    undefined = "left out" if counts == "drop" else "counted as 0"
    of_what = wording.generalises_to(results.scores, without_personas=results.without_personas)
    has_interval = any(wording.interval(each) for each in results.conclusions.values())
    intervals = (
        f"95% intervals are {of_what}: delete-one jackknife over each of these, with Student's t by Satterthwaite's "
        "degrees of freedom on Fisher's z. "
    )
    return (
        "Rank-order stability is the mean Spearman correlation of people's scores on a key between two topics, "
        f"ipsative stability that of a person's scores over keys; undefined correlations are {undefined}. "
        f"{intervals if has_interval else ''}Chance is the 95th percentile of the stability of scores shuffled among "
        "people (rank-order) or keys (ipsative) within each topic, and p the share of shuffles that reach it."
    )


def _findings(results: Results) -> str:
    lines = []
    for name, conclusion in results.conclusions.items():
        if conclusion.stability.why_not_reported:
            lines.append(f"{MEASURE_NAMES[name]} stability is {conclusion.stability.why_not_reported}.")
            continue
        interval = wording.interval(conclusion)
        beyond = "beyond chance" if wording.more_than_chance(conclusion) else "not beyond chance"
        lines.append(
            f"{MEASURE_NAMES[name]} stability was {wording.value(conclusion)}"
            f"{f' (95% {interval})' if interval else ''}, "
            f"{beyond} ({conclusion.chance.high:.3f}, p = {conclusion.chance.p:.2g})."
        )
    unread = results.headline()["unparsed_fraction"] or 0
    lines.append(f"{unread:.1%} of the {len(results.answers):,} answers could not be read.")
    if results.answer_mass is not None:
        lines.append(f"The mean probability on the offered labels was {results.answer_mass:.3f}.")
    return " ".join(lines)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
