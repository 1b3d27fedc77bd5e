"""The result of a run in a few lines of text: headline numbers, their meaning, and warnings."""

from collections.abc import Sequence
from pathlib import Path

from valstab.config.terminal import OutputError, say
from valstab.engines.received import FAILED, MISSING
from valstab.protocol.collected import CollectedData, RunCost
from valstab.results import wording
from valstab.results.results import Results
from valstab.statistics.inference import Conclusion
from valstab.statistics.position import PositionEffect, orders_vary
from valstab.statistics.psychometrics import LOW_ANSWER_MASS
from valstab.statistics.stability import MEASURE_NAMES, Measure

MAX_PLACES = 3
"""Number of damaged places that are named."""


ARTIFACTS_NOTE = """\
Under *Artifacts*: `plots/` has the stability of each pair of contexts and of each key, and the profiles;
`stability.json` has all numbers, `answers.parquet` all answers, `conversations.jsonl` all messages, and `config.yaml`
the whole configuration, `provenance.json` the command, versions and machine. The metric `stability.KEY` is the
rank-order stability of one key; `seed...` has one step per seed. *Datasets used* lists the model, population, topics
and items, with their digests."""
"""The end of a run's description in MLflow."""


READINGS_IN_WORDS = {
    "exact": "from the whole distribution",
    "listed": "from a server's list of probable tokens",
    "structured": "from text that a server restricts to the letters",
    "text": "from one sampled text each, without probabilities",
    "sampled": "from several sampled answers each",
    MISSING: "without a letter that can be read",
    FAILED: "with numbers that are no probabilities",
}
"""How answers were read, by the names of `valstab.engines.received.READINGS`."""


def summarise(results: Results, title: str, cost: RunCost) -> str:
    """Return a run's result as text for a terminal."""
    rows = [
        (MEASURE_NAMES[name].lower() + " stability", *_cells(results.conclusions.get(name)), meaning)
        for name, meaning in wording.MEANINGS.items()
    ]
    rows.append(("answer mass", _mass(results), "", "the probability on the offered letters"))
    lines = [f"{name:20}  {value:>6}  {interval:22}  {meaning}" for name, value, interval, meaning in rows]
    notes = [f"note: {note}" for note in warnings(results)]
    return "\n".join([title, _size(results, cost), "", *lines, *_reading(results), *([""] if notes else []), *notes])


def print_summary(results: Results, title: str, data: CollectedData, folder: Path) -> None:
    """Print a run's summary and the folder of its files.

    Raises:
        OutputError: if standard output is closed or full.
    """
    lines = ["", summarise(results, title, data.cost), ""]
    if data.damaged:
        lines.append(damaged_lines(data.damaged))
    try:
        say("\n".join([*lines, f"files and pictures  {folder}", f"report              {folder / 'report.html'}"]))
    except OutputError as error:
        raise OutputError(f"{error}; the results are in {folder}") from error


def damaged_lines(places: Sequence[str]) -> str:
    """Return a sentence about lines of the store that were skipped, with the places of the first few."""
    named = ", ".join(places[:MAX_PLACES]) + (", ..." if len(places) > MAX_PLACES else "")
    return f"{len(places)} damaged lines of the store were ignored ({named}), and their content was computed again"


def describe(results: Results, cost: RunCost) -> str:
    """Return a run's result in Markdown for its page in MLflow: a sentence, a table, warnings, and a guide."""
    headline = results.headline()
    named = [f"{MEASURE_NAMES[name].lower()} stability {_in_words(results, name)}" for name in wording.MEANINGS]
    lines = [
        f"**{', '.join(named).capitalize()}**, from {_size(results, cost)}.",
        "",
        "| | value | 95% interval | chance reaches | undefined | |",
        "|---|---|---|---|---|---|",
    ]
    for name, meaning in wording.MEANINGS.items():
        conclusion = results.conclusions.get(name)
        undefined, chance = headline[f"{name}_undefined_fraction"], headline[f"{name}_chance"]
        cells = [
            f"{MEASURE_NAMES[name]} stability",
            wording.value(conclusion),
            wording.interval(conclusion) or "-",
            "-" if chance is None else f"{chance:.3f}",
            "-" if undefined is None else f"{undefined:.1%}",
            meaning,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| Answer mass | {_mass(results)} | | | | the probability on the offered letters |", ""]
    lines += [f"{line}." for line in _reading(results)] + [""]
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
    for conclusion in results.conclusions.values():
        notes += wording.notes(conclusion)
    if unparsed := results.headline()["unparsed_fraction"]:
        notes.append(f"no answer could be read for {unparsed:.1%} of the questions; these are left out")
    if results.answer_mass is not None and results.answer_mass < LOW_ANSWER_MASS:
        notes.append("the answer mass is low: the model was mostly not answering with a letter")
    if not orders_vary(results.answers):
        notes.append("options were always in the same order, so a preference for a place looks like one for an option")
    if results.position_effect.dominates:
        notes.append(describe_position(results.position_effect))
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


def _cells(conclusion: Conclusion | None) -> tuple[str, str]:
    interval = wording.interval(conclusion)
    return wording.value(conclusion), f"95% {interval}" if interval else ""


def read_in_words(results: Results) -> str:
    """Return how many answers were read in which way, as a clause; empty if that is unknown."""
    counts = [f"{count:,} {READINGS_IN_WORDS[name]}" for name, count in results.readings.items()]
    return f"answers read: {', '.join(counts)}" if counts else ""


def _mass(results: Results) -> str:
    return "-" if results.answer_mass is None else f"{results.answer_mass:.3f}"


def _in_words(results: Results, name: Measure) -> str:
    conclusion = results.conclusions.get(name)
    interval = wording.interval(conclusion)
    return wording.value(conclusion) + (f" (95% {interval})" if interval else "")


def _reading(results: Results) -> list[str]:
    """Return what the intervals stand for, the paper's standard errors over seeds, and how answers were read."""
    lines = []
    if any(wording.interval(conclusion) for conclusion in results.conclusions.values()):
        of_what = wording.generalises_to(results.scores, without_personas=results.without_personas)
        lines.append(f"95% intervals are {of_what}")
    errors = [
        f"{MEASURE_NAMES[name].lower()} ± {conclusion.stability.se:.3f}"
        for name, conclusion in results.conclusions.items()
        if wording.value(conclusion) != "-" and conclusion.stability.samples.size >= wording.MIN_SAMPLES
    ]
    if errors:
        over = "seeds"
        if results.without_personas:
            over = "seeds and repetitions"
        lines.append(f"standard errors over {over} alone, for the same people and topics (paper): {', '.join(errors)}")
    if results.readings.keys() - {"exact"}:
        lines.append(read_in_words(results))
    return lines
