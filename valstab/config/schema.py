"""The settings of a run, of rescoring and of a comparison: the dataclasses that Hydra checks keys and types against."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from valstab.config.engines import EngineConfig

QUANTIZATIONS = ("none", "8bit", "4bit")


DTYPES = ("auto", "float32", "bfloat16", "float16")


FORMATS = ("auto", "base", "chat")


UNDEFINED = ("zero", "drop")


OVERFLOWS = ("stop", "truncate")


MEASURES = ("rank_order", "ipsative")


FIGURE_KINDS = (
    *("bars", "tests", "lines", "context_pairs", "values_and_behaviour", "components"),
    *("neutral_profile", "neutral_order", "appraisal", "leaderboard"),
)


@dataclass
class SamplingConfig:
    """How messages are sampled; what is null comes from the checkpoint's own generation config."""

    temperature: float | None = None
    """Above 0: messages are always sampled."""
    top_p: float | None = None
    """Sample from the most probable tokens that together have this probability."""
    top_k: int | None = None
    """Sample from so many of the most probable tokens; 0 is all."""
    repetition_penalty: float | None = None
    """What the scores of tokens that are already there are divided by; 1 changes nothing."""


@dataclass
class ModelConfig:
    """A language model: where its weights are and how to talk to it."""

    name: str = MISSING
    """What it is called in results."""
    path: str | None = None
    """A hub id, a folder, a GGUF file, or `package:NAME/FILE` for a GGUF file inside an installed package."""
    format: str = "chat"
    """`chat` for a tuned model (its own chat template), `base` for a base model (one line a message).

    `auto` is `chat` where the tokenizer has a chat template, else `base`.
    """
    system_prompt: bool | None = True
    """Whether a chat model's instruction goes in its system slot, or else in a user message (paper B.2).

    null is true where the chat template has such a slot.
    """
    template: dict[str, Any] = field(default_factory=dict)
    """Arguments of the chat template, such as `enable_thinking: false`."""
    dtype: str = "auto"
    """`auto` is bfloat16 where it is fast (CPUs with AMX, GPUs that know it), else float32 (CPU) or float16 (GPU)."""
    quantization: str = "none"
    """The precision of the weights: `none` is that of `dtype`, `8bit` or `4bit` quantises them as they are loaded."""
    trust_remote_code: bool = False
    """Whether the model's own Python code may run."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)


@dataclass
class PopulationConfig:
    """Whom the model is told to be."""

    name: str = MISSING
    """What it is called in results."""
    personas: str | None = None
    """A CSV file with the columns name, gender (F or M) and any others that `introduction` uses."""
    introduction: str | None = None
    """Completes "You are ...": a template over the CSV's columns."""
    permutations: int = 0
    """Without personas: how often the same questionnaire is given, each time with other option orders."""
    limit: int | None = None
    """Take only the first so many."""
    seeds: list[int] = field(default_factory=list)
    """The seeds that the protocol uses with this population."""


@dataclass
class TopicsConfig:
    """What the conversations are about: the contexts that stability is measured across."""

    name: str = MISSING
    """What they are called in results."""
    openings: str | None = None
    """A YAML file that maps each topic's name to the interlocutor's first message."""
    names: list[str] | None = None
    """Which of the file's topics; all if null."""


@dataclass
class TaskConfig:
    """What is asked after each conversation, and how answers become scores."""

    name: str = MISSING
    """What it is called in results; also part of what the order of options is drawn from."""
    items: str = MISSING
    """A CSV file with the columns item (1, 2, ...), `key` and those of `text`, or a folder with the published PVQ.

    Optional columns: gender (F or M, of whom the item is about) and reversed (true for items that count the other way
    round).
    """
    n_items: int = MISSING
    """How many items the file must have, so that a truncated one is noticed."""
    text: str = MISSING
    """An item's text: a template over the CSV's columns and the pronouns {he} {He} {him} {his} {himself}."""
    description: str | None = None
    """What stands before every item, a blank line between."""
    options: list[str] = MISSING
    """The suggested answers in the order of the scale: templates like `text`."""
    scores: list[float] = MISSING
    """What each of the options counts; the other way round for items whose column `reversed` is true."""
    key: str = MISSING
    """The CSV column that says which value, race or other key an item belongs to."""
    keys: list[str] | None = MISSING
    """All keys, in the order of results; null for what the column has, in order of appearance."""
    centred: bool = False
    """Whether a person's mean over all items in a context is subtracted (PVQ)."""


@dataclass
class TrackingConfig:
    """Where results are logged. The server is MLflow's own setting: MLFLOW_TRACKING_URI."""

    experiment: str = "valstab"
    """The MLflow experiment that the run belongs to."""


@dataclass
class StoreConfig:
    """Where conversations and answers are kept, so that none is computed twice."""

    path: str | None = ".valstab"
    """A folder, by default beside the launch directory; null keeps nothing."""


@dataclass
class Config:
    """A run: a model, as a population, talks on topics, then answers a task's questions."""

    model: ModelConfig = MISSING
    engine: EngineConfig = MISSING
    population: PopulationConfig = MISSING
    topics: TopicsConfig = MISSING
    task: TaskConfig = MISSING
    n_messages: int = MISSING
    """Messages that are generated for a conversation: odd, so that the tested model speaks last, or 0 for none."""
    max_new_tokens: int = 100
    """The longest message, in tokens."""
    overflow: str = "stop"
    """Where a conversation may become longer than the model can read: `stop` before anything is said, or `truncate`.

    `truncate` leaves the oldest messages out of what the model is shown, as many as have to be.
    """
    retests: int = 0
    """How often everything is asked again after the same conversations, with other option orders."""
    seeds: list[int] = MISSING
    """Each seed is a whole repetition, with conversations and option orders of its own."""
    undefined: str = "zero"
    """What a correlation with a constant counts as: `zero`, or `drop` leaves it out."""
    dry_run: bool = False
    """Whether only to say what the run would take."""
    store: StoreConfig = field(default_factory=StoreConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class RescoreConfig:
    """Saved answers to compute every stability from again."""

    answers: str = MISSING
    """A Parquet file with at least the columns seed, context, persona, item and score.

    Or a folder with results of the paper's published code.
    """
    task: TaskConfig = MISSING
    permutations: bool = False
    """Whether the answers are of `population=none`: repetitions instead of personas."""
    undefined: str = "zero"


@dataclass
class FigureConfig:
    """A comparison of finished runs: which runs, and how they are set side by side."""

    name: str = MISSING
    """What its pictures and tables are called."""
    title: str = MISSING
    """What stands above them."""
    kind: str = MISSING
    """How: `bars`, `lines`, ... (see `valstab.compare.kinds`)."""
    experiments: list[str] = field(default_factory=list)
    """The MLflow experiments with its runs; every one if empty."""
    measure: str = "rank_order"
    """`rank_order` or `ipsative`."""
    reference: dict[str, float] = field(default_factory=dict)
    """Heights of lines by their names: human stabilities."""
    values: list[str] = field(default_factory=list)
    """Which values to set beside a behaviour."""
    labels: str | None = None
    """A CSV file with name and label of personas, or a run of `task=character`."""


@dataclass
class CompareConfig:
    """Which finished runs to compare, and how."""

    figure: FigureConfig = MISSING
    experiments: list[str] | None = None
    """Names of MLflow experiments; the figure's own if null."""
    filter: str | None = None
    """As MLflow's search takes it, for instance "params.quantization = 'none'"."""
    runs: list[str] = field(default_factory=list)
    """Ids of MLflow runs; that of a sweep stands for its jobs."""
    folders: list[str] = field(default_factory=list)
    """Results folders: of a run, of a sweep in `multirun/`, or of the paper's published code."""
    undefined: str = "zero"
    """What a correlation with a constant counts as: `zero`, or `drop` leaves it out."""
    resamples: int = 1000
    """How often intervals and chance levels are drawn."""
    tracking: TrackingConfig = field(default_factory=lambda: TrackingConfig(experiment="comparisons"))
