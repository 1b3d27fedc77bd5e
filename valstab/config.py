"""The configuration: what can be set, of which type, and what is allowed.

Hydra composes it from the YAML files under ``conf/`` and checks keys and types against the
dataclasses here; `check` then tests the values. Nothing heavy is imported, so that a mistake
is answered at once.
"""

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

QUANTIZATIONS = ("none", "8bit", "4bit")
DTYPES = ("auto", "float32", "bfloat16", "float16")
FORMATS = ("auto", "base", "chat")
UNDEFINED = ("zero", "drop")
OVERFLOWS = ("stop", "truncate")
OPENED = ("continue", "message")
BACKENDS = ("mp", "ray")
MEASURES = ("rank_order", "ipsative")
KINDS = (
    *("bars", "tests", "lines", "context_pairs", "values_and_behaviour", "components"),
    *("neutral_profile", "neutral_order", "appraisal", "leaderboard"),
)

LARGEST_SEED = 1 << 63
MOST = 1_000_000
"""Of messages, retests or tokens: no run would end."""

LONGEST = 2_000
"""Characters of a message."""

Range = tuple[Callable[[float], bool], str]
AT_LEAST_ONE: Range = (lambda value: value >= 1, "must be at least 1")
ABOVE_ZERO: Range = (lambda value: value > 0, "must be above 0")
NOT_BELOW_ZERO: Range = (lambda value: value >= 0, "must be 0 or more")
ENGINE_RANGES: Mapping[str, Range] = {
    "batch_size": AT_LEAST_ONE,
    "cache_gib": (lambda value: value > 0, "must be above 0, or null for what is free"),
    "concurrency": AT_LEAST_ONE,
    "timeout": ABOVE_ZERO,
    "tries": AT_LEAST_ONE,
    "longest_wait": NOT_BELOW_ZERO,
    "top_logprobs": NOT_BELOW_ZERO,
    "usd_per_million_read": NOT_BELOW_ZERO,
    "usd_per_million_written": NOT_BELOW_ZERO,
    "tensor_parallel": AT_LEAST_ONE,
    "pipeline_parallel": AT_LEAST_ONE,
    "data_parallel": AT_LEAST_ONE,
    "memory": (lambda value: 0 < value <= 1, "must be above 0 and at most 1"),
    "max_length": AT_LEAST_ONE,
    "block_size": AT_LEAST_ONE,
}
SAMPLING_RANGES: Mapping[str, Range] = {
    "temperature": ABOVE_ZERO,
    "top_p": (lambda value: 0 < value <= 1, "must be above 0 and at most 1"),
    "top_k": (lambda value: value >= 0, "must be at least 1, or 0 for the whole vocabulary"),
    "repetition_penalty": ABOVE_ZERO,
}


class UserError(Exception):
    """What the user can put right; the message is one line."""


class ConfigError(UserError, ValueError):
    """A setting that can't be used: says in one line which key, which value and what is allowed."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(one_line(f"{key}={value}: {allowed}"))


def one_line(text: str) -> str:
    r"""Make a message one line of a bearable length, with what steers a terminal or can't be printed as an escape.

    Example:
        >>> print(one_line("a\n  b \x1b[2J"))
        a b \x1b[2J
    """
    line = " ".join(text.split())
    line = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def allowed(value: object, options: Iterable[str]) -> str:
    """List the `options` for an error message, with the one nearest to `value` first if it looks like a typo."""
    names = [str(option) for option in options]
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"did you mean {near[0]}? - " if near else ""
    return f"{hint}allowed: {', '.join(names)}"


def require(key: str, value: object, options: Collection[str]) -> None:
    """Raise `ConfigError` unless `value` is one of `options`."""
    if value not in options:
        raise ConfigError(key, value, allowed(value, options))


def require_text(key: str, value: object, text: str) -> None:
    """Raise `ConfigError` unless a text can be written to a UTF-8 file and read from it again."""
    if "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise ConfigError(key, value, "must be Unicode text, without NUL characters")


@dataclass
class Sampling:
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
class Model:
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
    """What the setting `quantization` begins as."""
    trust_remote_code: bool = False
    """Whether the model's own Python code may run."""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass
class Engine:
    """What runs the model; each engine adds its own options."""

    _target_: str = MISSING
    """The engine's class."""
    name: str = MISSING
    """What it is called in results."""


@dataclass
class TransformersEngine(Engine):
    """Options of the engine that runs a model with Hugging Face transformers."""

    device: str = "auto"
    """`cpu` or `cuda`; `auto` is `cuda` where there is one."""
    batch_size: int | None = None
    """The most conversations that are continued, or questions that are asked, in one forward pass; by default 128, on a
    GPU 512."""
    cache_gib: float | None = None
    """The memory that key-value caches may take, in GiB; by default a part of what is free."""
    compiled: bool = False
    """Whether norms and activations are compiled, where there is a C++ compiler."""


@dataclass
class OpenaiEngine(Engine):
    """Options of the engine that asks an OpenAI-compatible server."""

    url: str = "https://api.openai.com/v1"
    """Where the server's API is; `model.path` is what the server calls the model."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key, if the server wants one."""
    concurrency: int = 16
    """The most requests at a time."""
    timeout: float = 120
    """Seconds without an answer after which a request is tried again."""
    tries: int = 8
    """How often a request is tried before the run ends; started again, it goes on from there."""
    longest_wait: float = 60
    """The most seconds between two tries, but where the server says Retry-After."""
    opened: str = "continue"
    """How the model's turn is opened with `Answer: (`.

    `continue` asks the server to go on with the last message (vLLM), `message` sends it and leaves that to the server.
    """
    top_logprobs: int = 20
    """For how many tokens the server is asked for probabilities; 0 reads answers off sampled text only."""
    usd_per_million_read: float | None = None
    """The price of a million tokens that the server reads, to be told what a run costs."""
    usd_per_million_written: float | None = None
    """The price of a million tokens that it writes."""


@dataclass
class VllmEngine(Engine):
    """Options of the engine that runs a model with vLLM in this process."""

    tensor_parallel: int = 1
    """GPUs that share each layer."""
    pipeline_parallel: int = 1
    """Groups of GPUs, or nodes, that each have some of the layers."""
    data_parallel: int = 1
    """Copies of the model."""
    backend: str | None = None
    """`mp` for one node, `ray` for several; null leaves the choice to vLLM."""
    memory: float = 0.9
    """The part of each GPU's memory that vLLM takes."""
    max_length: int | None = None
    """The longest prompt with its answer, in tokens; the model's own limit if null."""
    block_size: int | None = None
    """Tokens of a block of the cache; 32 on the CPU, and vLLM's own choice on GPUs."""
    eager: bool = False
    """Whether to start sooner, without compilation and CUDA graphs."""
    more: dict[str, Any] = field(default_factory=dict)
    """Any other arguments of `vllm.LLM`."""


@dataclass
class Population:
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
class Topics:
    """What the conversations are about: the contexts that stability is measured across."""

    name: str = MISSING
    """What they are called in results."""
    openings: str | None = None
    """A YAML file that maps each topic's name to the interlocutor's first message."""
    names: list[str] | None = None
    """Which of the file's topics; all if null."""


@dataclass
class Task:
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
class Tracking:
    """Where results are logged. The server is MLflow's own setting: MLFLOW_TRACKING_URI."""

    experiment: str = "valstab"
    """The MLflow experiment that the run belongs to."""


@dataclass
class Store:
    """Where conversations and answers are kept, so that none is computed twice."""

    path: str | None = ".valstab"
    """A folder, by default beside the launch directory; null keeps nothing."""


@dataclass
class Config:
    """A run: a model, as a population, talks on topics, then answers a task's questions."""

    model: Model = MISSING
    engine: Engine = MISSING
    population: Population = MISSING
    topics: Topics = MISSING
    task: Task = MISSING
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
    quantization: str = MISSING
    """The weights' precision: `none`, `8bit` or `4bit`."""
    undefined: str = "zero"
    """What a correlation with a constant counts as: `zero`, or `drop` leaves it out."""
    parts: int = 1
    """Into how many parts the run is divided, by seeds and contexts, to be made side by side: see `part`."""
    part: int | None = None
    """Which of the parts to make; swept over all of them (`part=range(1,5)` of 4) they come together as one run."""
    dry_run: bool = False
    """Whether only to say what the run would take."""
    store: Store = field(default_factory=Store)
    tracking: Tracking = field(default_factory=Tracking)


@dataclass
class RescoreConfig:
    """Saved answers to compute every stability from again."""

    answers: str = MISSING
    """A Parquet file with at least the columns seed, context, persona, item and score.

    Or a folder with results of the paper's published code.
    """
    task: Task = MISSING
    permutations: bool = False
    """Whether the answers are of `population=none`: repetitions instead of personas."""
    undefined: str = "zero"


@dataclass
class Figure:
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

    figure: Figure = MISSING
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
    tracking: Tracking = field(default_factory=lambda: Tracking(experiment="comparisons"))


def register() -> None:
    """Make the schemas known to Hydra under the names that the YAML files' defaults lists use."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=Config)
    store.store(name="rescore_schema", node=RescoreConfig)
    store.store(name="compare_schema", node=CompareConfig)
    store.store(group="engine/schema", name="transformers", node=TransformersEngine)
    store.store(group="engine/schema", name="openai", node=OpenaiEngine)
    store.store(group="engine/schema", name="vllm", node=VllmEngine)
    store.store(group="engine/schema", name="random", node=Engine)


ConfigT = TypeVar("ConfigT", Config, RescoreConfig, CompareConfig)


def typed(composed: DictConfig, kind: type[ConfigT]) -> ConfigT:
    """Turn a composed configuration into its dataclass.

    Raises:
        ConfigError: if a key was added (`+key=value`) that the schema does not have.
    """
    config = OmegaConf.to_object(composed)
    if not isinstance(config, kind):
        raise TypeError(f"expected a {kind.__name__}, got {type(config).__name__}")
    _refuse_added(composed, config, "")
    return config


def _refuse_added(composed: DictConfig, config: Any, prefix: str) -> None:
    names = [field.name for field in fields(config)]
    for name in composed:
        key = f"{prefix}{name!s}"
        if name not in names:
            raise ConfigError(key, composed[name], f"unknown key; {allowed(name, names)}")
        if is_dataclass(value := getattr(config, str(name))):
            _refuse_added(composed[name], value, f"{key}.")


def check(config: Config) -> None:
    """Test the values that need no file to be read.

    Raises:
        ConfigError: at the first value that can't be used.
    """
    _check_texts("", asdict(config))
    require("model.format", config.model.format, FORMATS)
    require("model.dtype", config.model.dtype, DTYPES)
    require("quantization", config.quantization, QUANTIZATIONS)
    require("undefined", config.undefined, UNDEFINED)
    require("overflow", config.overflow, OVERFLOWS)
    n_messages = config.n_messages
    if n_messages < 0 or (n_messages > 0 and n_messages % 2 == 0):
        raise ConfigError(
            "n_messages",
            n_messages,
            "must be odd, so that the tested model speaks last, or 0 for no conversation",
        )
    _check_numbers(config)
    _check_ranges("engine", config.engine, ENGINE_RANGES)
    _check_ranges("model.sampling", config.model.sampling, SAMPLING_RANGES)
    if isinstance(config.engine, OpenaiEngine):
        _check_server(config.engine, config.quantization)
    if isinstance(config.engine, VllmEngine) and config.engine.backend is not None:
        require("engine.backend", config.engine.backend, BACKENDS)


def _check_numbers(config: Config) -> None:
    if config.max_new_tokens < 1:
        raise ConfigError("max_new_tokens", config.max_new_tokens, "must be at least 1")
    if config.retests < 0:
        raise ConfigError("retests", config.retests, "must be 0 or more")
    if config.parts < 1:
        raise ConfigError("parts", config.parts, "must be at least 1")
    if config.part is None and config.parts > 1:
        raise ConfigError("part", "null", f"must be 1 to {config.parts}; all: -m part=range(1,{config.parts + 1})")
    if config.part is not None and not 1 <= config.part <= config.parts:
        raise ConfigError("part", config.part, f"must be 1 to {config.parts} (parts)")
    if not config.seeds:
        raise ConfigError("seeds", config.seeds, "needs at least one seed, for instance seeds=[0,1,2,3,4]")
    if len(set(config.seeds)) < len(config.seeds):
        raise ConfigError("seeds", config.seeds, "each seed may stand only once")
    if not all(abs(seed) < LARGEST_SEED for seed in config.seeds):
        raise ConfigError("seeds", config.seeds, "each must fit in 64 bits")
    if config.n_messages > MOST or config.retests > MOST or config.max_new_tokens > MOST:
        name = max(("n_messages", "retests", "max_new_tokens"), key=lambda name: getattr(config, name))
        raise ConfigError(name, getattr(config, name), f"must be at most {MOST:,}")


def _check_texts(key: str, nested: Any) -> None:
    if isinstance(nested, Mapping):
        for name, value in nested.items():
            require_text(key or "configuration", name, str(name))
            _check_texts(f"{key}.{name}".lstrip("."), value)
    elif isinstance(nested, list):
        for value in nested:
            _check_texts(key, value)
    elif isinstance(nested, str):
        require_text(key, nested, nested)


def _check_ranges(prefix: str, settings: Any, ranges: Mapping[str, Range]) -> None:
    for name, (fits, rule) in ranges.items():
        value = getattr(settings, name, None)
        if value is not None and not (math.isfinite(value) and fits(value)):
            raise ConfigError(f"{prefix}.{name}", value, rule)


def _check_server(engine: OpenaiEngine, quantization: str) -> None:
    require("engine.opened", engine.opened, OPENED)
    try:
        address = urlsplit(engine.url)
        sound = address.scheme in {"http", "https"} and address.hostname and address.port != 0
    except ValueError:  # brackets that are no IPv6 address, or a port that is no number
        sound = False
    if not sound:
        raise ConfigError("engine.url", engine.url, "must be an address such as http://localhost:8000/v1")
    if quantization != "none":
        raise ConfigError("quantization", quantization, "is up to the server with engine=openai; allowed: none")
