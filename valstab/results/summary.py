"""The result of a run in a few lines of text: headline numbers, their meaning, and warnings."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from valstab.protocol.collected import CollectedData, RunCost
from valstab.results.results import Results
from valstab.statistics.position import PositionEffect, position_effect
from valstab.statistics.psychometrics import LOW_ANSWER_MASS
from valstab.statistics.stability import MEASURE_NAMES, Measure

MEANINGS: Mapping[Measure, str] = {
    "rank_order": "the order of people on a value, across topics",
    "ipsative": "the order of a person's values, across topics",
}
"""What each measure compares."""


ARTIFACTS_NOTE = """\
Under *Artifacts*: `plots/` has the stability of each pair of contexts and of each key, and the profiles;
`stability.json` has all numbers, `answers.parquet` all answers, `conversations.jsonl` all messages, and `config.yaml`
the whole configuration. The metric `rank_order/KEY` is the stability of one key; `seed/...` has one step per seed. The
tag `overrides` has the settings of the command. *Datasets used* lists the model, population, topics and items, with
their digests."""
"""The end of a run's description in MLflow."""


def summarise(results: Results, title: str, cost: RunCost) -> str:
    """Return a run's result as text for a terminal."""
    headline = results.headline()
    mass = results.answer_mass
    lines = [
        title,
        _size(results, cost),
        "",
        *(
            f"{f'{MEASURE_NAMES[name].lower()} stability':20}  {_number(headline, name):15}  {meaning}"
            for name, meaning in MEANINGS.items()
        ),
        f"answer mass           {'-' if mass is None else f'{mass:.3f}':15}  the probability on the offered letters",
    ]
    notes = [f"note: {note}" for note in warnings(results)]
    return "\n".join([*lines, "", *notes] if notes else lines)


def print_summary(results: Results, title: str, data: CollectedData, folder: Path) -> None:
    """Print a run's summary and the folder of its files."""
    output = Console(highlight=False, markup=False, soft_wrap=True)
    output.print(f"\n{summarise(results, title, data.cost)}\n")
    if data.damaged:
        output.print(f"{data.damaged} damaged lines of the store were ignored, and their content was computed again")
    output.print(f"files and pictures  {folder}")


def describe(results: Results, cost: RunCost) -> str:
    """Return a run's result in Markdown for its page in MLflow: a sentence, a table, warnings, and a guide."""
    headline = results.headline()
    rank_order, ipsative = (_number(headline, name) for name in MEANINGS)
    mass = "-" if results.answer_mass is None else f"{results.answer_mass:.3f}"
    lines = [
        f"**Rank-order stability {rank_order}, ipsative stability {ipsative}**, from {_size(results, cost)}.",
        "",
        "| | mean ± SE | undefined | |",
        "|---|---|---|---|",
    ]
    for name, meaning in MEANINGS.items():
        undefined = headline[f"{name}_undefined_fraction"]
        share = "-" if undefined is None else f"{undefined:.1%}"
        lines.append(f"| {MEASURE_NAMES[name]} stability | {_number(headline, name)} | {share} | {meaning} |")
    lines += [f"| Answer mass | {mass} | | the probability on the offered letters |", ""]
    lines += [f"- **Beware:** {warning}" for warning in warnings(results)]
    return "\n".join([*lines, "", ARTIFACTS_NOTE])


def warnings(results: Results) -> list[str]:
    """Return what limits the conclusions, one sentence each."""
    notes = []
    if results.scores.sizes["context"] == 1:
        notes.append("there is one context only, so there is no stability between contexts")
    else:
        if "rank_order" not in results.stabilities:
            notes.append("without several personas there is no order of people, so no rank-order stability")
        if "ipsative" not in results.stabilities:
            notes.append("the task has a single score, so there is no ipsative stability")
    undefined = results.headline()["undefined_fraction"]
    if undefined:
        notes.append(f"{undefined:.1%} of the correlations are undefined, since one of their sides is constant")
    if unparsed := results.headline()["unparsed_fraction"]:
        notes.append(f"no answer could be read for {unparsed:.1%} of the questions; these are left out")
    if results.answer_mass is not None and results.answer_mass < LOW_ANSWER_MASS:
        notes.append("the answer mass is low: the model was mostly not answering with a letter")
    effect = position_effect(results.answers)
    if effect.dominates:
        notes.append(describe_position(effect))
    return notes


def describe_position(effect: PositionEffect) -> str:
    """Describe answers that depend on the letter more than on the option, without a full stop."""
    return (
        "answers follow the position more than the content: two answers to the same question, under new letters, have "
        f"the same letter in {effect.same_letter:.0%} and the same option in {effect.same_option:.0%} of pairs (chance "
        f"{effect.chance:.0%}, p = {effect.p:.2g})"
    )


def _size(results: Results, cost: RunCost) -> str:
    counts = [(results.scores.sizes[name], name) for name in ("seed", "context", "persona")]
    factors = [f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts]
    size = f"{' x '.join([*factors, f'{len(results.task.items)} items'])} = {len(results.answers):,} questions"
    speed = f"{cost.queries_per_second:.1f} a second" if cost.queries_per_second else ""
    price = f"{cost.usd:.2f} US dollars" if cost.usd is not None else ""
    reused = f"{cost.reused_answers:,} reused from the store" if cost.reused_answers else ""
    return f"{size} ({', '.join(filter(None, (reused, speed, price)))})"


def _number(headline: dict[str, float | None], name: str) -> str:
    mean, error = headline[name], headline[f"{name}_se"]
    if mean is None:
        return "-"
    return f"{mean:.3f}" + (f" ± {error:.3f}" if error is not None else "")
