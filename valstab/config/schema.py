"""The settings of a run and of rescoring: the dataclasses that Hydra checks keys and types against."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from valstab.config.engines import EngineConfig
from valstab.config.inputs import PopulationConfig, ReminderConfig, TaskConfig, TopicsConfig
from valstab.config.language import LanguageConfig

QUANTIZATIONS = ("none", "8bit", "4bit", "int8")
"""Values of `model.quantization`."""


DTYPES = ("auto", "float32", "bfloat16", "float16")
"""Values of `model.dtype`."""


FORMATS = ("auto", "base", "chat")
"""Values of `model.format`."""


UNDEFINED = ("zero", "drop")
"""Values of `undefined`."""


ROUNDINGS = ("nine_decimals", "none")
"""Values of `rounding`."""


OVERFLOWS = ("stop", "truncate")
"""Values of `overflow`."""


ANSWERS = ("letter", "thinking", "sampled")
"""Values of `answer`."""


OPTION_ORDERS = ("random", "fixed", "reversed")
"""Values of `option_order`."""


ITEM_ORDERS = ("file", "reversed", "random")
"""Values of `item_order`."""


OPTION_LABELS = ("letters", "numbers", "words")
"""Values of `option_labels`."""


MEASURES = ("rank_order", "ipsative")
"""Values of `figure.measure`: the two stabilities of a run."""


@dataclass
class SamplingConfig:
    """How messages are sampled. A null setting is taken from the checkpoint's generation config."""

    temperature: float | None = None
    """The sampling temperature; 0 is greedy: the most probable token each time."""
    top_p: float | None = None
    """Sample from the smallest set of most probable tokens whose total probability reaches this value; 1 is all."""
    top_k: int | None = None
    """Sample from so many of the most probable tokens; 0 is all."""
    min_p: float | None = None
    """Sample from tokens at least so probable, relative to the most probable one; 0 is all."""
    repetition_penalty: float | None = None
    """Penalty on the scores of tokens that the text already contains; 1 changes nothing."""


@dataclass
class ModelConfig:
    """A language model: its weights, its prompt format and its precision."""

    name: str = MISSING
    """The model's name in results."""
    path: str | None = None
    """A hub id, a folder, a GGUF file, or `package:NAME/FILE` for a GGUF file in an installed package."""
    format: str = "chat"
    """`chat` for a tuned model, with its own chat template; `base` for a base model, with one line per message.

    `auto` is `chat` if the tokenizer has a chat template, else `base`.
    """
    system_prompt: bool | None = True
    """Whether a chat model gets its instruction as a system message; false gives it in a user message (paper B.2).

    null is true if the chat template accepts a system message.
    """
    template: dict[str, Any] = field(default_factory=dict)
    """Additional arguments of the chat template, such as `enable_thinking: false`."""
    dtype: str = "auto"
    """The precision: `float32`, `bfloat16`, `float16` or `auto`.

    `auto` is bfloat16 on GPUs that support it, on CPUs with AMX and on AMD's with AVX-512 for it, otherwise float32 on
    a CPU and float16 on a GPU.
    """
    quantization: str = "none"
    """How the weights are quantised when they are loaded: `none`, `8bit`, `4bit` or `int8`.

    With `none`, their precision is `dtype`. `8bit` and `4bit` are those of bitsandbytes. `int8`, on CPUs alone, also
    rounds what the weights are multiplied with.
    """
    adapter: str | None = None
    """A folder with a LoRA in PEFT's format, or `package:NAME/FOLDER`, which is added to the weights; null is none."""
    trust_remote_code: bool = False
    """Whether to run Python code that the checkpoint brings along."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)


@dataclass
class InterlocutorConfig:
    """Who speaks with the tested model: a second instance of it, another model, or a person with recorded turns."""

    name: str = "same"
    """The interlocutor's name in results."""
    model: ModelConfig | None = None
    """Another model; null is the tested one."""
    engine: EngineConfig | None = None
    """The engine of the other model."""
    turns: str | None = None
    """A file (CSV or JSON) with recorded turns, a row for each, in their order; the opening is not among them.

    The columns are topic, text and, optionally, persona. Rows without a persona are for everybody else.
    """


@dataclass
class JudgeConfig:
    """Who rates answers in the model's own words, by the task's rubric: the tested model itself, or another model."""

    name: str = "none"
    """The judge's name in results: `none`, `same` or another model's."""
    model: ModelConfig | None = None
    """Another model; null is the tested one, without a persona and without the conversation."""
    engine: EngineConfig | None = None
    """The engine of the other model."""


@dataclass
class TrackingConfig:
    """Where results are logged. MLflow's environment variable MLFLOW_TRACKING_URI names the server or database."""

    experiment: str = "valstab"
    """The name of the MLflow experiment that the run is logged in."""


@dataclass
class StoreConfig:
    """Where conversations and answers are stored, so that none is computed twice."""

    path: str | None = ".valstab"
    """The store's folder, relative to the launch directory; null stores nothing."""


@dataclass
class Config:
    """A run: a model plays a population, converses on topics, and answers a task's questions."""

    model: ModelConfig = MISSING
    engine: EngineConfig = MISSING
    population: PopulationConfig = MISSING
    topics: TopicsConfig = MISSING
    task: TaskConfig = MISSING
    language: LanguageConfig = MISSING
    interlocutor: InterlocutorConfig = field(default_factory=InterlocutorConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    reminder: ReminderConfig = field(default_factory=ReminderConfig)
    n_messages: int = MISSING
    """Messages that are generated for a conversation: odd, so that the tested model speaks last, or 0 for none."""
    max_new_tokens: int = 100
    """The maximum length of a generated message, in tokens."""
    overflow: str = "stop"
    """What to do if a conversation may not fit the model's context window: `stop` or `truncate`.

    `stop` ends the run before anything is generated. `truncate` leaves the oldest messages out of the prompts, as many
    as necessary.
    """
    option_order: str = "random"
    """The order of the options: `random`, drawn for each question; `fixed`, that of the scale; or `reversed`."""
    option_labels: str = "letters"
    """What names an option: `letters` (A to Z), `numbers` (1, 2, ...), or `words`: its own text, without a label."""
    item_order: str = "file"
    """The order of a dialogue's items: that of the `file`, `reversed`, or `random`, drawn for each conversation.

    It needs `task.dialogue`: items that are asked by themselves do not see one another.
    """
    answer: str = "letter"
    """How an answer is obtained: `letter`, `thinking` or `sampled`.

    `letter` reads the exact probability of each letter after "Answer: (". `thinking` does so after a thought about the
    question. `sampled` draws `answer_samples` answers from the model's own sampling; their frequencies take the place
    of the probabilities.
    """
    max_thought_tokens: int = 512
    """With `answer=thinking`: the maximum length of a thought, in tokens. A longer one is closed there."""
    thinking_messages: bool = False
    """With `answer=thinking`: whether the model also thinks before each message. Thoughts are not passed on."""
    answer_samples: int = 10
    """With `answer=sampled`: the number of answers to each question. More only add to those in the store."""
    retests: int = 0
    """How often all questions are repeated after the same conversations, with other option orders."""
    seeds: list[int] = MISSING
    """Each seed is a whole repetition, with conversations and option orders of its own."""
    undefined: str = "zero"
    """How to count an undefined correlation, of which one side is constant: `zero` as 0; `drop` leaves it out."""
    max_unread_answers: float = 0.05
    """The largest share of unread answers with which a run has a headline; with more, it fails. 1 allows all."""
    max_empty_messages: float = 0.2
    """The largest share of empty messages with which a run has a headline; with more, it fails. 1 allows all."""
    axes: dict[str, Any] = field(default_factory=dict)
    """What varies between the runs of a study, by name: for each axis the names of its levels and their overrides.

    The first level of each is the study's base. `+axes=[NAME,...]` takes some of those that are ready.
    """
    axes_crossed: bool = False
    """Whether all combinations of levels are run; otherwise the base, and each other level by itself."""
    figures: list[str] = field(default_factory=list)
    """What a sweep ends with: figures of `valstab compare` of its runs, each by its name, with overrides behind it.

    With axes, `axes` is one.
    """
    levels: dict[str, str] = field(default_factory=dict)
    """The level of each axis that a run of a study is at; the study sets it."""
    dry_run: bool = False
    """Whether only to estimate the run's tokens, time and memory, without making it."""
    store: StoreConfig = field(default_factory=StoreConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class RescoreConfig:
    """The settings of `python -m valstab rescore`: saved answers, and the task that they belong to."""

    answers: str = MISSING
    """A Parquet file with at least the columns seed, context, persona, item and score.

    A folder with results of the paper's published code is accepted too.
    """
    task: TaskConfig = MISSING
    permutations: bool = False
    """Whether the answers are of repetitions without a persona (`population=none`)."""
    undefined: str = "zero"
    """As for a run: `zero` or `drop`."""
    rounding: str = "nine_decimals"
    """Which scores count as equal in ranks: equal to `nine_decimals`, or with `none`, as in the paper's published code,
    only the same floating-point numbers."""
