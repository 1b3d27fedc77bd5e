"""Tasks: the items of a questionnaire or of a behavioural task, their options and scores."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from valstab.config.inputs import TaskConfig
from valstab.errors import ConfigError, allowed, require
from valstab.inputs.files import locate
from valstab.inputs.items import Item, check_count, item_content, read_items
from valstab.inputs.published_wording import read_published_wording
from valstab.inputs.rubric import Rubric, check_criteria, load_rubric

MIN_OPTIONS = 2
"""Smallest number of options of an item."""


MAX_ANCHORS = 2
"""Number of ends of a scale."""


CENTRINGS = ("all", "scored")
"""Values of `task.centred_on`."""


MAX_SCORE = 1e9
"""Maximum absolute score of an option: sums of squares stay far below the limits of floats."""


@dataclass(frozen=True)
class Task:
    """A questionnaire or a behavioural task."""

    name: str
    description: str | None
    items: tuple[Item, ...]
    keys: tuple[str, ...]
    """Scales that the items are summed into, for instance values or races."""
    scores: tuple[float, ...]
    """Score of each option in the order of the scale, for items with all options that are not reverse-keyed."""
    centred: bool
    """Whether the mean of a persona's answers in a context is subtracted from its scores."""
    wording: str
    """Name of the file or folder of the items, without its suffix."""
    centred_on: str = "all"
    """Items of the mean that is subtracted: `all`, or the `scored` ones."""
    rescaled: bool = False
    """Whether an item's scores run from 0 to 1 over its own options."""
    anchors: tuple[str, ...] = ()
    """Questions that begin a dialogue: which of its items is at the end of the scale, and which at its beginning."""
    rest: str | None = None
    """A text before the first rating after the anchors."""
    rubric: Rubric | None = None
    """How a judge rates answers in the model's own words; its options are the items'. None if the model chooses one."""
    max_answer_tokens: int = 0
    """The maximum length of an answer in the model's own words, in tokens."""

    @property
    def dialogues(self) -> dict[str, list[int]]:
        """The places of the items that are asked in one dialogue, by the list's name; empty if each stands alone."""
        found: dict[str, list[int]] = {}
        for place, item in enumerate(self.items):
            if item.dialogue:
                found.setdefault(item.dialogue, []).append(place)
        return found

    def scores_of(self, item: Item) -> tuple[float, ...]:
        """Return the score of each option of an item, in the order of the scale.

        An item with fewer options than others has the first scores.
        """
        scores = self.scores[: item.n_options]
        if self.rescaled:
            low, high = min(scores), max(scores)
            scores = tuple((score - low) / (high - low) for score in scores)
        return scores[::-1] if item.reversed else scores

    @property
    def centring_items(self) -> list[int]:
        """Numbers of the items whose mean centred scores are less."""
        return [item.number for item in self.items if self.centred_on == "all" or not item.is_filler]

    @property
    def option_counts(self) -> list[int]:
        """The different numbers of options that items have, in order."""
        return sorted({item.n_options for item in self.items})

    @cached_property
    def they_digest(self) -> str:
        """SHA-256 of the wording with they, in hexadecimal. `digest` has only the wordings with she and he."""
        content = [[item.text.get("X"), item.options.get("X")] for item in self.items]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the questions and their scoring, in hexadecimal."""
        content = [
            self.description,
            self.scores,
            self.centred,
            [item_content(item) for item in self.items],
            # Only where they change scores: older digests do not have them.
            *(["centred on the scored items"] if self.centred and self.centred_on == "scored" else []),
            *(["rescaled"] if self.rescaled else []),
            *(["in dialogues", self.dialogues, self.anchors, self.rest, self._shorts] if self.dialogues else []),
            *([self.rubric.content()] if self.rubric else []),
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def _shorts(self) -> list[str]:
        return [item.short.get("F", "") for item in self.items]


def load_task(config: TaskConfig) -> Task:
    """Return a task with its items, from a CSV file or from a folder with the published PVQ wording.

    Raises:
        ConfigError: if the scale is invalid, or items are missing or have an unknown key.
    """
    path = locate("task.items", config.items)
    rubric = None if config.rubric is None else load_rubric(config.rubric)
    if rubric is not None:
        config = _with_rubric(config, rubric)
        if path.is_dir():
            raise ConfigError("task.rubric", config.rubric, "can't rate the published questionnaire; it has options")
    if len(config.options) < MIN_OPTIONS:
        raise ConfigError("task.options", config.options, f"needs {MIN_OPTIONS} options at least")
    if len(config.scores) != len(config.options):
        raise ConfigError("task.scores", config.scores, f"needs one score for each of {len(config.options)} options")
    if len(config.anchors) > MAX_ANCHORS:
        raise ConfigError("task.anchors", config.anchors, "may be two: which item is highest, and which is lowest")
    if not all(abs(number) <= MAX_SCORE for number in config.scores):
        raise ConfigError("task.scores", config.scores, f"must be finite numbers, of {MAX_SCORE:.0e} at most")
    if config.keys is not None and (not config.keys or len(set(config.keys)) < len(config.keys)):
        raise ConfigError("task.keys", f"[{','.join(config.keys)}]", "needs at least one key, each only once")
    field = re.search(r"\{[^{}]*\}", config.description or "")
    if field:
        raise ConfigError("task.description", field[0], "is the same for everybody, so nothing can be filled in")
    items = read_published_wording(path, config) if path.is_dir() else read_items(path, config)
    items.sort(key=lambda item: item.number)
    named = dict.fromkeys(item.key for item in items if not item.is_filler)
    keys = list(named) if config.keys is None else config.keys
    _check_items(path, items, keys, config)
    _check_centring(items, config)
    if rubric is not None:
        check_criteria(rubric, items, keys)
    return Task(
        name=config.name,
        description=config.description,
        items=tuple(items),
        keys=tuple(keys),
        scores=tuple(config.scores),
        centred=config.centred,
        wording=path.stem if config.texts is None else Path(config.texts).stem,
        centred_on=config.centred_on or "all",
        rescaled=config.rescaled,
        anchors=tuple(config.anchors) if config.dialogue else (),
        rest=config.rest,
        rubric=rubric,
        max_answer_tokens=config.max_answer_tokens if rubric else 0,
    )


def _with_rubric(config: TaskConfig, rubric: Rubric) -> TaskConfig:
    """Return the settings of a task with the options and scores of its rubric."""
    if config.options or config.scores:
        raise ConfigError("task.options", config.options, "are those of task.rubric; leave options and scores out")
    if config.dialogue is not None:
        raise ConfigError(
            "task.dialogue", config.dialogue, "has options to choose from; with task.rubric allowed: null"
        )
    if config.max_answer_tokens < 1:
        raise ConfigError("task.max_answer_tokens", config.max_answer_tokens, "must be at least 1")
    return replace(config, options=list(rubric.options), scores=list(rubric.scores))


def _check_centring(items: Sequence[Item], config: TaskConfig) -> None:
    if config.centred_on is not None:
        require("task.centred_on", config.centred_on, CENTRINGS)
    fillers = [item.number for item in items if item.is_filler]
    if config.centred and fillers and config.centred_on is None:
        raise ConfigError(
            "task.centred_on",
            None,
            f"item {fillers[0]} is asked but not scored; whether it counts in the mean that centred scores are less is "
            f"in the questionnaire's manual; allowed: {', '.join(CENTRINGS)}",
        )


def _check_items(path: Path, items: Sequence[Item], keys: Sequence[str], config: TaskConfig) -> None:
    setting = "task.items"
    check_count(path, len(items), config)
    numbers = sorted(item.number for item in items)
    if numbers != list(range(1, len(items) + 1)):
        raise ConfigError(setting, path, f"must number its items 1 to {len(items)}, each once")
    longest = max(item.n_options for item in items)
    if longest < len(config.options):
        raise ConfigError("task.options", config.options, f"no item has a text for option {longest + 1}")
    for item in items:
        if item.key not in keys and not item.is_filler:
            raise ConfigError(
                setting, path, f"item {item.number} has unknown {config.key} {item.key}; {allowed(item.key, keys)}"
            )
        if any(not text.strip() for text in item.text.values()):
            raise ConfigError(setting, path, f"item {item.number} has no text")
        if any(not option.strip() for options in item.options.values() for option in options):
            raise ConfigError(setting, path, f"item {item.number} has an option without a text before another")
        if len({len(options) for options in item.options.values()}) > 1 or item.n_options < MIN_OPTIONS:
            raise ConfigError(
                setting, path, f"item {item.number} needs {MIN_OPTIONS} options at least, as many for everybody"
            )
        if config.rescaled and len(set(config.scores[: item.n_options])) == 1:
            raise ConfigError("task.rescaled", "true", f"the options of item {item.number} all have the same score")
    unused = [name for name in keys if name not in {item.key for item in items}]
    if unused:
        raise ConfigError(setting, path, f"has no item for the {config.key} {', '.join(unused)}")
