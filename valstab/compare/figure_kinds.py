"""The kinds of comparison: for each, the runs it needs, its tables, its pictures and its sentences."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import pandas as pd
from matplotlib.figure import Figure

from valstab.analysis.comparability import require_comparable, require_unique
from valstab.analysis.runs import Runs
from valstab.compare import diagnostic_sentences, diagnostics, figures, leaderboard, sentences, tables
from valstab.compare.authors_leaderboard import authors_boards
from valstab.compare.behaviour import values_beside_behaviour
from valstab.compare.comparison import Comparison, Request
from valstab.compare.drift_comparison import compare_drift
from valstab.compare.judges import judges
from valstab.compare.persona_labels import read_labels
from valstab.compare.stabilities import stabilities
from valstab.compare.what_moves import what_moves
from valstab.errors import ConfigError
from valstab.statistics.resampling import ALPHA
from valstab.statistics.stability import MEASURE_NAMES, Measure

MEASURE_TITLES = {measure: f"{name.lower()} stability" for measure, name in MEASURE_NAMES.items()}

OF_ONE_STABILITY = ("bars", "tests", "lines", "context_pairs")
"""The kinds of which each run needs the stability; others, such as those without conversation, are left out."""


def compare(request: Request) -> Comparison:
    """Compare runs as the figure says.

    Raises:
        ConfigError: if the runs can't be compared, or are not those that the figure needs.
    """
    kind, measure = request.figure.kind, request.measure
    if kind not in OF_ONE_STABILITY:
        return FIGURE_FUNCTIONS[kind](request)
    some = tuple(run for run in request.runs if run.stability(measure, request.undefined))
    others = [
        f"{run.label} (n={run.n_messages})" for run in request.runs if not run.stability(measure, request.undefined)
    ]
    found = FIGURE_FUNCTIONS[kind](replace(request, runs=Runs(some) if some else request.runs))
    return replace(found, sentences=(*found.sentences, *sentences.describe_inapplicable(others, measure)))


def _samples(request: Request, axes: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return the samples of the figure's measure, of runs that may be compared."""
    require_comparable(request.runs, axes)
    require_unique(request.runs, axes)
    measure = request.measure
    samples = request.runs.samples(measure, request.undefined)
    if samples.empty:
        raise ConfigError(
            "runs", f"({len(request.runs)})", f"have no {MEASURE_TITLES[measure]}: {sentences.WHY_NONE[measure]}"
        )
    return samples


def _bars(request: Request) -> Comparison:
    figure, samples = request.figure, _samples(request)
    found = stabilities(request.runs, request.measure, request.undefined, request.resamples)
    pairs = None if figure.pairs_within is None else found.pairs_within(figure.pairs_within)
    table, tests = found.ranked(pairs)
    pictures = {
        figure.name: figures.bars(
            samples,
            title=figure.title,
            label=MEASURE_TITLES[request.measure],
            reference=request.reference,
            intervals=found.table,
        )
    }
    if len(table) > 1 and pairs is None:
        pictures[f"{figure.name}_tests"] = _tested(table, tests, f"{figure.title}\npairs that differ (FDR {ALPHA})")
    return Comparison(
        tables={
            figure.name: table,
            "tests": tests,
            **tables.paper_tests(request.runs, samples, pairs),
            "undefined": found.table[["label", "n_messages", "undefined", "not_reported"]],
            "samples": samples,
        },
        pictures=pictures,
        sentences=sentences.describe_models(found, request.measure, request.reference, pairs),
        numbers=_numbers(table, request.measure),
    )


def _tests(request: Request) -> Comparison:
    figure, samples = request.figure, _samples(request)
    found = stabilities(request.runs, request.measure, request.undefined, request.resamples)
    table, tests = found.ranked()
    if len(table) < 2:  # noqa: PLR2004
        raise ConfigError("runs", f"({len(request.runs)})", "need at least two models to tell apart")
    of_paper = tables.paper_tests(request.runs, samples)
    by_seeds = of_paper["paper_tests"]
    title = f"{figure.title}\npaper's t-tests over seeds (FDR {ALPHA})"
    return Comparison(
        tables={figure.name: by_seeds, "means": table, "tests": tests, **of_paper},
        pictures={
            figure.name: _tested(table, by_seeds, title),
            f"{figure.name}_tests": _tested(table, tests, f"{figure.title}\npairs that differ (FDR {ALPHA})"),
        },
        sentences=(
            *sentences.describe_models(found, request.measure, {}),
            sentences.describe_paper_tests(by_seeds),
        ),
        numbers={
            "pairs": len(tests),
            "significant_pairs": int(by_seeds["significant"].sum()),
            "pairs_that_differ": int(tests["significant"].sum()),
        },
    )


def _lines(request: Request) -> Comparison:
    figure, samples = request.figure, _samples(request, ("n_messages", "personas"))
    for label in samples["label"].unique():
        require_comparable(Runs(tuple(run for run in request.runs if run.label == label)), ("n_messages",))
    table = tables.means(samples, ["label", "n_messages"])
    found = stabilities(request.runs, request.measure, request.undefined, request.resamples)
    return Comparison(
        tables={figure.name: table, "trends": found.trends(), "stabilities": found.table, "samples": samples},
        pictures={
            figure.name: figures.lines(
                samples,
                title=figure.title,
                label=MEASURE_TITLES[request.measure],
                reference=request.reference,
                intervals=found.table,
            )
        },
        sentences=(
            *sentences.describe_length(found, MEASURE_TITLES[request.measure]),
            *sentences.describe_gaps(found, request.measure),
        ),
        numbers={
            f"{label}/n{n}": mean for label, n, mean in table[["label", "n_messages", "mean"]].itertuples(index=False)
        },
    )


def _context_pairs(request: Request) -> Comparison:
    figure = request.figure
    samples = _samples(request)
    pairs = tables.context_pairs(request.runs, request.measure, request.undefined)
    means = tables.means(samples, ["label"])
    return Comparison(
        tables={figure.name: pairs, "means": means},
        pictures={figure.name: figures.heat_maps(pairs, title=figure.title, label=MEASURE_TITLES[request.measure])},
        sentences=sentences.describe_context_pairs(pairs),
        numbers=_numbers(means, request.measure),
    )


def _components(request: Request) -> Comparison:
    figure = request.figure
    if figure.labels is None:
        raise ConfigError("figure.labels", "null", "needs a CSV file with name and label, or a run of task=character")
    require_comparable(request.runs, ("topics", "n_messages", "personas"))
    require_unique(request.runs)
    labels = read_labels(figure.labels)
    places = {run.label: tables.components(run, labels) for run in request.runs if not run.without_personas}
    if not places:
        raise ConfigError("runs", f"({len(request.runs)})", "need one with personas")
    table = pd.concat([part.assign(model=label) for label, part in places.items()], ignore_index=True)
    return Comparison(
        tables={figure.name: table[["model", "persona", "first", "second", "label"]]},
        pictures={
            f"{figure.name}_{_file_name(label)}" if len(places) > 1 else figure.name: figures.scatter(
                part, title=f"{figure.title}: {label}"
            )
            for label, part in places.items()
        },
        sentences=tuple(sentences.describe_components(label, part) for label, part in places.items()),
    )


def _neutral_profile(request: Request) -> Comparison:
    require_comparable(request.runs, ("n_messages", "topics", "personas"))
    require_unique(request.runs, ("n_messages", "personas"))
    return _beside(request, tables.neutral_profile_table(request.runs, request.undefined))


def _neutral_order(request: Request) -> Comparison:
    require_comparable(request.runs, ("n_messages", "topics"))
    require_unique(request.runs, ("n_messages",))
    return _beside(request, tables.neutral_order_table(request.runs, request.undefined))


def _beside(request: Request, samples: pd.DataFrame) -> Comparison:
    figure = request.figure
    several = len(set(samples["label"])) > 1
    samples = samples.assign(line=samples["label"] + ": " + samples["what"] if several else samples["what"])
    table = tables.means(samples, ["label", "n_messages", "what"], "value")
    return Comparison(
        tables={figure.name: table, "samples": samples.drop(columns="line")},
        pictures={
            figure.name: figures.lines(samples, title=figure.title, label="correlation", value="value", by="line")
        },
        sentences=sentences.compare_curves(table),
        numbers={
            f"{what}/n{n}": mean for n, what, mean in table[["n_messages", "what", "mean"]].itertuples(index=False)
        }
        if not several
        else {},
    )


def _appraisal(request: Request) -> Comparison:
    figure = request.figure
    found = diagnostics.diagnose(request.runs, request.measure, request.undefined, request.resamples)
    pictures = {}
    if not found.stability.empty:
        pictures[figure.name] = figures.intervals(
            found.stability, title=figure.title, label=MEASURE_TITLES[request.measure]
        )
    if not found.variance.empty:
        pictures["variance"] = figures.shares(
            found.variance,
            column="effect",
            title="Where differences between scores come from",
            label="share of the variance of a value's scores",
        )
    if not found.positions.empty:
        pictures["positions"] = figures.shares(
            found.positions, column="letter", title="Answers by the letter's position", label="share of the answers"
        )
    if not found.mass.empty:
        pictures["answer_mass"] = figures.distributions(
            request.runs.answers, title="Answer mass", label="probability on the offered letters"
        )
    return Comparison(
        tables={figure.name: found.stability, **found.details()},
        pictures=pictures,
        sentences=diagnostic_sentences.describe_diagnostics(found, MEASURE_TITLES[request.measure]),
    )


def _leaderboard(request: Request) -> Comparison:
    figure = request.figure
    boards = leaderboard.boards(request.runs, request.undefined, request.resamples)
    if not boards:
        raise ConfigError(
            "runs",
            f"({len(request.runs)})",
            f"have no stability: it is between topics, {sentences.WHY_NONE['rank_order']}",
        )
    table = pd.concat([board.table.assign(setting=board.setting) for board in boards], ignore_index=True)
    return Comparison(
        tables={figure.name: table, "runs": request.runs.table},
        pictures={
            f"{figure.name}_{number}": figures.intervals(
                board.table, title=board.setting, label=MEASURE_TITLES[board.measure]
            )
            for number, board in enumerate(boards, 1)
        },
        sentences=tuple(sentences.describe_board(board.setting, board.table, board.tests) for board in boards),
    )


FIGURE_FUNCTIONS: Mapping[str, Callable[[Request], Comparison]] = {
    "bars": _bars,
    "tests": _tests,
    "lines": _lines,
    "context_pairs": _context_pairs,
    "values_and_behaviour": values_beside_behaviour,
    "components": _components,
    "neutral_profile": _neutral_profile,
    "neutral_order": _neutral_order,
    "appraisal": _appraisal,
    "leaderboard": _leaderboard,
    "authors_leaderboard": authors_boards,
    "axes": what_moves,
    "drift": compare_drift,
    "judges": judges,
}


def _tested(table: pd.DataFrame, tests: pd.DataFrame, title: str) -> Figure:
    return figures.significance(tests, table["label"].tolist(), title=title)


def _numbers(table: pd.DataFrame, measure: Measure) -> dict[str, float]:
    return {
        f"{measure}/{label}": cast("float", mean) for label, mean in table[["label", "mean"]].itertuples(index=False)
    }


def _file_name(label: str) -> str:
    return "".join(character if character.isalnum() or character in "-_" else "_" for character in label)
