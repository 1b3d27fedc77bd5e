"""The settings of each engine."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class EngineConfig:
    """The settings that all engines have."""

    _target_: str = MISSING
    """The import path of the engine's class."""
    name: str = MISSING
    """The engine's name in results."""


@dataclass
class TransformersConfig(EngineConfig):
    """Settings of the engine that runs a model with Hugging Face transformers."""

    device: str = "auto"
    """`cpu`, `cuda` or `auto`, which is `cuda` if there is a GPU."""
    batch_size: int | None = None
    """Maximum number of conversations or questions in one forward pass; null is 128, on a GPU 512.

    With null, batches that take more than 20 seconds are followed by smaller ones, of at least 32.
    """
    cache_gib: float | None = None
    """Maximum memory of the key-value caches, in GiB; null is 1/8 of the free memory, on a GPU 3/4."""
    compiled: bool = False
    """Whether to compile norms and activations, if there is a C++ compiler."""


@dataclass
class OpenaiConfig(EngineConfig):
    """Settings of the engine that asks an OpenAI-compatible server."""

    url: str = "https://api.openai.com/v1"
    """The address of the server's API. `model.path` is the name by which the server knows the model."""
    key_variable: str = "OPENAI_API_KEY"
    """The name of the environment variable with the API key, if the server needs one."""
    concurrency: int = 16
    """Maximum number of requests at the same time."""
    timeout: float = 120
    """Maximum time for one answer, in seconds; then the request is repeated."""
    max_away: float = 600
    """Maximum time for which a request is repeated, in seconds: the server may be away as long, as in a restart.

    Then the run ends; the same command continues it. 0 repeats nothing.
    """
    answer_prefix: str = "continue"
    """How the server is sent the start of the model's answer, `Answer: (`: `continue`, `message` or `question`.

    `continue` asks the server to continue this message, as vLLM can. `message` sends it as a complete message, for
    servers that cannot, such as OpenAI's. `question` appends it to the question, for models that think first and for
    servers that refuse a last message of the model.
    """
    limit_field: str = "max_tokens"
    """The name of the request's field with the maximum number of tokens: `max_tokens` or `max_completion_tokens`."""
    thinking_tokens: int = 0
    """Tokens that a reply may have in addition, for a thought that the server separates from it; 0 expects none."""
    body: dict[str, Any] = field(default_factory=dict)
    """Further fields of each request's body, such as `{reasoning_effort: low}`; null leaves out one that is sent."""
    structured_choice: str | None = None
    """How the server restricts an answer that is written to one of the letters: `vllm`, `llama_cpp`, `openai` or null.

    null lets it write what it will, which is then read strictly.
    """
    top_logprobs: int = 20
    """The number of most probable tokens to request from the server; 0 reads letters from sampled text only."""
    renderer: str | None = None
    """The kind of server that can show its prompts, which are then checked first: `vllm`, `llama_cpp` or null."""
    batch: bool = False
    """Whether requests are sent by OpenAI's batch API: at half the price, and answered within a day."""
    usd_per_million_input: float | None = None
    """The price of a million prompt tokens in US dollars, for the cost of a run."""
    usd_per_million_output: float | None = None
    """The price of a million generated tokens in US dollars."""


@dataclass
class ControlConfig(EngineConfig):
    """Settings of the engine that answers by a rule, with a known stability."""

    scale: list[str] = MISSING
    """The texts of the options, the lowest first."""
    share: float = 1.0
    """The persona's share of the variance of answers, which is the same in every conversation, from 0 to 1."""
    half_life: float | None = None
    """Number of messages in which the share halves; null is no loss."""
    shift: int = 0
    """The largest number of options by which an opening moves everybody's answer to an item, up or down."""
    first_letter: bool = False
    """Whether the first option on offer is always chosen, whatever it says."""
    only_thinking: bool = False
    """Whether the persona shows only in answers after a thought."""
    writes: list[str] = field(default_factory=list)
    """The texts of a judge's options, the lowest first: each message says one, which a judge of this engine reads.

    Without any, messages say nothing.
    """


@dataclass
class VllmConfig(EngineConfig):
    """Settings of the engine that runs a model with vLLM in this process. The names are vLLM's own."""

    tensor_parallel_size: int = 1
    """Number of GPUs that share each layer."""
    pipeline_parallel_size: int = 1
    """Number of groups of GPUs, or nodes, that each hold some of the layers."""
    data_parallel_size: int = 1
    """Number of copies of the model."""
    distributed_executor_backend: str | None = None
    """How vLLM starts its workers: `mp` on one node, `ray` on several nodes; null leaves the choice to vLLM."""
    gpu_memory_utilization: float = 0.9
    """The fraction of each GPU's memory that vLLM may use for weights and cache."""
    max_model_len: int | None = None
    """Maximum length of a prompt with its continuation, in tokens; null is the model's own limit."""
    block_size: int | None = None
    """Number of tokens in a cache block; null is 32 on the CPU and vLLM's own choice on GPUs."""
    enforce_eager: bool = False
    """Whether to start sooner, without compilation and CUDA graphs."""
    vllm_args: dict[str, Any] = field(default_factory=dict)
    """Any other arguments of `vllm.LLM`."""
