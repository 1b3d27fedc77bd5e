"""The settings of a run's inputs: its people and reminders of them, its topics, and its questions."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

REMINDER_SLOTS = ("user", "system")
"""Values of `reminder.slot`."""


@dataclass
class PopulationConfig:
    """The personas that the model plays, or a number of repetitions without a persona."""

    name: str = MISSING
    """The population's name in results."""
    personas: str | None = None
    """A file with a row for each person and the columns that `introduction` uses; null for no personas.

    It is CSV, JSON, or text with a description on each line. The columns name and gender (F, M or X) are optional.
    """
    grid: dict[str, list[Any]] = field(default_factory=dict)
    """In place of a file: the values of each column, of which all combinations are people without names.

    A column gender (F, M or X) selects the wording of the questionnaire. Columns without values are left out.
    """
    introduction: str | None = None
    """The text after "You are", as a template with the file's columns in braces, such as `{name}`.

    null is the file's column description or persona, or else the name alone.
    """
    interlocutors: str | None = None
    """A file with the columns persona and interlocutor: for each persona another one, which speaks with it.

    A column interlocutor in the file of `personas` does the same. null is a human without a name.
    """
    permutations: int = 0
    """Without personas: the number of repetitions, each with its own option orders and conversations."""
    limit: int | None = None
    """Take only the first so many."""
    seeds: list[int] = field(default_factory=list)
    """The default of a run's `seeds` with this population."""


@dataclass
class ReminderConfig:
    """A reminder of the persona between the messages of a conversation, which the tested model alone reads."""

    every: int = 0
    """Remind before every so many messages, the opening included: even, since an interlocutor's follows; 0 is never."""
    slot: str = "user"
    """Where: `user`, before the interlocutor's text in its message; or `system`, in a system message before it.

    For a base model `system` is a line of its own. Many chat templates take no system message within a conversation.
    """
    text: str | None = None
    """What it says, a template with `{introduction}`; null is the language's own."""


@dataclass
class TopicsConfig:
    """The topics of the conversations: the contexts that stability is measured across."""

    name: str = MISSING
    """The name of this set of topics in results."""
    openings: str | None = None
    """A file with the opening of each topic, the interlocutor's first message; each persona may have its own.

    YAML maps the name of each topic to its opening, or to a mapping of personas to theirs. CSV or JSON has a row for
    each opening, with the columns topic, text and, optionally, persona.
    """
    posts: str | None = None
    """A second such file, whose topics are added to those of `openings`, or replace them; null is none."""
    names: list[str] | None = None
    """The topics to use, by their names in the files; null uses all."""
    neutral: str | None = None
    """The name of a context without conversation that comes before the topics; null is none.

    Without messages it is the only context, called neutral where this is null.
    """
    between_personas: list[str] | None = None
    """The topics on which the population's interlocutors speak, if it has some; null is all."""


@dataclass
class TaskConfig:
    """The questions after each conversation, and the scores of their answers."""

    name: str = MISSING
    """The task's name in results. The option orders depend on it: another name draws other orders."""
    items: str = MISSING
    """A file (CSV or JSON) with a row for each item, the column that `key` names, and the columns that `text` uses.

    Optional columns are item (1, 2, ...), gender (of the person in the item), reversed (true) or keyed (+1 or -1), and
    filler (true for an item that is not scored). A folder with the published PVQ is accepted too.
    """
    texts: str | None = None
    """A file with the column `text` of the items, where `items` has only their key, or to replace its texts.

    It has the items in order or a column item; a text file has one on each line. null is the texts of `items`.
    """
    n_items: int = MISSING
    """The number of items that the file must have, so that a truncated file is noticed."""
    text: str = MISSING
    """The text of an item, as a template with the file's columns and the pronouns {he} {He} {him} {his} {himself}.

    `{wants|want}` is a verb that agrees with them.
    """
    description: str | None = None
    """A text before every item, separated from it by a blank line."""
    options: list[str] = field(default_factory=list)
    """The answer options in the order of the scale, as templates like `text`. Empty ones at the end are not offered."""
    scores: list[float] = field(default_factory=list)
    """The score of each option. Reversed items use the scores in reverse order."""
    rubric: str | None = None
    """A file (YAML) by which a judge rates answers in the model's own words: `instruction`, `criteria`, and the judge's
    `options` with their `scores`, in the place of the task's.

    null has the model choose an option itself.
    """
    max_answer_tokens: int = 150
    """With `rubric`: the maximum length of an answer in the model's own words, in tokens."""
    key: str = MISSING
    """The CSV column with the key of each item, such as the value or the race that it measures."""
    keys: list[str] | None = MISSING
    """All keys, in the order of the results; null takes them from the column, in order of appearance."""
    centred: bool = False
    """Whether scores are centred: less the persona's mean over all items in the same context, as for the PVQ."""
    centred_on: str | None = None
    """Whether that mean is over `all` items or the `scored` ones; to be set where some are fillers."""
    rescaled: bool = False
    """Whether an item's scores run from 0 to 1 over its own options, so that items with fewer count as much."""
    dialogue: str | None = None
    """A column of the items' file: those with the same cell are asked in one dialogue, with earlier answers in view.

    `all` asks all items in one dialogue, as people fill in a questionnaire. null asks each item by itself.
    """
    anchors: list[str] = field(default_factory=list)
    """With `dialogue`: up to two questions that begin one, whose options are its items.

    The item that answers the first gets the end of the scale, that of the second its beginning. The others are rated.
    """
    short: str = "{text}"
    """With `anchors`: the text of an item as an option, as a template like `text`."""
    rest: str | None = None
    """With `anchors`: a text before the first of the other items."""
