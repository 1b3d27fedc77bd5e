"""The population: personas that the model simulates, or repetitions without a persona."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from valstab.config.inputs import PopulationConfig
from valstab.errors import ConfigError, allowed
from valstab.inputs.files import locate
from valstab.inputs.genders import GENDER_NAMES, Gender, read_gender
from valstab.inputs.tables import DESCRIPTION, Table, read_table
from valstab.inputs.templates import fields_of, render

INTERLOCUTOR = "interlocutor"
"""The column with the name of the persona that speaks with one, in a population's file or in a file of its own."""


GENDER_COLUMNS = ("gender", "sex")
"""Columns of which the first that a population has selects the wording of the questionnaire."""


COLUMNS = ("name", *GENDER_COLUMNS, INTERLOCUTOR)
"""Columns of a population's file that have a meaning; each may be missing."""


NEUTRAL = {DESCRIPTION: f"{{{DESCRIPTION}}}", "persona": "{persona}", "name": "{name}."}
"""The introduction where none is set, by the column that it needs; the first that the file has."""


MAX_REPETITIONS = 100_000
"""Maximum number of repetitions: more would take hours even with the fastest model."""


@dataclass(frozen=True)
class Persona:
    """One simulated participant, or one repetition without a persona."""

    name: str
    """Name of the persona, or a label of the repetition."""
    gender: Gender
    """Gender of the questionnaire's wording."""
    introduction: str | None = None
    """What follows "You are" in the instruction; None without a persona."""
    is_named: bool = True
    """Whether the name is the persona's own, so that prompts can use it; otherwise it only labels results."""
    interlocutor: "Persona | None" = None
    """The persona that speaks with this one; None for a human without a name."""


def load_population(config: PopulationConfig) -> tuple[Persona, ...]:
    """Return the personas in the order of their file, or the repetitions; at most `population.limit` of them.

    Raises:
        ConfigError: if a file can't be used, a name is repeated, an interlocutor is unknown or the limit is out of
            range.
    """
    with_personas = config.personas is not None or bool(config.grid)
    everyone = _personas(config) if with_personas else _repetitions(config.permutations)
    if not with_personas and config.interlocutors is not None:
        raise ConfigError("population.interlocutors", config.interlocutors, "needs a population with personas")
    if config.limit is None:
        return everyone
    if not 1 <= config.limit <= len(everyone):
        raise ConfigError("population.limit", config.limit, f"must be 1 to {len(everyone)}")
    return everyone[: config.limit]


def _repetitions(number: int) -> tuple[Persona, ...]:
    if not 1 <= number <= MAX_REPETITIONS:
        raise ConfigError(
            "population.permutations", number, f"must be 1 to {MAX_REPETITIONS:,} where population.personas is null"
        )
    return tuple(Persona(f"permutation_{i + 1:02d}", "M" if i % 2 == 0 else "F") for i in range(number))


def read_population_table(config: PopulationConfig) -> Table:
    """Return the table of a population with personas: that in its file, or the combinations of its grid.

    Raises:
        ConfigError: if the file or the grid can't be used.
    """
    setting = "population.personas"
    if config.grid:
        if config.personas is not None:
            raise ConfigError(
                setting, config.personas, "must be null with population.grid, as in population=demographics"
            )
        return _crossed(config.grid)
    return read_table(setting, locate(setting, str(config.personas)), optional=COLUMNS)


def _crossed(grid: Mapping[str, Sequence[Any]]) -> Table:
    """Return a row for each combination of a grid's values, the last column changing fastest."""
    setting = "population.grid"
    grid = {column: values for column, values in grid.items() if values}
    if not grid:
        raise ConfigError(setting, "{}", "needs a column with values, such as {age: [25, 65]}")
    for column, values in grid.items():
        if len({str(value) for value in values}) < len(values):
            raise ConfigError(f"{setting}.{column}", values, "must have each value only once")
        if any(not isinstance(value, str | int | float) or isinstance(value, bool) for value in values):
            raise ConfigError(f"{setting}.{column}", values, 'needs texts or numbers; write "yes" and "no" in quotes')
    rows = [dict(zip(grid, map(str, row), strict=True)) for row in itertools.product(*grid.values())]
    sizes = " x ".join(f"{len(values)} {column}" for column, values in grid.items())
    return Table(rows, f"all combinations of {sizes}")


def _personas(config: PopulationConfig) -> tuple[Persona, ...]:
    setting, file = "population.personas", config.personas
    rows = read_population_table(config).rows
    introduction = _introduction(config, rows[0])
    if config.grid:
        setting, file = "population.grid", ", ".join(config.grid)
    personas: dict[str, Persona] = {}
    interlocutors: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        numbered = f"persona_{number:0{len(str(len(rows)))}d}"
        name = ", ".join(row.values()) if config.grid else row.get("name", numbered)
        if not name:
            raise ConfigError(setting, file, "has a row without a name")
        if name in personas:
            raise ConfigError(setting, file, f"has {name} twice; each name may occur only once")
        cell = next((row[column] for column in GENDER_COLUMNS if column in row), "")
        gender = read_gender(cell)
        if gender is None:
            raise ConfigError(setting, file, f"{name} has gender {cell!r}; allowed: {GENDER_NAMES}")
        text = render("population.introduction", introduction, row)
        personas[name] = Persona(name, gender, text, is_named="name" in row and not config.grid)
        if INTERLOCUTOR in row:
            interlocutors[name] = row[INTERLOCUTOR]
    return _with_interlocutors(config, personas, interlocutors)


def _introduction(config: PopulationConfig, row: Mapping[str, str]) -> str:
    """Return the template of introductions, by the columns of a row where none is set."""
    template = config.introduction
    if template is None:
        template = next((text for column, text in NEUTRAL.items() if column in row), None)
    if template is None:
        raise ConfigError("population.introduction", None, 'needs a template such as "a sailor of {age}."')
    untold = [column for column in row if column not in {*fields_of([template]), *GENDER_COLUMNS}]
    if config.grid and untold:
        rule = f"must have {{{untold[0]}}}, or people who differ in it are the same"
        raise ConfigError("population.introduction", template, rule)
    return template


def _with_interlocutors(
    config: PopulationConfig, personas: Mapping[str, Persona], interlocutors: Mapping[str, str]
) -> tuple[Persona, ...]:
    """Return the personas with those who speak with them, by the column of their file or by a file of its own."""
    setting, file = "population.personas", config.personas
    if config.interlocutors is not None:
        setting, file = "population.interlocutors", config.interlocutors
        table = read_table(setting, locate(setting, file), ("persona", INTERLOCUTOR))
        interlocutors = {row["persona"]: row[INTERLOCUTOR] for row in table.rows}
    if not interlocutors:
        return tuple(personas.values())
    _check_interlocutors(setting, str(file), personas, interlocutors)
    return tuple(replace(each, interlocutor=personas[interlocutors[name]]) for name, each in personas.items())


def _check_interlocutors(
    setting: str, file: str, personas: Mapping[str, Persona], interlocutors: Mapping[str, str]
) -> None:
    """Check that each persona, and nobody else, has an interlocutor: another persona of the population."""
    for name in personas:
        if not interlocutors.get(name):
            raise ConfigError(setting, file, f"names no interlocutor for {name}")
    for name, other in interlocutors.items():
        for each in (name, other):
            if each not in personas:
                raise ConfigError(
                    setting, file, f"names {each}, who is not in the population; {allowed(each, personas)}"
                )
        if name == other:
            raise ConfigError(setting, file, f"lets {name} speak with itself; it must be another persona")
