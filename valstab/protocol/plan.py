"""What a run will do: every session of a persona with a topic, and what is asked after each."""

import itertools
from dataclasses import asdict, dataclass

from valstab.config.check import check_config
from valstab.config.schema import Config
from valstab.config.secrets import refuse_secrets
from valstab.inputs.population import Persona, load_population
from valstab.inputs.task import Task, load_task
from valstab.inputs.topics import Context, load_contexts
from valstab.protocol.prompts import Format


@dataclass(frozen=True)
class Session:
    """One persona (or repetition) in one context, with one seed: one conversation, then all questions."""

    seed: int
    context: Context
    persona: Persona

    @property
    def labels(self) -> tuple[int, str, str]:
        """What tells this session apart: seed, context, persona."""
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

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Every combination of seed, context and persona."""
        return tuple(itertools.starmap(Session, itertools.product(self.seeds, self.contexts, self.personas)))

    @property
    def n_texts(self) -> int:
        """The texts of a whole conversation: the opening and the messages."""
        return self.n_messages + 1 if self.n_messages else 0

    @property
    def questions(self) -> int:
        """How many questions are asked in all, retests included."""
        return len(self.sessions) * len(self.task.items) * (1 + self.retests)

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
    check_config(config)
    task, contexts = load_task(config.task), load_contexts(config.topics, config.n_messages)
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
    )


def _form(config: Config) -> Format:
    if config.model.format == "base":
        return Format.BASE
    return Format.SYSTEM if config.model.system_prompt else Format.NO_SYSTEM
