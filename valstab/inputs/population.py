"""The population: personas that the model simulates, or repetitions without a persona."""

from dataclasses import dataclass

from valstab.config.schema import PopulationConfig
from valstab.errors import ConfigError
from valstab.inputs.files import locate
from valstab.inputs.genders import GENDER_NAMES, Gender, read_gender
from valstab.inputs.tables import DESCRIPTION, Table, read_table
from valstab.inputs.templates import render

COLUMNS = ("name", "gender", "sex")
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


def load_population(config: PopulationConfig) -> tuple[Persona, ...]:
    """Return the personas in the order of their file, or the repetitions; at most `population.limit` of them.

    Raises:
        ConfigError: if the file can't be used, a name is repeated or the limit is out of range.
    """
    everyone = _repetitions(config.permutations) if config.personas is None else _personas(config)
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
    return tuple(personas.values())
