"""The command: `python -m valstab compare figure=fig4a [experiments=[NAME] filter="..." runs=[ID] folders=[PATH]]`.

It picks finished runs, compares them, prints what it found, writes pictures (PNG, SVG) and tables (CSV, Markdown)
to its folder under `outputs/`, and logs all of it as an MLflow run of its own.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from valstab.commands.start import exit_on_mistake, start
from valstab.config.compose import to_dataclass
from valstab.config.options import CONFIG_FOLDER
from valstab.config.schema import FIGURE_KINDS, MEASURES, UNDEFINED, CompareConfig
from valstab.errors import ConfigError, require

if TYPE_CHECKING:
    import pandas as pd

    from valstab.statistics.stability import Measure, Undefined

THREE_DECIMALS = "{:.3f}".format


MAX_ROWS = 40
"""Rows of a table that are printed, and shown in Markdown."""


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="compare")
def app(composed: DictConfig) -> None:
    """Compare, print, write and log."""
    exit_on_mistake(
        lambda: compare_runs(
            to_dataclass(composed, CompareConfig), Path(HydraConfig.get().runtime.output_dir) / "results"
        )
    )


def compare_runs(config: CompareConfig, folder: Path) -> None:
    """Do what the configuration asks for.

    Raises:
        ConfigError: if runs can't be found, or not be compared.
    """
    check_comparison(config)
    # Only now, since these take seconds to import.
    from rich.console import Console

    from valstab.analysis.load import load_runs
    from valstab.compare.figure_kinds import Request, compare
    from valstab.results import markdown
    from valstab.tracking.client import quiet_mlflow
    from valstab.tracking.comparison import tracked_comparison

    named = config.experiments is not None or config.filter is not None
    own = config.figure.experiments if named or not (config.runs or config.folders) else []
    with quiet_mlflow():
        runs = load_runs(
            own if config.experiments is None else config.experiments,
            filter_string=config.filter,
            runs=config.runs,
            folders=config.folders,
        )
    measure, undefined = cast("Measure", config.figure.measure), cast("Undefined", config.undefined)
    found = compare(Request(config.figure, runs, measure, undefined, config.resamples))
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in found.pictures.items():
        for ending in ("png", "svg"):
            picture.savefig(folder / f"{name}.{ending}", dpi=150)
    for name, table in {**found.tables, "runs": runs.table}.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        (folder / f"{name}.md").write_text(markdown.table(table.head(MAX_ROWS)), encoding="utf-8")
    notes = [f"{len(runs.replaced)} older runs with the same configuration were left out"] if runs.replaced else []
    first = next(iter(found.tables.values())).head(MAX_ROWS)
    summary = _summary(config.figure.title, found.sentences, first, notes)
    (folder / "findings.md").write_text(summary, encoding="utf-8")
    output = Console(highlight=False, markup=False, soft_wrap=True)
    shown = markdown.format_p_values(first).to_string(index=False, float_format=THREE_DECIMALS)
    output.print(f"\n{config.figure.title} · {len(runs)} runs\n\n{shown}\n")
    for sentence in (*found.sentences, *(f"note: {note}" for note in notes)):
        output.print(sentence)
    with tracked_comparison(
        config.tracking.experiment,
        f"{config.figure.name} · {len(runs)} runs",
        _parameters(config, len(runs)),
        runs.table["run"],
    ) as log:
        log(found.numbers, summary, folder)
    output.print(f"\nresults in {folder}, and in MLflow's experiment {config.tracking.experiment}")


def check_comparison(config: CompareConfig) -> None:
    """Test the values that need no run to be read.

    Raises:
        ConfigError: at the first that can't be used.
    """
    require("figure.kind", config.figure.kind, FIGURE_KINDS)
    require("figure.measure", config.figure.measure, MEASURES)
    require("undefined", config.undefined, UNDEFINED)
    if config.resamples < 1:
        raise ConfigError("resamples", config.resamples, "must be at least 1")


def _summary(title: str, sentences: tuple[str, ...], table: "pd.DataFrame", notes: list[str]) -> str:
    from valstab.results import markdown

    said = "\n".join(f"- {markdown.escape_markdown(sentence)}" for sentence in (*sentences, *notes))
    return f"## {markdown.escape_markdown(title)}\n\n{said}\n\n{markdown.table(table)}\n"


def _parameters(config: CompareConfig, number: int) -> Mapping[str, str]:
    chosen = {
        name: str(value)
        for name, value in dataclasses.asdict(config).items()
        if name in {"experiments", "filter", "runs", "folders", "undefined", "resamples"}
    }
    return {"figure": config.figure.name, "compared_runs": str(number), **chosen}


def main() -> None:
    """Start the command."""
    start(app)
