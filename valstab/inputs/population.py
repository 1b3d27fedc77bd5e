"""The population: personas that the model simulates, or repetitions without a persona."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from valstab.config.inputs import PopulationConfig
from valstab.errors import ConfigError, allowed
from valstab.inputs.files import locate
from valstab.inputs.genders import GENDER_NAMES, Gender, read_gender
from valstab.inputs.tables import DESCRIPTION, Table, read_table
from valstab.inputs.templates import render

INTERLOCUTOR = "interlocutor"
"""The column with the name of the persona that speaks with one, in a population's file or in a file of its own."""


COLUMNS = ("name", "gender", "sex", INTERLOCUTOR)
"""Columns of a population's file that have a meaning; each may be missing."""


NEUTRAL = {DESCRIPTION: f"{{{DESCRIPTION}}}", "name": "{name}."}
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
    everyone = _repetitions(config.permutations) if config.personas is None else _personas(config)
    if config.personas is None and config.interlocutors is not None:
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
    """Return the table in the file of a population with personas.

    Raises:
        ConfigError: if the file can't be used.
    """
    setting = "population.personas"
    return read_table(setting, locate(setting, str(config.personas)), optional=COLUMNS)


def _personas(config: PopulationConfig) -> tuple[Persona, ...]:
    setting, file = "population.personas", config.personas
    rows = read_population_table(config).rows
    introduction = config.introduction
    if introduction is None:
        introduction = next((text for column, text in NEUTRAL.items() if column in rows[0]), None)
    if introduction is None:
        raise ConfigError("population.introduction", None, 'needs a template such as "a sailor of {age}."')
    personas: dict[str, Persona] = {}
    interlocutors: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        name = row.get("name", f"persona_{number:0{len(str(len(rows)))}d}")
        if not name:
            raise ConfigError(setting, file, "has a row without a name")
        if name in personas:
            raise ConfigError(setting, file, f"has {name} twice; each name may occur only once")
        cell = row.get("gender", row.get("sex", ""))
        gender = read_gender(cell)
        if gender is None:
            raise ConfigError(setting, file, f"{name} has gender {cell!r}; allowed: {GENDER_NAMES}")
        personas[name] = Persona(
            name, gender, render("population.introduction", introduction, row), is_named="name" in row
        )
        if INTERLOCUTOR in row:
            interlocutors[name] = row[INTERLOCUTOR]
    if config.interlocutors is not None:
        setting, file = "population.interlocutors", config.interlocutors
        table = read_table(setting, locate(setting, file), ("persona", INTERLOCUTOR))
        interlocutors = {row["persona"]: row[INTERLOCUTOR] for row in table.rows}
    if interlocutors:
        _check_interlocutors(setting, str(file), personas, interlocutors)
        return tuple(replace(each, interlocutor=personas[interlocutors[name]]) for name, each in personas.items())
    return tuple(personas.values())


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
