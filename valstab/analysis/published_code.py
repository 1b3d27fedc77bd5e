"""Results of the paper's published code, read as runs, so that old results can stand beside new ones.

Each folder has the `results.json` of one context and one seed. These parts are read:

- `args`: `simulated_conversation_theme` (the context), `permute_options_seed`, `engine` (the model),
  `simulated_conversation_n_messages` and `simulated_population_type`, since mid 2024 `simulated_population_config`;
- `simulated_population`: the names, null for repetitions without a persona; since mid 2024 {name, description, gender},
  whose description is null for such repetitions;
- `answers`: for each participant a mapping from the questionnaire to [letter, option] pairs, the option counted
  from 1 in the order of the scale;
- `per_simulated_participant_metrics`: its means by value or race, which the answers' means must equal.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from valstab.analysis.runs import Run
from valstab.errors import ConfigError, require_text
from valstab.inputs.task import Task
from valstab.statistics.scores import score

RESULTS_FILE = "results.json"


TASK_BY_ITEMS = {40: "pvq", 100: "donation", 5: "religion", 6: "religion", 57: "svs"}
"""The task by its number of items; `stealing` also has 100 and is recognised by its questionnaire's name."""


STEALING_NAME = re.compile("bag|steal", re.IGNORECASE)


POPULATIONS = {
    "tolkien_characters": "fictional_characters",
    "famous_people": "real_world_personas",
    "real_world_people": "real_world_personas",
    "permutations": "none",
}
"""The population by its name in `args`, which may be a folder in the path of a file."""


EXPECTED = (
    "args, simulated_population (a list of names, of nulls, or of {name, description, gender}), answers "
    "([letter, option] pairs of each person) and per_simulated_participant_metrics"
)
"""What a file must have."""


LEADERBOARD_SEED = "leaderboard_"
"""The start of `permute_options_seed` in files of the authors' leaderboard: a chunk follows, and all have one seed."""


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
        kind = [file.args.get("engine"), _population(file), file.args.get("simulated_conversation_n_messages")]
        groups.setdefault((*map(str, kind), _task_name(file)), []).append(file)
    tasks = {name: _task(name) for name in {kind[-1] for kind in groups}}
    return [_run(files, f"{folder}: {' '.join(kind)}", tasks[kind[-1]]) for kind, files in groups.items()]


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
        args, answers = content["args"], content["answers"]
        population = _names(content["simulated_population"], len(answers))
        (questionnaire,) = {name for of_one in answers for name in of_one}
        pairs = [of_one[questionnaire] for of_one in answers]
        without_personas = all(name is None for name in population)
        return _ResultsFile(
            path=path,
            context=_context(args.get("simulated_conversation_theme"), str(args["permute_options_seed"])),
            seed=_seed(str(args["permute_options_seed"])),
            questionnaire=questionnaire,
            args=args,
            n_messages=int(args.get("simulated_conversation_n_messages") or 0),
            personas=_personas(population),
            without_personas=without_personas,
            chosen=_options(pairs),
            letters=[[str(letter) for letter, _ in of_one] for of_one in pairs],
            metrics=[_mapping(of_one, questionnaire) for of_one in content["per_simulated_participant_metrics"]],
        )
    except FORMAT_ERRORS as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(
            "folders", path, f"is not a results.json of the published code: {problem}; expected {EXPECTED}"
        ) from None


def _context(theme: str | None, seed: str) -> str:
    """Return the name of a theme, which may be the path of a file with openings; without one, that of the chunk."""
    if theme in {None, "", "None"}:
        return seed.removeprefix(LEADERBOARD_SEED) if seed.startswith(LEADERBOARD_SEED) else NEUTRAL_CONTEXT
    return Path(str(theme)).name.removesuffix(".jsonl")


def _seed(text: str) -> int:
    digits = re.search(r"\d+", text)
    if text.startswith(LEADERBOARD_SEED):
        return 0
    if digits is None:
        raise ValueError(f"permute_options_seed {text!r} has no number")
    return int(digits.group())


def _population(file: _ResultsFile) -> str:
    if file.without_personas:
        return POPULATIONS["permutations"]
    given = str(file.args.get("simulated_population_type") or file.args.get("simulated_population_config"))
    return next((POPULATIONS[part] for part in Path(given).parts if part in POPULATIONS), given)


def _mapping(of_one: Mapping[str, Any], questionnaire: str) -> Mapping[str, Any]:
    metrics = of_one.get(questionnaire, {})
    if not isinstance(metrics, dict):
        raise TypeError(f"per_simulated_participant_metrics: {metrics!r} is no mapping")
    return metrics


def _names(population: Any, people: int) -> list[Any]:
    """Return the name of each person, None for a repetition without a persona."""
    if population is None:
        return [None] * people
    if not isinstance(population, list):
        raise TypeError("simulated_population is no list")
    return [
        person if not isinstance(person, dict) else None if person["description"] is None else person["name"]
        for person in population
    ]


def _personas(names: Sequence[Any]) -> list[str]:
    if all(name is None for name in names):
        return [f"permutation_{i + 1:02d}" for i in range(len(names))]
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{name!r} is no name")
        require_text("simulated_population", name, name)
    if len(set(names)) < len(names):
        raise ValueError("simulated_population must list each name once")
    return list(names)


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
    """Check that the means of scores, or of options, equal those in the file: the scoring key is the same."""
    counts = np.array(task.scores, dtype=float)[file.chosen - 1]
    if len(file.metrics) != len(counts):
        raise ConfigError("folders", file.path, f"has metrics of {len(file.metrics)} people, answers of {len(counts)}")
    for key in task.keys:
        items = [place for place, item in enumerate(task.items) if item.key == key]
        for person, options, metrics in zip(counts, file.chosen, file.metrics, strict=True):
            means = person[items].mean(), options[items].mean()
            if key in metrics and not any(_equal(metrics[key], mean) for mean in means):
                raise ConfigError(
                    "folders",
                    file.path,
                    f"{key} is {metrics[key]} there, but its answers' mean is {person[items].mean():.6f}",
                )


def _equal(recorded: object, mean: float) -> bool:
    return isinstance(recorded, int | float) and abs(recorded - mean) <= MEAN_TOLERANCE


def _task(name: str) -> Task:
    from valstab.config.compose import compose_run
    from valstab.inputs.task import load_task

    return load_task(compose_run(f"task={name}").task)


def _run(files: Sequence[_ResultsFile], identifier: str, task: Task) -> Run:
    args = files[0].args
    answers = _answers(files, task)
    model = str(args.get("engine") or files[0].path.parent.name)
    settings = {
        "model.name": model,
        "engine.name": "published",
        "population.name": _population(files[0]),
        "topics.name": "published",
        "n_messages": str(args.get("simulated_conversation_n_messages", "")),
    }
    return Run(
        id=identifier,
        label=model,
        settings=settings,
        task=replace(task, description=None, wording="data_pvq" if task.name == "pvq" else task.wording),
        digest=None,
        n_messages=files[0].n_messages,
        without_personas=files[0].without_personas,
        scores=score(answers, task),
        answers=answers,
        # Person p's item i has the order of person p - 1's item i + 1.
        sliding_orders=True,
    )
