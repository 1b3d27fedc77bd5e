"""Finished runs as pandas tables, for a notebook and for `valstab compare`.

    runs = valstab.load_runs(experiments=["fig4a"])
    runs.table                      # one row a run: model, task, n_messages, rank_order, ...
    runs.samples("rank_order")      # one row a seed: samples of means and standard errors
    runs.scores                     # one row for each seed, context, persona and key
    runs.answers                    # one row a question

`valstab.load` finds and reads them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr

from valstab.errors import ConfigError
from valstab.inputs.task import Task
from valstab.statistics.scores import Rounding, genders, score
from valstab.statistics.stability import Measure, Stability, Undefined, applicable_measures, stability

SHOWN_COLUMNS = (
    "label",
    "task",
    "n_messages",
    "personas",
    "contexts",
    "seeds",
    "rank_order",
    "ipsative",
    "answer_mass",
)
"""The columns of the table by which a notebook shows runs."""


MAX_SHOWN_RUNS = 20
"""Largest number of runs that are shown line by line."""


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run, or results of the paper's published code.

    `scores` has the dimensions seed, context, persona, key.
    """

    id: str
    """MLflow's run id, or the folder."""
    label: str
    """The model's name, with the settings that distinguish it from the other loaded runs."""
    settings: Mapping[str, str]
    """The configuration, flat: `population.name` and the like."""
    task: Task
    """Without texts: which item belongs to which key."""
    digest: str | None
    """SHA-256 of the questions and their scoring, in hexadecimal; None where it is unknown."""
    n_messages: int
    without_personas: bool
    """Whether there are repetitions without a persona instead of personas."""
    scores: xr.DataArray
    answers: pd.DataFrame
    retests: pd.DataFrame | None = None
    """Answers to the same questions with other option orders, with a column retest (1, 2, ...)."""
    sliding_orders: bool = False
    """Whether neighbouring personas share option orders, as in the paper's published code."""
    conversations: Sequence[Mapping[str, Any]] = ()
    """One a conversation: seed, context, persona, and messages with role and text."""
    withheld: str = ""
    """Why the run has no headline, as a clause; empty if it has one."""
    rounding: Rounding = "nine_decimals"
    """Which scores count as equal in ranks."""
    _stabilities: dict[tuple[Measure, Undefined], Stability] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __repr__(self) -> str:
        """Return the run in a line: its label, task, length and size."""
        names = {"persona": "people", "context": "topics", "seed": "seeds"}
        size = " x ".join(f"{self.scores.sizes[name]} {text}" for name, text in names.items())
        return f"<Run {self.label} · {self.task.name} · n={self.n_messages}: {size}>"

    def _repr_html_(self) -> str:
        """Return the run as a table of one row, as IPython asks for it."""
        return Runs((self,))._repr_html_()

    @property
    def contexts(self) -> list[str]:
        """The topics, in the order of the run."""
        return [str(name) for name in self.scores["context"].to_numpy()]

    @property
    def personas(self) -> list[str]:
        """The names of the personas, in the order of the run."""
        return [str(name) for name in self.scores["persona"].to_numpy()]

    @property
    def seeds(self) -> list[int]:
        """The seeds, in the order of the run."""
        return [int(seed) for seed in self.scores["seed"].to_numpy()]

    @cached_property
    def genders(self) -> list[str] | None:
        """The gender of the questionnaire's wording for each persona, in the order of the run; None where unknown.

        Results of older versions and of the published code lack it.
        """
        return genders(self.answers, self.personas)

    @property
    def opening_lengths(self) -> dict[str, int]:
        """The characters of each context's opening message, if the conversations are known; 0 for none.

        Where each persona has its own, the mean, rounded.
        """
        lengths: dict[str, list[int]] = {}
        for each in self.conversations:
            lengths.setdefault(each["context"], []).append(len(each["messages"][0]["text"]) if each["messages"] else 0)
        return {context: round(sum(some) / len(some)) for context, some in lengths.items()}

    def rescored(self, retest: int) -> xr.DataArray:
        """Score the answers of a retest, with the dimensions of `scores`."""
        if self.retests is None:
            raise ValueError(f"{self.id} has no retests")
        return score(self.retests[self.retests["retest"] == retest], self.task, self.rounding)

    def unrounded(self) -> "Run":
        """Return the run scored without rounding, as the paper's published code does it: see `Rounding`."""
        return replace(self, scores=score(self.answers, self.task, "none"), rounding="none")

    def stability(self, measure: Measure, undefined: Undefined = "zero") -> Stability | None:
        """Return a stability; None where it does not apply: see `valstab.results.results.Results`."""
        if measure not in applicable_measures(self.scores, without_personas=self.without_personas):
            return None
        if (measure, undefined) not in self._stabilities:
            found = stability(self.scores, measure, undefined, without_personas=self.without_personas)
            self._stabilities[measure, undefined] = replace(found, withheld=self.withheld)
        return self._stabilities[measure, undefined]

    def reported_stability(self, measure: Measure, undefined: Undefined = "zero") -> Stability | None:
        """Return a stability; None where it does not apply, or `Stability.why_not_reported` has a reason."""
        found = self.stability(measure, undefined)
        return None if found is None or found.why_not_reported else found


@dataclass(frozen=True, repr=False)
class Runs:
    """Finished runs, to analyse together."""

    runs: tuple[Run, ...]
    replaced: tuple[str, ...] = ()
    """Ids of runs that are left out, since another one has their seeds, topics and people."""
    pooled: tuple[str, ...] = ()
    """Ids of older runs whose seeds count as those of a newer run of the same study."""

    def __repr__(self) -> str:
        """Return the runs, a line each."""
        lines = [repr(run) for run in self.runs[:MAX_SHOWN_RUNS]]
        more = [f"... and {len(self) - MAX_SHOWN_RUNS} more"] if len(self) > MAX_SHOWN_RUNS else []
        return "\n".join([f"<Runs: {len(self)}>", *lines, *more])

    def _repr_html_(self) -> str:
        """Return the runs as a table, as IPython asks for it."""
        columns = [name for name in SHOWN_COLUMNS if name in self.table]
        html: str = self.table[columns].to_html(index=False, float_format="{:.3f}".format, na_rep="-")
        return html

    def __iter__(self) -> Iterator[Run]:
        """Iterate over the runs."""
        return iter(self.runs)

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.runs)

    def relabelled(self, names: Mapping[str, str]) -> "Runs":
        """Return the runs with other names in their labels: those of models, or whole labels.

        Raises:
            ConfigError: if one name stands for different labels.
        """

        def renamed(label: str) -> str:
            model, _, settings = label.partition(" ")
            return names[label] if label in names else f"{names.get(model, model)} {settings}".rstrip()

        labels: dict[str, str] = {}
        for run in self.runs:
            first = labels.setdefault(renamed(run.label), run.label)
            if first != run.label:
                raise ConfigError("labels", renamed(run.label), f"stands for both {first} and {run.label}")
        return replace(self, runs=tuple(replace(run, label=renamed(run.label)) for run in self.runs))

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each run: its settings, and its stabilities (mean and standard error)."""
        return pd.DataFrame([_row(run) for run in self.runs])

    @cached_property
    def answers(self) -> pd.DataFrame:
        """One row a question, as in `answers.parquet`, with the run's label and n_messages."""
        return pd.concat([_named(run.answers, run) for run in self.runs], ignore_index=True)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row for each run, seed, context, persona and key, with its score."""
        return pd.concat(
            [_named(run.scores.to_series().rename("score").reset_index(), run) for run in self.runs], ignore_index=True
        )

    def samples(self, measure: Measure = "rank_order", undefined: Undefined = "zero") -> pd.DataFrame:
        """Return the samples of a stability: one row for each seed, or for each repetition without a persona.

        Returns:
            The columns label, n_messages, population, task, sample and stability. Runs to which the measure
            does not apply, or whose correlations are mostly undefined, have no rows.
        """
        parts = []
        for run in self.runs:
            stability = run.reported_stability(measure, undefined)
            if stability is not None:
                values = stability.samples.to_numpy().ravel()
                part = pd.DataFrame({"sample": range(len(values)), "stability": values})
                part.insert(0, "population", run.settings.get("population.name", ""))
                part.insert(1, "task", run.task.name)
                parts.append(_named(part, run))
        columns = ["label", "n_messages", "population", "task", "sample", "stability"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _row(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {
        "label": run.label,
        **{name: run.settings.get(f"{name}.name") for name in ("model", "engine", "population", "topics")},
        "task": run.task.name,
        "wording": run.task.wording,
        "n_messages": run.n_messages,
        "quantization": run.settings.get("model.quantization"),
        **{f"{name}s": run.scores.sizes[name] for name in ("seed", "context", "persona")},
        "queries": len(run.answers),
    }
    for measure in get_args(Measure):
        stability, reported = run.stability(measure), run.reported_stability(measure)
        row[measure] = np.nan if reported is None else reported.mean
        row[f"{measure}_se"] = np.nan if reported is None else reported.se
        row[f"{measure}_undefined_fraction"] = np.nan if stability is None else stability.undefined_fraction
    mass = run.answers.get("answer_mass")
    return {**row, "answer_mass": np.nan if mass is None else mass.mean(), "run": run.id}


def _named(part: pd.DataFrame, run: Run) -> pd.DataFrame:
    part = part.copy()
    part.insert(0, "label", run.label)
    part.insert(1, "n_messages", run.n_messages)
    return part
