"""The plan of a run: its sessions, and the task that is asked after each."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from string import ascii_uppercase

from valstab.config.check import check_config
from valstab.config.engines import OpenaiConfig, VllmConfig
from valstab.config.language import LanguageConfig
from valstab.config.schema import Config, ModelConfig
from valstab.config.secrets import refuse_secrets
from valstab.engines.base import Prompt
from valstab.engines.labels import are_whole
from valstab.errors import ConfigError
from valstab.inputs.population import Persona, load_population
from valstab.inputs.task import Task, load_task
from valstab.inputs.topics import Context, load_contexts
from valstab.inputs.turns import Turns, load_turns
from valstab.protocol.prompts import ChatFormat, language_key, option_labels, reply_prompt
from valstab.protocol.reminders import Reminder, load_reminder

MAX_LETTERS = len(ascii_uppercase)
"""Largest number of options that letters name."""


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

    @property
    def opening(self) -> str | None:
        """The interlocutor's first message; None in the neutral context."""
        return self.context.opening_for(self.persona.name)

    @property
    def interlocutor(self) -> Persona | None:
        """The interlocutor's persona; None for a human without a name."""
        return self.persona.interlocutor if self.context.between_personas else None


@dataclass(frozen=True)
class Plan:
    """Everything that determines a run, except the model."""

    chat_format: ChatFormat
    language: LanguageConfig
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

    option_order: str = "random"
    """`random`, `fixed` or `reversed`."""
    option_labels: str = "letters"
    """`letters`, `numbers` or `words`."""
    item_order: str = "file"
    """Order of the items of a dialogue: `file`, `reversed` or `random`."""
    answer_samples: int = 0
    """Number of answers that are sampled for each question; 0 reads the exact distribution."""
    answer_thought_tokens: int | None = None
    """Maximum length of the thought before an answer, in tokens; None for a model that does not think."""
    message_thought_tokens: int | None = None
    """The same before a message; 0 for none."""
    interlocutor_format: ChatFormat | None = None
    """Format of the interlocutor's prompts if it is another model; None for the same model."""
    turns: Turns | None = None
    """A person's recorded turns, in place of the interlocutor's messages."""
    judge_format: ChatFormat | None = None
    """Format of the judge's prompts, where the task has a rubric."""
    reminder: Reminder | None = None
    """How the tested model is reminded of its persona in a conversation; None for never."""

    @cached_property
    def sessions(self) -> tuple[Session, ...]:
        """All combinations of seed, context and persona, in this order."""
        return tuple(itertools.starmap(Session, itertools.product(self.seeds, self.contexts, self.personas)))

    @cached_property
    def language_key(self) -> tuple[str, ...]:
        """The part of each store key that tells languages apart, as `valstab.protocol.prompts.language_key` returns."""
        return language_key(self.language)

    def n_texts(self, session: Session) -> int:
        """Return the number of texts of a complete conversation: the opening and the messages."""
        return self.n_messages + 1 if session.opening else 0

    def recorded_turn(self, session: Session, n_texts: int) -> str | None:
        """Return the recorded turn that follows so many texts; None if a model speaks."""
        if self.turns is None or not n_texts or n_texts % 2:
            return None
        return self.turns.of(session.context.name, session.persona.name)[n_texts // 2 - 1]

    def is_other_model(self, n_texts: int) -> bool:
        """Return whether another model than the tested one speaks after so many texts."""
        return self.interlocutor_format is not None and n_texts % 2 == 0

    def seen(self, persona: Persona, texts: Sequence[str]) -> Sequence[str]:
        """Return the texts of a conversation as the tested model reads them: with reminders of the persona."""
        return texts if self.reminder is None else self.reminder.seen(persona, texts)

    def seen_key(self, persona: Persona, n_texts: int, n_dropped: int) -> tuple[str, ...]:
        """Return the part of a store key that belongs to `seen`: after so many texts, without the oldest."""
        return () if self.reminder is None else self.reminder.key(persona, n_texts, n_dropped)

    def reply_prompt(self, session: Session, texts: Sequence[str], n_dropped: int = 0) -> Prompt:
        """Return the prompt for the message that follows `texts`, as its speaker reads it.

        Args:
            session: whose conversation it is.
            texts: the opening and the messages so far.
            n_dropped: number of the oldest texts to leave out.
        """
        seen = self.seen(session.persona, texts) if len(texts) % 2 else texts
        return reply_prompt(
            self.format_after(len(texts)),
            session.persona,
            seen[n_dropped:],
            language=self.language,
            interlocutor=session.interlocutor,
        )

    def format_after(self, n_texts: int) -> ChatFormat:
        """Return the format of the prompts of the one who speaks after so many texts."""
        return (self.is_other_model(n_texts) and self.interlocutor_format) or self.chat_format

    @property
    def conversing(self) -> tuple[Session, ...]:
        """The sessions with a conversation."""
        return tuple(session for session in self.sessions if session.opening)

    @property
    def first(self) -> Session:
        """The first session with a conversation, or else the first."""
        return next((session for session in self.sessions if session.opening), self.sessions[0])

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
    task, personas = load_task(config.task), load_population(config.population)
    contexts = load_contexts(config.topics, config.n_messages, personas)
    _require_wordings(task, personas)
    if task.rubric is not None:
        _check_judge(config)
    _check_labels(config, task)
    if task.dialogues and config.overflow == "truncate":
        raise ConfigError("overflow", config.overflow, "leaves no dialogue whole; with task.dialogue allowed: stop")
    if any(persona.interlocutor for persona in personas):
        _require_interlocutor_text(config)
    chat_format, turns = _chat_format(config.model), config.interlocutor.turns
    other = config.interlocutor.model
    return Plan(
        chat_format=chat_format,
        language=config.language,
        task=task,
        seeds=tuple(config.seeds),
        contexts=contexts,
        personas=personas,
        n_messages=config.n_messages,
        max_new_tokens=config.max_new_tokens,
        truncates=config.overflow == "truncate",
        retests=config.retests,
        option_order=config.option_order,
        option_labels=config.option_labels,
        item_order=config.item_order,
        answer_samples=config.answer_samples if config.answer == "sampled" else 0,
        answer_thought_tokens=config.max_thought_tokens if config.answer == "thinking" else None,
        message_thought_tokens=_message_thought_tokens(config),
        interlocutor_format=None if other is None else _chat_format(other),
        turns=None if turns is None else load_turns(turns, contexts, personas, config.n_messages // 2),
        judge_format=None if task.rubric is None else _chat_format(config.judge.model or config.model),
        reminder=load_reminder(config, chat_format, personas),
    )


def _check_judge(config: Config) -> None:
    """Check that somebody rates the answers to a task with a rubric, which are written in the model's own words."""
    if config.judge.name == "none":
        raise ConfigError(
            "judge", "none", f"task={config.task.name} needs one; allowed: same, or model with model@judge.model=..."
        )
    if config.answer != "letter":
        raise ConfigError("answer", config.answer, "with task.rubric the judge reads the answer; allowed: letter")


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


def _check_labels(config: Config, task: Task) -> None:
    """Check that labels name all options, and that the engine can read them."""
    setting, kind = "option_labels", config.option_labels
    reader = (task.rubric and config.judge.engine) or config.engine
    offered = [options for item in task.items for options in item.options.values()]
    longest = max(map(len, offered))
    if kind == "letters" and longest > MAX_LETTERS:
        raise ConfigError(setting, kind, f"{MAX_LETTERS} letters can't name {longest} options; set {setting}=numbers")
    for options in offered if kind == "words" else ():
        if len({option.casefold() for option in options}) < len(options):
            raise ConfigError(setting, kind, f"two options have the same text: {', '.join(options)}")
    listed = [[""] * len(places) for places in task.dialogues.values()] if task.anchors else []
    numbered = any(len(options) > MAX_LETTERS for options in listed)
    if not numbered and not any(are_whole(option_labels(kind, options)) for options in offered):
        return
    first_token = isinstance(reader, OpenaiConfig) and config.answer == "letter" and reader.top_logprobs
    if first_token or (isinstance(reader, VllmConfig) and config.answer != "sampled"):
        other = " or engine.top_logprobs=0" if first_token else ""
        raise ConfigError(
            setting,
            kind,
            f"engine={reader.name} reads the first token only, and labels have several characters"
            f"{' (the numbers of the items of an anchor)' if numbered else ''}; set answer=sampled{other}, which read "
            f"the text{'' if numbered else f', or {setting}=letters'}",
        )


def _message_thought_tokens(config: Config) -> int | None:
    if config.answer != "thinking":
        return None
    return config.max_thought_tokens if config.thinking_messages else 0


def _require_interlocutor_text(config: Config) -> None:
    """Check that the language has the instruction of an interlocutor who is a persona."""
    model = config.interlocutor.model or config.model
    name = "base_persona_interlocutor" if model.format == "base" else "persona_interlocutor"
    if not getattr(config.language, name):
        raise ConfigError(
            f"language.{name}",
            "",
            f"{config.language.name} needs it for personas with interlocutors, as english has it",
        )


def _chat_format(model: ModelConfig) -> ChatFormat:
    if model.format == "base":
        return ChatFormat.BASE
    return ChatFormat.SYSTEM if model.system_prompt else ChatFormat.NO_SYSTEM
