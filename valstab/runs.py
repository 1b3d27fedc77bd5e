"""Finished runs as pandas tables, for a notebook and for `valstab.compare`.

    runs = valstab.load_runs(experiments=["fig4a"])
    runs.table                      # one row a run: model, task, n_messages, rank_order, ...
    runs.samples("rank_order")      # one row a seed: what means and standard errors are over
    runs.scores                     # one row for each seed, context, persona and key
    runs.answers                    # one row a question

A run is read from its results folder: an MLflow run's artifacts, a job's folder of a sweep, or results of the
paper's published code (`valstab.published`).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr
from omegaconf import OmegaConf

from valstab.config import ConfigError
from valstab.scores import DIMENSIONS, score
from valstab.stability import Measure, Stability, Undefined, meaningful
from valstab.task import Item, Task

DOCUMENT = "stability.json"
"""What makes a folder a run's results."""

TELLING = (
    ("quantization", "{}"),
    ("engine.name", "{}"),
    ("model.system_prompt", {"True": "sys", "False": "no_sys"}),
    ("model.format", "{}"),
    ("population.name", "{}"),
    ("model.dtype", "{}"),
    ("max_new_tokens", "max_new_tokens={}"),
    ("model.path", "{}"),
)
"""Settings that are added to a run's label, one after the other, where runs of one label differ in them."""


@dataclass(frozen=True)
class Run:
    """A finished run, or results of the paper's published code.

    `scores` has the dimensions seed, context, persona, key.
    """

    id: str
    """MLflow's run id, or the folder."""
    label: str
    """The model, with what tells it apart from the other runs that were loaded."""
    settings: Mapping[str, str]
    """The configuration, flat: `population.name` and the like."""
    task: Task
    """Without texts: which item belongs to which key."""
    digest: str | None
    """SHA-256 of what was asked; None where it is not known."""
    n_messages: int
    permutations: bool
    """Whether there are repetitions without a persona instead of personas."""
    scores: xr.DataArray
    answers: pd.DataFrame
    retests: pd.DataFrame | None = None
    """Answers to the same questions with other option orders, with a column retest (1, 2, ...)."""
    conversations: Sequence[Mapping[str, Any]] = ()
    """One a conversation: seed, context, persona, and messages with role and text."""

    @property
    def contexts(self) -> list[str]:
        """The topics, in the order of the run."""
        return [str(name) for name in self.scores["context"].to_numpy()]

    @property
    def personas(self) -> list[str]:
        """The names of the personas, in the order of the run."""
        return [str(name) for name in self.scores["persona"].to_numpy()]

    @property
    def opening_lengths(self) -> dict[str, int]:
        """The characters of each context's opening message, if the conversations are known; 0 for none."""
        return {
            each["context"]: len(each["messages"][0]["text"]) if each["messages"] else 0 for each in self.conversations
        }

    def rescored(self, retest: int) -> xr.DataArray:
        """Score the answers of a retest, with the dimensions of `scores`."""
        if self.retests is None:
            raise ValueError(f"{self.id} has no retests")
        return score(self.retests[self.retests["retest"] == retest], self.task)

    def stability(self, measure: Measure, undefined: Undefined = "zero") -> Stability | None:
        """Give a stability; None where it has no meaning: see `valstab.results.Results`."""
        return meaningful(self.scores, undefined, permutations=self.permutations).get(measure)


@dataclass(frozen=True)
class Runs:
    """Runs to look at together."""

    runs: tuple[Run, ...]
    replaced: tuple[str, ...] = ()
    """Ids of older runs with the same configuration as one that is here: left out."""

    def __iter__(self) -> Iterator[Run]:
        """Go through the runs."""
        return iter(self.runs)

    def __len__(self) -> int:
        """Count the runs."""
        return len(self.runs)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a run: what it was, and its stabilities (mean and standard error)."""
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
        """Lay out the samples behind a stability: one row a seed, or a repetition without a persona.

        Returns:
            The columns label, n_messages, population, task, sample and stability. Runs in which the measure has
            no meaning have no rows.
        """
        parts = []
        for run in self.runs:
            stability = run.stability(measure, undefined)
            if stability is not None:
                values = stability.samples.to_numpy().ravel()
                part = pd.DataFrame({"sample": range(len(values)), "stability": values})
                part.insert(0, "population", run.settings.get("population.name", ""))
                part.insert(1, "task", run.task.name)
                parts.append(_named(part, run))
        columns = ["label", "n_messages", "population", "task", "sample", "stability"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def load_runs(
    experiments: Iterable[str] = (),
    *,
    filter_string: str | None = None,
    runs: Iterable[str] = (),
    folders: Iterable[str | Path] = (),
) -> Runs:
    """Load finished runs.

    Args:
        experiments: names of MLflow experiments. With none, and neither `runs` nor `folders`, all there are.
        filter_string: as MLflow's search takes it, for instance "params.task = 'pvq' and metrics.rank_order > 0.1".
        runs: ids of MLflow runs; that of a sweep's parent stands for its jobs.
        folders: a run's folder, a sweep's folder in `multirun/`, or one with results of the published code.

    Returns:
        The runs, older ones first. Of several with the same configuration there is the newest.

    Raises:
        ConfigError: if a name, an id or a folder is unknown, or nothing is found.
    """
    experiments, runs, folders = list(experiments), list(runs), list(folders)
    found: list[Run] = []
    if experiments or filter_string or not (runs or folders):
        found += _tracked(experiments, filter_string)
    for identifier in runs:
        found += _with_children(identifier)
    for folder in folders:
        found += _in_folder(Path(folder))
    if not found:
        where = ", ".join([*experiments, *runs, *map(str, folders)]) or "MLflow"
        raise ConfigError(
            "runs", where, "there is no finished run" + (f" with {filter_string}" if filter_string else "")
        )
    return told_apart(found)


def told_apart(found: Sequence[Run]) -> Runs:
    """Give each run a label of its own, among those with the same task and length.

    Where runs of one label differ in a setting, its value is added; of runs that differ in nothing the last stays.
    """
    found = list({run.id: run for run in found}.values())
    for setting, form in TELLING:
        values: dict[str, set[str]] = {}
        for run in found:
            values.setdefault(run.label, set()).add(run.settings.get(setting, ""))
        found = [
            replace(run, label=f"{run.label} {_shown(form, run.settings.get(setting, ''))}".rstrip())
            if len(values[run.label]) > 1 and run.settings.get(setting) != run.settings.get(f"model.{setting}")
            else run
            for run in found
        ]
    last = {_identity(run): run for run in found}
    replaced = [run.id for run in found if last[_identity(run)] is not run]
    return Runs(tuple(last.values()), tuple(replaced))


def comparable(runs: Runs, axes: Sequence[str] = ()) -> None:
    """Refuse runs that can't be set side by side.

    Args:
        runs: the runs.
        axes: what may differ: of task, wording, topics, n_messages, personas.

    Raises:
        ConfigError: if they differ in anything else; it says which runs differ in what.
    """
    for name, of_run in ASPECTS.items():
        if name in axes:
            continue
        groups: dict[str, list[str]] = {}
        for run in runs:
            groups.setdefault(of_run(run), []).append(run.label)
        if len(groups) > 1:
            said = "; ".join(f"{value}: {_some(labels)}" for value, labels in groups.items())
            raise ConfigError(
                "runs", f"({len(runs)})", f"can't be compared, since they differ in {name} ({said}); choose with filter"
            )


def read_run(folder: Path, identifier: str | None = None) -> Run:
    """Read a run from its results folder.

    Raises:
        ConfigError: if a file is missing or can't be used.
    """
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        settings = flat(OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")))
        task = Task(
            name=document["task"],
            description=None,
            items=tuple(Item(int(number), key, {}, {}) for number, key in document["key_of_item"].items()),
            keys=tuple(document["keys"]),
            scores=(),
            centred=document["centred"],
            wording=document["wording"],
        )
        profiles = pd.read_csv(folder / "profiles.csv", dtype={"context": str, "persona": str}, keep_default_na=False)
        retests = folder / "retests.parquet"
        said = folder / "conversations.jsonl"
        return Run(
            id=identifier or str(folder),
            label=model_label(settings),
            settings=settings,
            task=task,
            digest=document["wording_sha256"],
            n_messages=int(settings["n_messages"]),
            permutations=settings.get("population.personas") == "None",
            scores=_labelled(profiles, document),
            answers=pd.read_parquet(folder / "answers.parquet"),
            retests=pd.read_parquet(retests) if retests.exists() else None,
            conversations=[json.loads(line) for line in said.open(encoding="utf-8")] if said.exists() else (),
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError("folders", folder, f"is not the results of a run that can be read: {problem}") from None


def flat(nested: Any, prefix: str = "") -> dict[str, str]:
    """Turn nested settings into one mapping, with names like `population.name` and text values."""
    settings: dict[str, str] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            settings |= flat(value, f"{prefix}{key}.")
        else:
            settings[f"{prefix}{key}"] = str(value)
    return settings


def model_label(settings: Mapping[str, str]) -> str:
    """Name the model of a run: with its precision where that is not the option's own."""
    name, quantization = settings["model.name"], settings.get("quantization")
    own = settings.get("model.quantization", quantization)
    return name if quantization == own else f"{name} {quantization}"


def _labelled(profiles: pd.DataFrame, document: Mapping[str, Any]) -> xr.DataArray:
    labels = {"seed": document["seeds"], "context": document["contexts"], "persona": document["personas"]}
    keys = document["keys"]
    values = profiles[keys].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    sizes = [len(names) for names in labels.values()]
    return xr.DataArray(values.reshape(*sizes, len(keys)), dims=DIMENSIONS, coords={**labels, "key": keys})


def _tracked(experiments: Sequence[str], filter_string: str | None) -> list[Run]:
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    known = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
    for name in experiments:
        if name not in known:
            raise ConfigError(
                "experiments", name, f"no such MLflow experiment in {_location()}; there are: {', '.join(known)}"
            )
    conditions = ["attributes.status = 'FINISHED'", "metrics.queries > 0", *([filter_string] if filter_string else [])]
    ids = [known[name] for name in experiments] or list(known.values())
    found: list[Any] = []
    token = None
    try:
        while token or not found:
            page = client.search_runs(
                ids, " and ".join(conditions), order_by=["attributes.start_time"], page_token=token
            )
            found += page
            token = page.token
            if not token:
                break
    except MlflowException as error:
        raise ConfigError("filter", filter_string, f"MLflow can't use it: {' '.join(str(error).split())}") from None
    return [_downloaded(run.info.run_id) for run in found]


def _with_children(identifier: str) -> list[Run]:
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    client = mlflow.MlflowClient()
    try:
        run = client.get_run(identifier)
    except MlflowException as error:
        raise ConfigError("runs", identifier, f"no such MLflow run in {_location()} ({error.error_code})") from None
    children = client.search_runs(
        [run.info.experiment_id],
        f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{identifier}' and attributes.status = 'FINISHED' and metrics.queries > 0",
        order_by=["attributes.start_time"],
    )
    return [_downloaded(each.info.run_id) for each in children or [run]]


def _downloaded(identifier: str) -> Run:
    import mlflow

    return read_run(Path(mlflow.artifacts.download_artifacts(run_id=identifier)), identifier)


def _location() -> str:
    import mlflow

    return re.sub(r"//[^/@\s]+@", "//", str(mlflow.get_tracking_uri()))


def _in_folder(folder: Path) -> list[Run]:
    from valstab.published import RESULTS, read_published

    folder = folder.expanduser()
    if not folder.is_dir():
        raise ConfigError("folders", folder, "no such folder; allowed: a run's, a sweep's, or one of published results")
    found = sorted(path.parent for path in folder.rglob(DOCUMENT))
    if found:
        return [read_run(path) for path in found]
    if any(folder.rglob(RESULTS)):
        return read_published(folder)
    raise ConfigError("folders", folder, f"holds no results: neither {DOCUMENT} nor {RESULTS} anywhere in it")


def _row(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {
        "label": run.label,
        **{name: run.settings.get(f"{name}.name") for name in ("model", "engine", "population", "topics")},
        "task": run.task.name,
        "wording": run.task.wording,
        "n_messages": run.n_messages,
        "quantization": run.settings.get("quantization"),
        **{f"{name}s": run.scores.sizes[name] for name in ("seed", "context", "persona")},
        "queries": len(run.answers),
    }
    for measure in get_args(Measure):
        stability = run.stability(measure)
        row[measure] = np.nan if stability is None else stability.mean
        row[f"{measure}_se"] = np.nan if stability is None else stability.se
    mass = run.answers.get("answer_mass")
    return {**row, "answer_mass": np.nan if mass is None else mass.mean(), "run": run.id}


def _named(part: pd.DataFrame, run: Run) -> pd.DataFrame:
    part = part.copy()
    part.insert(0, "label", run.label)
    part.insert(1, "n_messages", run.n_messages)
    return part


def _digest(run: Run) -> str:
    return (run.digest or "")[:8]


ASPECTS: Mapping[str, Callable[[Run], str]] = {
    "task": lambda run: run.task.name,
    "wording": lambda run: run.task.wording,
    "topics": lambda run: ", ".join(run.contexts),
    "n_messages": lambda run: str(run.n_messages),
    "personas": lambda run: _some(run.personas),
}


def _identity(run: Run) -> tuple[str, ...]:
    return (run.label, _digest(run), *(of_run(run) for of_run in ASPECTS.values()), str(run.scores["seed"].to_numpy()))


def _some(names: Sequence[str], most: int = 3) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")


def _shown(form: str | Mapping[str, str], value: str) -> str:
    return form.format(value) if isinstance(form, str) else form.get(value, value)
