"""The plan of a run: its sessions, and the task that is asked after each."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from valstab.config.check import check_config
from valstab.config.schema import Config
from valstab.config.secrets import refuse_secrets
from valstab.errors import ConfigError
from valstab.inputs.population import Persona, load_population
from valstab.inputs.task import Task, load_task
from valstab.inputs.topics import Context, load_contexts
from valstab.protocol.prompts import ChatFormat


@dataclass(frozen=True)
class Session:
    """One persona (or repetition) in one context with one seed: a conversation, then all questions."""

    seed: int
    context: Context
    persona: Persona

    @property
    def labels(self) -> tuple[int, str, str]:
        """Seed, context name and persona name: unique within a plan."""
        return self.seed, self.context.name, self.persona.name


@dataclass(frozen=True)
class Plan:
    """Everything that determines a run, except the model."""

    chat_format: ChatFormat
    task: Task
    seeds: tuple[int, ...]
    contexts: tuple[Context, ...]
    personas: tuple[Persona, ...]
    n_messages: int
    max_new_tokens: int
    truncates: bool = False
    """Whether the oldest texts are dropped from prompts that do not fit the context window."""
    retests: int = 0
    """Number of times that all questions are repeated with other option orders."""

    answer_samples: int = 0
    """Number of answers that are sampled for each question; 0 reads the exact distribution."""
    answer_thought_tokens: int | None = None
    """Maximum length of the thought before an answer, in tokens; None for a model that does not think."""
    message_thought_tokens: int | None = None
    """The same before a message; 0 for none."""

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All combinations of seed, context and persona, in this order."""
        return tuple(itertools.starmap(Session, itertools.product(self.seeds, self.contexts, self.personas)))

    @property
    def n_texts(self) -> int:
        """Number of texts of a complete conversation: the opening and the messages."""
        return self.n_messages + 1 if self.n_messages else 0

    @property
    def n_questions(self) -> int:
        """Number of questions, retests included."""
        return len(self.sessions) * len(self.task.items) * (1 + self.retests)

    @property
    def without_personas(self) -> bool:
        """Whether the population is a number of repetitions without a persona."""
        return self.personas[0].introduction is None


def make_plan(config: Config) -> Plan:
    """Check the configuration and load its task, population and topics.

    Raises:
        ConfigError: at the first invalid setting.
    """
    refuse_secrets(asdict(config))
    check_config(config)
    task, contexts = load_task(config.task), load_contexts(config.topics, config.n_messages)
    personas = load_population(config.population)
    _require_wordings(task, personas)
    return Plan(
        chat_format=_chat_format(config),
        task=task,
        seeds=tuple(config.seeds),
        contexts=contexts,
        personas=personas,
        n_messages=config.n_messages,
        max_new_tokens=config.max_new_tokens,
        truncates=config.overflow == "truncate",
        retests=config.retests,
        answer_samples=config.answer_samples if config.answer == "sampled" else 0,
        answer_thought_tokens=config.max_thought_tokens if config.answer == "thinking" else None,
        message_thought_tokens=_message_thought_tokens(config),
    )


def _require_wordings(task: Task, personas: Sequence[Persona]) -> None:
    """Check that every item is worded for every persona."""
    persona = next((persona for persona in personas if persona.gender == "X"), None)
    item = next((item for item in task.items if "X" not in item.text), None)
    if persona and item:
        raise ConfigError(
            "task.items",
            task.wording,
            f"is worded with he and she only, but {persona.name} is neither F nor M: give everybody a gender, or write "
            f"both forms of the verbs in item {item.number}, such as {{He}} {{wants|want}}: {item.text['M']}",
        )


def _message_thought_tokens(config: Config) -> int | None:
    if config.answer != "thinking":
        return None
    return config.max_thought_tokens if config.thinking_messages else 0


def _chat_format(config: Config) -> ChatFormat:
    if config.model.format == "base":
        return ChatFormat.BASE
    return ChatFormat.SYSTEM if config.model.system_prompt else ChatFormat.NO_SYSTEM
