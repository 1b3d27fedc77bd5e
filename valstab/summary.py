"""What a run says on the terminal."""

from pathlib import Path

from mlflow.entities import RunInfo
from rich.console import Console
from rich.table import Table

from valstab.results import Results

LOW_MASS = 0.5


def print_summary(results: Results, title: str, queries_per_second: float, folder: Path, run: RunInfo) -> None:
    """Print the headline numbers, what they mean, what to beware of, and where to look next."""
    console = Console(highlight=False)
    headline = results.headline()
    sizes = results.scores.sizes
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
    table.add_row("rank-order stability", *_value(headline, "rank_order", "of people on a value, across topics"))
    table.add_row("ipsative stability", *_value(headline, "ipsative", "of a person's own values, across topics"))
    mass = results.answer_mass
    table.add_row("answer mass", "-" if mass is None else f"{mass:.3f}", "probability on the offered letters")
    console.print()
    console.print(f"[bold]{title}[/bold]")
    console.print(
        f"{sizes['seed']} seeds x {sizes['context']} contexts x {sizes['persona']} personas x "
        f"{len(results.task.items)} items = {len(results.answers):,} questions "
        f"({queries_per_second:.1f} a second)"
    )
    console.print(table)
    for warning in warnings(results):
        console.print(f"[yellow]note:[/yellow] {warning}")
    console.print(f"results in {folder}", soft_wrap=True)
    console.print(f"compare runs: mlflow ui   (run {run.run_name!r}, id {run.run_id})", soft_wrap=True)


def warnings(results: Results) -> list[str]:
    """Say in words what limits the conclusions."""
    headline = results.headline()
    notes = []
    if results.scores.sizes["context"] < 2:
        notes.append("there is one context only, so there is no stability between contexts")
    elif results.rank_order is None:
        notes.append("without personas there is no order of people, so no rank-order stability")
    if results.scores.sizes["context"] > 1 and results.ipsative is None:
        notes.append("the task has a single score, so there is no ipsative stability")
    if headline["undefined_fraction"]:
        notes.append(f"{headline['undefined_fraction']:.1%} of the correlations are undefined (a side is constant)")
    if results.answer_mass is not None and results.answer_mass < LOW_MASS:
        notes.append("the answer mass is low: the model was mostly not answering with a letter")
    return notes


def _value(headline: dict[str, float | None], name: str, meaning: str) -> tuple[str, str]:
    mean, error = headline[name], headline[f"{name}_se"]
    if mean is None:
        return "-", meaning
    return f"{mean:.3f}" + (f" ± {error:.3f}" if error is not None else ""), meaning
