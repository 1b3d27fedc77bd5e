"""Project the paper's protocol to its models on GPUs, and a large population to a cluster: the tables of docs/cost.md.

    uv run python benchmarks/projection.py

The work is counted as for any estimate (`valstab.cost`). What a unit of it costs follows from the GPU's published rates
and from the parts of them that are reached, which are measured or assumed below.
"""

import math
from typing import NamedTuple

import numpy as np

from valstab.dry_run.cost_model import DialogueLengths, GenerationWork, attended, generation_work, predict
from valstab.engines.base import Cache
from valstab.engines.huggingface.engine import MAX_ROWS
from valstab.protocol.converse import conversations_per_batch

PRODUCTS = 0.35
"""Part of the rate of matrix products that is reached: measured for scoring on an H100 (docs/speed.md)."""
READING = 0.5
"""Part of the memory's rate that is reached while a token is generated: assumed."""
LAYER = 0.65e-3
"""Seconds that a layer's part of a forward pass takes at least, to start its operations: measured on an H100."""
QUANTIZED = 0.5
"""What quantised products reach of that, since weights are unpacked for each: assumed."""
USABLE = 0.85
"""Part of a GPU's memory that weights and caches may fill."""
CONVERSATIONS = 1500
ITEMS, DESCRIPTION, ITEM = 40, 46, 77
"""Of PVQ: questions, and the tokens of the description and of one question (of the embedded model's tokenizer)."""
DIALOGUE = DialogueLengths(first=(70, 90), replies=(100, 100), frame=5)
"""Every message as long as it may be: an upper bound."""
CONVERSATION_BYTES, ANSWER_BYTES = 6_000, 150
"""On disk, with all copies: of a conversation of three messages, and of an answer."""


class Gpu(NamedTuple):
    """A GPU's published rates."""

    name: str
    operations: float
    """bf16 matrix products a second."""
    bandwidth: float
    """Bytes a second."""
    memory: float
    """Bytes."""


class Size(NamedTuple):
    """What a model's cost follows from."""

    parameters: float
    """In billions; of a mixture of experts, all of them."""
    active: float
    """Those that a token is multiplied with, in billions."""
    layers: int
    heads: int
    """Of keys and values."""
    head: int
    bits: int = 16


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
"""US dollars a million tokens read and written."""
PERSONAS = 10_000
CLUSTER = 64


def main() -> None:
    """Print the tables."""
    print(
        "| model | GPUs of 80 GB | hours on A100, n=3 | n=43 | hours on H100, n=3 | n=43 |\n|---|---|---|---|---|---|"
    )
    for name, size in MODELS.items():
        hours = [seconds(size, gpu, n) / 3600 for gpu in (A100, H100) for n in (3, 43)]
        print(f"| {name} | {gpus(size)} | {' | '.join(f'{each:.1f}' for each in hours)} |")
    print("\n| model | million tokens read | written | US dollars |\n|---|---|---|---|")
    read, written = tokens_by_server(3)
    for name, (reading, writing) in GPT35_PRICES.items():
        dollars = read / 1e6 * reading + written / 1e6 * writing
        print(f"| {name}, n=3 | {read / 1e6:.0f} | {written / 1e6:.1f} | {dollars:.0f} |")
    conversations = PERSONAS * 25
    disk = conversations * (CONVERSATION_BYTES + ITEMS * ANSWER_BYTES) / 1e9
    print(
        f"\n{PERSONAS:,} personas: {conversations:,} conversations, {conversations * ITEMS:,} questions, {disk:.0f} GB"
    )
    print(f"\n| model | hours on {CLUSTER} GPUs: A100 | H100 |\n|---|---|---|")
    for name, size in MODELS.items():
        share = conversations / CONVERSATIONS * gpus(size) / CLUSTER
        hours = [share * seconds(size, gpu, 3) / 3600 for gpu in (A100, H100)]
        print(f"| {name} | {' | '.join(f'{each:.1f}' for each in hours)} |")


def seconds(size: Size, gpu: Gpu, n_messages: int) -> float:
    """Give the time of the whole protocol, layers on several GPUs working one after the other."""
    costs = unit_costs(size, gpu)
    room = gpus(size) * gpu.memory * USABLE - weight_bytes(size)
    cache_tokens = int(room / 2 / cache_bytes(size))
    together = conversations_per_batch(n_messages, int(DIALOGUE.reply(0)), Cache(cache_tokens, rows=MAX_ROWS["cuda"]))
    groups = [min(together, CONVERSATIONS - done) for done in range(0, CONVERSATIONS, together)]
    work = [
        generation_work(DIALOGUE, number, rows=rows, steps=DIALOGUE.reply(0), cache_tokens=cache_tokens)._replace(
            # The cache is read for each token generated; what a whole prompt looks back on is read once.
            attended=rows * attended(DIALOGUE.prompt(number), DIALOGUE.reply(0), 0)
        )
        for rows in groups
        for number in range(n_messages)
    ]
    encoded = CONVERSATIONS * (DIALOGUE.prompt(n_messages) + DESCRIPTION + ITEMS * ITEM)
    return predict([*work, GenerationWork(0, 0, encoded, 0)], costs)


def unit_costs(size: Size, gpu: Gpu) -> np.ndarray:
    """Give the seconds of a unit of each kind of `valstab.cost.Talking`."""
    products = gpu.operations * PRODUCTS * (1 if size.bits == 16 else QUANTIZED)  # noqa: PLR2004
    token = 2 * size.active * 1e9 / products
    reading = gpu.bandwidth * READING
    step = max(weight_bytes(size) / reading, size.layers * LAYER)
    return np.array([step, token, token, cache_bytes(size) / reading])


def gpus(size: Size) -> int:
    """Give how many GPUs of 80 GB hold the weights and a cache of a fifth of that."""
    return math.ceil(1.2 * weight_bytes(size) / (A100.memory * USABLE))


def weight_bytes(size: Size) -> float:
    """Give the bytes of the weights."""
    return size.parameters * 1e9 * size.bits / 8


def cache_bytes(size: Size) -> float:
    """Give the bytes of a token's keys and values."""
    return 2 * size.layers * size.heads * size.head * 2


def tokens_by_server(n_messages: int) -> tuple[float, float]:
    """Give the tokens read and written where every request sends its whole prompt."""
    messages = sum(DIALOGUE.prompt(number) for number in range(n_messages))
    question = DIALOGUE.prompt(n_messages) + DESCRIPTION + ITEM
    written = sum(map(DIALOGUE.reply, range(n_messages))) + ITEMS
    return CONVERSATIONS * (messages + ITEMS * question), CONVERSATIONS * written


if __name__ == "__main__":
    main()
