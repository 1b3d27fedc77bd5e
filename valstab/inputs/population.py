"""The population: personas that the model simulates, or repetitions without a persona."""

from dataclasses import dataclass
from typing import Literal, cast

from valstab.config.schema import PopulationConfig
from valstab.errors import ConfigError
from valstab.inputs.files import locate, read_table
from valstab.inputs.templates import render

Gender = Literal["F", "M"]


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


def load_population(config: PopulationConfig) -> tuple[Persona, ...]:
    """Return the personas in the order of their file, or the repetitions; at most `population.limit` of them.

    Raises:
        ConfigError: if the file can't be used, a name is repeated or the limit is out of range.
    """
    if config.personas is None:
        everyone = _repetitions(config.permutations)
    else:
        everyone = _personas(config.personas, config.introduction)
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


def _personas(name: str, introduction: str | None) -> tuple[Persona, ...]:
    setting = "population.personas"
    if introduction is None:
        raise ConfigError("population.introduction", None, 'needs a template such as "{name}, a sailor."')
    path = locate(setting, name)
    personas: dict[str, Persona] = {}
    for row in read_table(setting, path, ("name", "gender")):
        if not row["name"]:
            raise ConfigError(setting, path, "has a row without a name")
        if row["name"] in personas:
            raise ConfigError(setting, path, f"has {row['name']} twice; each name may occur only once")
        if row["gender"] not in {"F", "M"}:
            raise ConfigError(setting, path, f"{row['name']} has gender {row['gender']!r}; allowed: F, M")
        personas[row["name"]] = Persona(
            row["name"],
            cast("Gender", row["gender"]),
            render("population.introduction", introduction, row),
        )
    return tuple(personas.values())
