"""Results of the paper's published code, read as runs, so that old results can stand beside new ones.

Each folder has the `results.json` of one context and one seed. These parts are read:

- `args`: `simulated_conversation_theme` (the context), `permute_options_seed`, `engine` (the model),
  `simulated_conversation_n_messages` and `simulated_population_type`;
- `simulated_population`: the names, or null for repetitions without a persona;
- `answers`: for each participant a mapping from the questionnaire to [letter, option] pairs, the option counted
  from 1 in the order of the scale;
- `per_simulated_participant_metrics`: its means by value or race, which the answers' means must equal.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from valstab.analysis.runs import Run
from valstab.errors import ConfigError, require_text
from valstab.inputs.task import Task
from valstab.statistics.scores import score

RESULTS_FILE = "results.json"


TASK_BY_ITEMS = {40: "pvq", 100: "donation", 5: "religion", 6: "religion"}
"""The task by its number of items; `stealing` also has 100 and is recognised by its questionnaire's name."""


STEALING_NAME = re.compile("bag|steal", re.IGNORECASE)


POPULATIONS = {
    "tolkien_characters": "fictional_characters",
    "famous_people": "real_world_personas",
    "permutations": "none",
}


NEUTRAL_CONTEXT = "neutral"


FORMAT_ERRORS = (OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""Errors that reading a document of another form raises."""


MEAN_TOLERANCE = 1e-6


class _ResultsFile(NamedTuple):
    """One context and seed."""

    path: Path
    context: str
    seed: int
    questionnaire: str
    args: Mapping[str, Any]
    n_messages: int
    personas: list[str]
    without_personas: bool
    chosen: np.ndarray[Any, np.dtype[np.int64]]
    """The option of each answer, from 1: (personas, items)."""
    letters: list[list[str]]
    metrics: list[Mapping[str, float]]


def read_published(folder: Path) -> list[Run]:
    """Read every `results.json` below a folder; files of one model, task, length and population make a run.

    Raises:
        ConfigError: naming the file, if one can't be used or contexts and seeds are not complete.
    """
    groups: dict[tuple[str, ...], list[_ResultsFile]] = {}
    for path in sorted(folder.rglob(RESULTS_FILE)):
        file = _read(path)
        args = file.args
        kind = [
            args.get("engine"),
            args.get("simulated_population_type"),
            args.get("simulated_conversation_n_messages"),
        ]
        groups.setdefault((*map(str, kind), _task_name(file)), []).append(file)
    return [_run(files, f"{folder}: {' '.join(kind)}") for kind, files in groups.items()]


class Published(NamedTuple):
    """Answers of one run's folders: seed, context, persona, item, letter and score."""

    answers: pd.DataFrame
    without_personas: bool
    """Whether they are of repetitions without a persona."""


def published_answers(folder: Path, task: Task) -> Published:
    """Read the answers of one run's folders, scored by a task.

    Raises:
        ConfigError: as `read_published`, or if there are none, or they are not answers to this task.
    """
    files = [_read(path) for path in sorted(folder.rglob(RESULTS_FILE))]
    if not files:
        raise ConfigError("answers", folder, f"holds no {RESULTS_FILE}")
    return Published(_answers(files, task), files[0].without_personas)


def _read(path: Path) -> _ResultsFile:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        args, population, answers = content["args"], content["simulated_population"], content["answers"]
        (questionnaire,) = {name for of_one in answers for name in of_one}
        pairs = [of_one[questionnaire] for of_one in answers]
        without_personas = all(name is None for name in population)
        digits = re.search(r"\d+", str(args["permute_options_seed"]))
        if digits is None:
            raise ValueError(f"permute_options_seed {args['permute_options_seed']!r} has no number")
        return _ResultsFile(
            path=path,
            context=str(args.get("simulated_conversation_theme") or NEUTRAL_CONTEXT),
            seed=int(digits.group()),
            questionnaire=questionnaire,
            args=args,
            n_messages=int(args.get("simulated_conversation_n_messages") or 0),
            personas=_names(population, without_personas=without_personas),
            without_personas=without_personas,
            chosen=_options(pairs),
            letters=[[str(letter) for letter, _ in of_one] for of_one in pairs],
            metrics=[_mapping(of_one, questionnaire) for of_one in content["per_simulated_participant_metrics"]],
        )
    except FORMAT_ERRORS as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError("folders", path, f"is not a results.json of the published code: {problem}") from None


def _mapping(of_one: Mapping[str, Any], questionnaire: str) -> Mapping[str, Any]:
    metrics = of_one.get(questionnaire, {})
    if not isinstance(metrics, dict):
        raise TypeError(f"per_simulated_participant_metrics: {metrics!r} is no mapping")
    return metrics


def _names(population: Sequence[str | None], *, without_personas: bool) -> list[str]:
    if without_personas:
        return [f"permutation_{i + 1:02d}" for i in range(len(population))]
    if not isinstance(population, list) or len(set(population)) < len(population):
        raise ValueError("simulated_population must list each name once")
    for name in population:
        if not isinstance(name, str):
            raise TypeError(f"{name!r} is no name")
        require_text("simulated_population", name, name)
    return list(population)


def _options(pairs: Sequence[Sequence[tuple[str, int]]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    chosen = np.array([[option for _, option in of_one] for of_one in pairs])
    if chosen.ndim != 2 or not chosen.size or chosen.dtype.kind != "i":  # noqa: PLR2004 (people, items)
        raise ValueError("every person's options must be whole numbers, as many as anybody else's")
    return chosen


def _task_name(file: _ResultsFile) -> str:
    number = file.chosen.shape[1]
    if number not in TASK_BY_ITEMS:
        raise ConfigError(
            "folders", file.path, f"has {number} answers a person; allowed: {', '.join(map(str, TASK_BY_ITEMS))}"
        )
    return (
        "stealing"
        if TASK_BY_ITEMS[number] == "donation" and STEALING_NAME.search(file.questionnaire)
        else TASK_BY_ITEMS[number]
    )


def _answers(files: Sequence[_ResultsFile], task: Task) -> pd.DataFrame:
    parts = []
    for file in files:
        people, items = file.chosen.shape
        if items != len(task.items) or len(file.personas) != people:
            raise ConfigError(
                "folders",
                file.path,
                f"has {items} answers of {people} people; {task.name} has {len(task.items)}, of {len(file.personas)}",
            )
        if file.chosen.min() < 1 or file.chosen.max() > len(task.scores):
            raise ConfigError("folders", file.path, f"has an option outside 1 to {len(task.scores)} ({task.name})")
        parts.append(
            pd.DataFrame(
                {
                    "seed": file.seed,
                    "context": file.context,
                    "persona": np.repeat(file.personas, items),
                    "item": np.tile([item.number for item in task.items], people),
                    "letter": [letter for of_one in file.letters for letter in of_one],
                    "score": np.array(task.scores, dtype=float)[file.chosen.ravel() - 1],
                }
            )
        )
        _check_metrics(file, task)
    return pd.concat(parts, ignore_index=True)


def _check_metrics(file: _ResultsFile, task: Task) -> None:
    """Check that the answers' means equal those in the file, which shows that the scoring key is the same."""
    counts = np.array(task.scores, dtype=float)[file.chosen - 1]
    if len(file.metrics) != len(counts):
        raise ConfigError("folders", file.path, f"has metrics of {len(file.metrics)} people, answers of {len(counts)}")
    for key in task.keys:
        items = [place for place, item in enumerate(task.items) if item.key == key]
        for person, metrics in zip(counts, file.metrics, strict=True):
            if key in metrics and not _equal(metrics[key], person[items].mean()):
                raise ConfigError(
                    "folders",
                    file.path,
                    f"{key} is {metrics[key]} there, but its answers' mean is {person[items].mean():.6f}",
                )


def _equal(recorded: object, mean: float) -> bool:
    return isinstance(recorded, int | float) and abs(recorded - mean) <= MEAN_TOLERANCE


def _run(files: Sequence[_ResultsFile], identifier: str) -> Run:
    from valstab.config.compose import compose_run
    from valstab.inputs.task import load_task

    name = _task_name(files[0])
    task = load_task(compose_run(f"task={name}").task)
    args = files[0].args
    population = str(args.get("simulated_population_type"))
    answers = _answers(files, task)
    model = str(args.get("engine") or files[0].path.parent.name)
    settings = {
        "model.name": model,
        "engine.name": "published",
        "population.name": POPULATIONS.get(population, population),
        "topics.name": "published",
        "n_messages": str(args.get("simulated_conversation_n_messages", "")),
    }
    return Run(
        id=identifier,
        label=model,
        settings=settings,
        task=Task(
            name, None, task.items, task.keys, task.scores, task.centred, "data_pvq" if name == "pvq" else task.wording
        ),
        digest=None,
        n_messages=files[0].n_messages,
        without_personas=files[0].without_personas,
        scores=score(answers, task),
        answers=answers,
        # Person p's item i has the order of person p - 1's item i + 1.
        sliding_orders=True,
    )
