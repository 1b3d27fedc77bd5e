"""Project the cost of the paper's models on GPUs, and of a large population on a cluster: the tables of docs/cost.md.

    uv run python benchmarks/projection.py

The work is counted as in any estimate (`valstab.dry_run.cost_model`). Its cost per unit follows from the GPU's
published rates and from the shares of these that are reached, which are measured or assumed below.
"""

import math
from typing import NamedTuple

import numpy as np

from valstab.dry_run.cost_model import DialogueLengths, GenerationWork, attended, generation_work, predict
from valstab.engines.base import Cache
from valstab.engines.huggingface.engine import MAX_ROWS
from valstab.protocol.converse import conversations_per_batch

PRODUCT_RATE_SHARE = 0.35
"""Share of the rate of matrix products that is reached: measured for scoring on an H100 (docs/speed.md)."""
BANDWIDTH_SHARE = 0.5
"""Share of the memory bandwidth that is reached while tokens are generated: assumed."""
MIN_LAYER_SECONDS = 0.65e-3
"""Minimum time of one layer in a forward pass, for the start of its operations: measured on an H100."""
QUANTIZED_SHARE = 0.5
"""Speed of products with quantized weights, which are unpacked first, relative to bf16: assumed."""
USABLE_MEMORY_SHARE = 0.85
"""Share of a GPU's memory for weights and caches."""
N_CONVERSATIONS = 1500
"""Conversations of the paper's protocol: 5 seeds x 5 topics x 60 personas."""
N_ITEMS, DESCRIPTION_TOKENS, ITEM_TOKENS = 40, 46, 77
"""PVQ with the embedded model's tokenizer: items, tokens of the description, and tokens of one item."""
DIALOGUE = DialogueLengths(first=(70, 90), replies=(100, 100), frame=5)
"""Every message has the maximum length: an upper bound."""
CONVERSATION_BYTES, ANSWER_BYTES = 6_000, 150
"""Disk space, with all copies, of a conversation of three messages and of an answer."""


class Gpu(NamedTuple):
    """A GPU's published rates."""

    name: str
    operations: float
    """Operations of bf16 matrix products per second."""
    bandwidth: float
    """Bytes per second."""
    memory: float
    """Bytes."""


class Size(NamedTuple):
    """The dimensions of a model that determine its cost."""

    parameters: float
    """Billions of parameters, with all experts."""
    active: float
    """Billions of parameters that a token uses."""
    layers: int
    kv_heads: int
    """Heads of keys and values."""
    head_size: int
    bits: int = 16
    """Bits per weight."""


A100 = Gpu("A100 80 GB", 312e12, 2.0e12, 80e9)
H100 = Gpu("H100 80 GB", 989e12, 3.35e12, 80e9)
MODELS = {
    "llama2_7b, llama2_7b_chat": Size(6.7, 6.7, 32, 32, 128),
    "llama2_13b, llama2_13b_chat": Size(13.0, 13.0, 40, 40, 128),
    "llama2_70b, llama2_70b_chat": Size(69.0, 69.0, 80, 8, 128),
    "mistral_7b and its tuned versions, zephyr_7b_beta": Size(7.2, 7.2, 32, 8, 128),
    "mixtral, mixtral_base": Size(46.7, 12.9, 32, 8, 128),
    "mixtral_4bit, mixtral_base_4bit": Size(46.7, 12.9, 32, 8, 128, 4),
    "phi_1": Size(1.4, 1.4, 24, 32, 64),
    "phi_2": Size(2.8, 2.8, 32, 32, 80),
    "qwen_7b": Size(7.7, 7.7, 32, 32, 128),
    "qwen_14b": Size(14.2, 14.2, 40, 40, 128),
    "qwen_72b": Size(72.3, 72.3, 80, 64, 128),
}
GPT35_PRICES = {"gpt35_0125": (0.5, 1.5), "gpt35_1106": (1.0, 2.0)}
"""US dollars per million input and output tokens."""
N_PERSONAS = 10_000
N_CLUSTER_GPUS = 64


def main() -> None:
    """Print the tables."""
    print(
        "| model | GPUs of 80 GB | hours on A100, n=3 | n=43 | hours on H100, n=3 | n=43 |\n|---|---|---|---|---|---|"
    )
    for name, size in MODELS.items():
        hours = [seconds(size, gpu, n) / 3600 for gpu in (A100, H100) for n in (3, 43)]
        print(f"| {name} | {gpus(size)} | {' | '.join(f'{each:.1f}' for each in hours)} |")
    print("\n| model | million input tokens | output | US dollars |\n|---|---|---|---|")
    read, written = tokens_by_server(3)
    for name, (reading, writing) in GPT35_PRICES.items():
        dollars = read / 1e6 * reading + written / 1e6 * writing
        print(f"| {name}, n=3 | {read / 1e6:.0f} | {written / 1e6:.1f} | {dollars:.0f} |")
    conversations = N_PERSONAS * 25
    disk = conversations * (CONVERSATION_BYTES + N_ITEMS * ANSWER_BYTES) / 1e9
    questions = conversations * N_ITEMS
    print(f"\n{N_PERSONAS:,} personas: {conversations:,} conversations, {questions:,} questions, {disk:.0f} GB")
    print(f"\n| model | hours on {N_CLUSTER_GPUS} GPUs: A100 | H100 |\n|---|---|---|")
    for name, size in MODELS.items():
        share = conversations / N_CONVERSATIONS * gpus(size) / N_CLUSTER_GPUS
        hours = [share * seconds(size, gpu, 3) / 3600 for gpu in (A100, H100)]
        print(f"| {name} | {' | '.join(f'{each:.1f}' for each in hours)} |")


def seconds(size: Size, gpu: Gpu, n_messages: int) -> float:
    """Return the time of the whole protocol in seconds; several GPUs hold consecutive layers, and work in turn."""
    costs = unit_costs(size, gpu)
    room = gpus(size) * gpu.memory * USABLE_MEMORY_SHARE - weight_bytes(size)
    cache_tokens = int(room / 2 / cache_bytes(size))
    together = conversations_per_batch(n_messages, int(DIALOGUE.reply(0)), Cache(cache_tokens, rows=MAX_ROWS["cuda"]))
    groups = [min(together, N_CONVERSATIONS - done) for done in range(0, N_CONVERSATIONS, together)]
    work = [
        generation_work(DIALOGUE, number, rows=rows, steps=DIALOGUE.reply(0), cache_tokens=cache_tokens)._replace(
            # The cache is read for each generated token, but only once for a whole prompt.
            attended=rows * attended(DIALOGUE.prompt(number), DIALOGUE.reply(0), 0)
        )
        for rows in groups
        for number in range(n_messages)
    ]
    encoded = N_CONVERSATIONS * (DIALOGUE.prompt(n_messages) + DESCRIPTION_TOKENS + N_ITEMS * ITEM_TOKENS)
    return predict([*work, GenerationWork(0, 0, encoded, 0)], costs)


def unit_costs(size: Size, gpu: Gpu) -> np.ndarray:
    """Return the seconds per unit of each kind of `valstab.dry_run.cost_model.GenerationWork`. Shape: (kinds,)."""
    products = gpu.operations * PRODUCT_RATE_SHARE * (1 if size.bits == 16 else QUANTIZED_SHARE)  # noqa: PLR2004
    token = 2 * size.active * 1e9 / products
    reading = gpu.bandwidth * BANDWIDTH_SHARE
    step = max(weight_bytes(size) / reading, size.layers * MIN_LAYER_SECONDS)
    return np.array([step, token, token, cache_bytes(size) / reading])


def gpus(size: Size) -> int:
    """Return the number of 80 GB GPUs that hold the weights and a cache of a fifth of their size."""
    return math.ceil(1.2 * weight_bytes(size) / (A100.memory * USABLE_MEMORY_SHARE))


def weight_bytes(size: Size) -> float:
    """Return the size of the weights in bytes."""
    return size.parameters * 1e9 * size.bits / 8


def cache_bytes(size: Size) -> float:
    """Return the size of one token's keys and values in bytes."""
    return 2 * size.layers * size.kv_heads * size.head_size * 2


def tokens_by_server(n_messages: int) -> tuple[float, float]:
    """Return the input and output tokens of a server to which every request sends its whole prompt."""
    messages = sum(DIALOGUE.prompt(number) for number in range(n_messages))
    question = DIALOGUE.prompt(n_messages) + DESCRIPTION_TOKENS + ITEM_TOKENS
    written = sum(map(DIALOGUE.reply, range(n_messages))) + N_ITEMS
    return N_CONVERSATIONS * (messages + N_ITEMS * question), N_CONVERSATIONS * written


if __name__ == "__main__":
    main()
