"""The command: `python -m valstab compare figure=fig4a [experiments=[NAME] filter="..." runs=[ID] folders=[PATH]]`.

It selects finished runs, compares them and prints the findings. It writes pictures (PNG, SVG, PDF) and tables
(CSV, Markdown, LaTeX) to a folder under `outputs/`, and logs everything as an MLflow run.
"""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from valstab.commands.start import exit_on_mistake, job_config, start
from valstab.config.comparison import FIGURE_KINDS, PICTURE_FORMATS, CompareConfig
from valstab.config.options import CONFIG_FOLDER
from valstab.config.quoting import take_verbatim
from valstab.config.schema import MEASURES, ROUNDINGS, UNDEFINED
from valstab.config.terminal import say, terminal_width
from valstab.errors import ConfigError, require

if TYPE_CHECKING:
    import pandas as pd

    from valstab.analysis.runs import Runs
    from valstab.compare.comparison import Comparison
    from valstab.statistics.scores import Rounding
    from valstab.statistics.stability import Measure, Undefined

THREE_DECIMALS = "{:.3f}".format
"""Formats a number of a printed table."""


MAX_ROWS = 40
"""Maximum number of rows of a table when it is printed or written as Markdown."""


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="compare")
def app(composed: DictConfig) -> None:
    """Compare, write, log and print."""
    exit_on_mistake(
        lambda: compare_runs(
            job_config(composed, CompareConfig), Path(HydraConfig.get().runtime.output_dir) / "results"
        )
    )


def compare_runs(config: CompareConfig, folder: Path) -> None:
    """Load finished runs, compare them, and write, log and print the findings.

    Raises:
        ConfigError: if runs can't be found, or can't be compared.
        TrackingError: if MLflow can't be read, or the comparison can't be logged; then it is written and printed.
        OutputError: if standard output is closed or full; the comparison is written and logged.
    """
    check_comparison(config)
    # Imported only after the check, since these take seconds.
    from valstab.compare.comparison import Request
    from valstab.compare.figure_kinds import compare
    from valstab.tracking.client import TrackingError
    from valstab.tracking.comparison import tracked_comparison

    runs, notes = _load(config)
    measure, undefined = cast("Measure", config.figure.measure), cast("Undefined", config.undefined)
    comparison = compare(Request(config.figure, runs, measure, undefined, config.resamples))
    summary = _write(config, comparison, runs, notes, folder)
    away: TrackingError | None = None
    try:
        with tracked_comparison(
            config.tracking.experiment,
            f"{config.figure.name} · {len(runs)} run{'' if len(runs) == 1 else 's'}",
            _parameters(config, len(runs)),
            runs.table["run"],
        ) as log:
            log(comparison.numbers, summary, folder)
    except TrackingError as error:
        away = error
    logged = "" if away else f", and in MLflow's experiment {config.tracking.experiment}"
    _print(config, comparison, len(runs), notes)
    say(f"\nresults in {folder}{logged}")
    if away:
        raise away


def _load(config: CompareConfig) -> "tuple[Runs, list[str]]":
    """Return the runs, and notes about what was left out.

    Experiments of the figure that do not exist are left out, unless none of them exists.
    """
    from valstab.analysis.load import existing_experiments, load_runs
    from valstab.tracking.client import mlflow_reading

    notes = []
    with mlflow_reading():
        if config.experiments is not None:
            experiments = config.experiments
        elif config.filter is None and (config.runs or config.folders):
            experiments = []
        else:
            own = config.figure.experiments
            experiments = existing_experiments(own) or own
            if len(experiments) < len(own):
                missing = ", ".join(name for name in own if name not in experiments)
                notes.append(f"MLflow has no experiment {missing}; this is of {', '.join(experiments)} alone")
        rounding = cast("Rounding", config.rounding)
        runs = load_runs(
            experiments, filter_string=config.filter, runs=config.runs, folders=config.folders, rounding=rounding
        )
    if runs.replaced:
        notes.append(f"runs left out, since others have their seeds, topics and people: {len(runs.replaced)}")
    if runs.pooled:
        notes.append(f"runs pooled with newer ones, since they differ in their seeds only: {len(runs.pooled)}")
    return runs.relabelled(config.labels), notes


def _write(config: CompareConfig, comparison: "Comparison", runs: "Runs", notes: list[str], folder: Path) -> str:
    """Write pictures, tables and findings to a folder; return the findings in Markdown."""
    from valstab.results import latex, markdown
    from valstab.results.picture import drop_title

    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in comparison.pictures.items():
        if not config.titles:
            drop_title(picture)
        for ending in config.formats:
            picture.savefig(folder / f"{name}.{ending}", dpi=150)
    for name, table in {**comparison.tables, "runs": runs.table}.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        (folder / f"{name}.md").write_text(markdown.table(table.head(MAX_ROWS)), encoding="utf-8")
        (folder / f"{name}.tex").write_text(latex.table(table.head(MAX_ROWS)), encoding="utf-8")
    summary = _summary(config.figure.title, comparison.sentences, _main_table(comparison), notes)
    (folder / "findings.md").write_text(summary, encoding="utf-8")
    return summary


def _print(config: CompareConfig, comparison: "Comparison", n_runs: int, notes: list[str]) -> None:
    from valstab.results import markdown

    table = markdown.format_p_values(_main_table(comparison)).to_string(
        index=False, float_format=THREE_DECIMALS, line_width=terminal_width()
    )
    noted = [f"note: {note}" for note in notes]
    say(
        "\n".join(
            [
                f"\n{config.figure.title} · {n_runs} run{'' if n_runs == 1 else 's'}\n\n{table}\n",
                *comparison.sentences,
                *noted,
            ]
        )
    )


def _main_table(comparison: "Comparison") -> "pd.DataFrame":
    return next(iter(comparison.tables.values())).head(MAX_ROWS)


def check_comparison(config: CompareConfig) -> None:
    """Check all values for which no run has to be read.

    Raises:
        ConfigError: at the first invalid value.
    """
    require("figure.kind", config.figure.kind, FIGURE_KINDS)
    require("figure.measure", config.figure.measure, MEASURES)
    require("undefined", config.undefined, UNDEFINED)
    require("rounding", config.rounding, ROUNDINGS)
    for name in config.formats:
        require("formats", name, PICTURE_FORMATS)
    if config.resamples < 1:
        raise ConfigError("resamples", config.resamples, "must be at least 1")


def _summary(title: str, sentences: tuple[str, ...], table: "pd.DataFrame", notes: list[str]) -> str:
    from valstab.results import markdown

    bullets = "\n".join(f"- {markdown.escape_markdown(sentence)}" for sentence in (*sentences, *notes))
    return f"## {markdown.escape_markdown(title)}\n\n{bullets}\n\n{markdown.table(table)}\n"


def _parameters(config: CompareConfig, number: int) -> Mapping[str, str]:
    chosen = {
        name: str(value)
        for name, value in dataclasses.asdict(config).items()
        if name in {"experiments", "filter", "runs", "folders", "undefined", "rounding", "resamples"}
    }
    return {"figure": config.figure.name, "compared_runs": str(number), **chosen}


def main() -> None:
    """Start the command. A filter is taken as it is typed, without quotes for Hydra."""
    sys.argv[1:] = [take_verbatim(argument, "filter") for argument in sys.argv[1:]]
    start(app)
