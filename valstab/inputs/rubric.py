"""Rubrics: how a judge rates answers in a model's own words, read from a YAML file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from valstab.errors import ConfigError, allowed, require_text
from valstab.inputs.files import locate, read_text
from valstab.inputs.items import Item
from valstab.inputs.templates import fields_of, render

SETTING = "task.rubric"
"""The setting that names the file."""


FIELDS = ("item", "answer", "criterion", "key")
"""What an instruction may have in braces."""


@dataclass(frozen=True)
class Rubric:
    """What a judge is asked of an answer, and what it may say."""

    instruction: str
    """The judge's question, as a template with `{item}`, `{answer}`, `{criterion}` and `{key}`."""
    options: tuple[str, ...]
    """What the judge chooses from, in the order of the scale; templates like the task's `text`."""
    scores: tuple[float, ...]
    criteria: Mapping[str, str]
    """What is rated, by the key or the number of an item."""

    def criterion(self, item: Item) -> str:
        """Return what is rated in answers to an item: that of its number, or else of its key; empty if neither has."""
        return self.criteria.get(str(item.number)) or self.criteria.get(item.key, "")

    def question(self, item: Item, text: str, answer: str) -> str:
        """Return what the judge is asked of one answer, without the options.

        Args:
            item: the item.
            text: the item as it was asked.
            answer: the answer.
        """
        fields = {"item": text, "answer": answer, "criterion": self.criterion(item), "key": item.key}
        return render(SETTING, self.instruction, fields)

    def content(self) -> dict[str, Any]:
        """Return the rubric as plain data, for the task's digest."""
        return asdict(self)


def load_rubric(name: str) -> Rubric:
    """Return the rubric of a file.

    Raises:
        ConfigError: if the file can't be used.
    """
    path = locate(SETTING, name)
    try:
        # Its base loader takes No and 1 for the texts that they are.
        document = yaml.load(read_text(SETTING, path), Loader=yaml.BaseLoader)  # noqa: S506 - it makes nothing else
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(SETTING, path, f"must be a YAML file ({error})") from None
    known = ("instruction", "options", "scores", "criteria")
    if not isinstance(document, dict) or not {"instruction", "options", "scores"} <= set(document):
        raise ConfigError(SETTING, path, "must have an instruction, options and scores; criteria are optional")
    for unknown in (part for part in document if part not in known):
        raise ConfigError(SETTING, path, f"has {unknown}; {allowed(unknown, known)}")
    instruction, options = document["instruction"], document["options"]
    criteria = document.get("criteria") or {}
    if not isinstance(instruction, str) or not isinstance(options, list) or not isinstance(criteria, dict):
        raise ConfigError(SETTING, path, "its instruction must be a text, its options a list, its criteria a mapping")
    texts = [instruction, *options, *criteria, *criteria.values()]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ConfigError(SETTING, path, "its options and criteria must be texts that are not empty")
    require_text(SETTING, path, "".join(texts))
    try:
        scores = tuple(float(score) for score in document["scores"])
    except (ValueError, TypeError):
        raise ConfigError(SETTING, path, "its scores must be numbers") from None
    if "answer" not in fields_of([instruction]):
        raise ConfigError(SETTING, path, "its instruction must have {answer}, where the judge reads the answer")
    render(SETTING, instruction, dict.fromkeys(FIELDS, ""))
    return Rubric(instruction, tuple(options), scores, criteria)


def check_criteria(rubric: Rubric, items: Sequence[Item], keys: Sequence[str]) -> None:
    """Check that criteria are of items and keys of the task, and that no item lacks one that the instruction needs.

    Raises:
        ConfigError: if not.
    """
    names = [*keys, *(str(item.number) for item in items)]
    for unknown in (name for name in rubric.criteria if name not in names):
        raise ConfigError(SETTING, unknown, f"is a criterion of no item; {allowed(unknown, names)}")
    lacking = next((item for item in items if not rubric.criterion(item)), None)
    if lacking and "criterion" in fields_of([rubric.instruction]):
        raise ConfigError(
            SETTING, lacking.key or lacking.number, f"has no criterion, which item {lacking.number} needs"
        )
