"""The settings of each engine."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class EngineConfig:
    """What runs the model; each engine adds its own options."""

    _target_: str = MISSING
    """The engine's class."""
    name: str = MISSING
    """What it is called in results."""


@dataclass
class TransformersConfig(EngineConfig):
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
class OpenaiConfig(EngineConfig):
    """Settings of the engine that asks an OpenAI-compatible server."""

    url: str = "https://api.openai.com/v1"
    """Address of the server's API; `model.path` is the server's name of the model."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key, if the server wants one."""
    concurrency: int = 16
    """Requests at a time, at most."""
    timeout: float = 120
    """Seconds without an answer after which a request is repeated."""
    max_retries: int = 20
    """How often a request is repeated before the run ends; started again, the run goes on from there."""
    answer_prefix: str = "continue"
    """How the model's turn is opened with `Answer: (`.

    `continue` asks the server to continue the last message (vLLM), `message` leaves it to the server what follows.
    """
    top_logprobs: int = 20
    """For how many tokens the server is asked for probabilities; 0 reads letters from sampled text only."""
    usd_per_million_input: float | None = None
    """Price of a million prompt tokens in US dollars, for the cost of a run."""
    usd_per_million_output: float | None = None
    """Price of a million generated tokens in US dollars."""


@dataclass
class VllmConfig(EngineConfig):
    """Settings of the engine that runs a model with vLLM in this process, by vLLM's names."""

    tensor_parallel_size: int = 1
    """GPUs that share each layer."""
    pipeline_parallel_size: int = 1
    """Groups of GPUs, or nodes, that each hold some of the layers."""
    data_parallel_size: int = 1
    """Copies of the model."""
    distributed_executor_backend: str | None = None
    """`mp` for one node, `ray` for several; null leaves the choice to vLLM."""
    gpu_memory_utilization: float = 0.9
    """Fraction of each GPU's memory for weights and cache."""
    max_model_len: int | None = None
    """The longest prompt with its answer, in tokens; null is the model's own limit."""
    block_size: int | None = None
    """Tokens of a cache block; null is 32 on the CPU, and vLLM's own choice on GPUs."""
    enforce_eager: bool = False
    """Whether to start sooner, without compilation and CUDA graphs."""
    vllm_args: dict[str, Any] = field(default_factory=dict)
    """Any other arguments of `vllm.LLM`."""
