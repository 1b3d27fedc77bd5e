"""What a run will do: every encounter of a persona with a topic, and what is asked after each."""

import itertools
from dataclasses import asdict, dataclass

from valstab.config import Config, ConfigError, check
from valstab.population import Persona, load_population
from valstab.prompts import Format
from valstab.secrecy import refuse_secrets
from valstab.task import Task, load_task
from valstab.topics import Context, load_contexts


@dataclass(frozen=True)
class Encounter:
    """One persona (or repetition) in one context, with one seed: one conversation, then all questions."""

    seed: int
    context: Context
    persona: Persona

    @property
    def labels(self) -> tuple[int, str, str]:
        """What tells this encounter apart: seed, context, persona."""
        return self.seed, self.context.name, self.persona.name


@dataclass(frozen=True)
class Plan:
    """Everything that determines a run but the model."""

    form: Format
    task: Task
    seeds: tuple[int, ...]
    contexts: tuple[Context, ...]
    personas: tuple[Persona, ...]
    n_messages: int
    max_new_tokens: int
    truncates: bool = False
    """Whether the oldest messages are left out where not all fit what the model can read."""
    retests: int = 0
    part: int = 1
    parts: int = 1
    """The plan is one of so many parts of a run: every so many-th seed and context."""

    @property
    def encounters(self) -> tuple[Encounter, ...]:
        """Every combination of seed, context and persona, of this part."""
        places = list(itertools.product(self.seeds, self.contexts))[self.part - 1 :: self.parts]
        return tuple(Encounter(seed, context, persona) for seed, context in places for persona in self.personas)

    @property
    def n_texts(self) -> int:
        """The texts of a whole conversation: the opening and the messages."""
        return self.n_messages + 1 if self.n_messages else 0

    @property
    def questions(self) -> int:
        """How many questions are asked in all, retests included."""
        return len(self.encounters) * len(self.task.items) * (1 + self.retests)

    @property
    def permutations(self) -> bool:
        """Whether there are repetitions without a persona instead of personas."""
        return self.personas[0].introduction is None


def make_plan(config: Config) -> Plan:
    """Check the whole configuration and load what it names.

    Raises:
        ConfigError: at the first setting that can't be used.
    """
    refuse_secrets(asdict(config))
    check(config)
    task, contexts = load_task(config.task), load_contexts(config.topics, config.n_messages)
    most = len(config.seeds) * len(contexts)
    if config.parts > most:
        raise ConfigError("parts", config.parts, f"must be at most {most}, the number of seeds times contexts")
    return Plan(
        form=_form(config),
        task=task,
        seeds=tuple(config.seeds),
        contexts=contexts,
        personas=load_population(config.population),
        n_messages=config.n_messages,
        max_new_tokens=config.max_new_tokens,
        truncates=config.overflow == "truncate",
        retests=config.retests,
        part=config.part or 1,
        parts=config.parts,
    )


def _form(config: Config) -> Format:
    if config.model.format == "base":
        return Format.BASE
    return Format.SYSTEM if config.model.system_prompt else Format.NO_SYSTEM
