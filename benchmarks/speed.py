"""Compare ways to score and to generate, with the same prompts, model and machine.

    uv run python benchmarks/speed.py
    uv run python benchmarks/speed.py --parts scoring --lengths 3 43 --seconds 300
    uv run python benchmarks/speed.py --vllm PATH/TO/ENVIRONMENT/bin/python
    uv run python benchmarks/speed.py --settings model=auto model.path=FOLDER engine.compiled=true

Without arguments it takes about five minutes on two cores. `--dtypes bfloat16 float32` also compares their letters.
docs/engines.md says how to make an environment with vLLM.
"""

import argparse
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from operations import operations, product_rate
from rounds import Way, alternate, print_ratios
from vllm_process import vllm

from valstab.config.compose import compose_run
from valstab.engines.base import ChoiceRequest, GenerationRequest
from valstab.engines.factory import load_engine
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.protocol.ask import choice_requests, option_orders
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import Plan, make_plan
from valstab.protocol.prompts import reply_prompt

SAMPLING = "{temperature:0.2,top_p:0.9,top_k:50}"
PARTS = ("scoring", "generation", "growth")
PLAIN_QUESTIONS = 3
"""Questions that are asked one prompt at a time in each round, others each time."""
PADDED_QUESTIONS = 4
GROWTH = [("pvq", 3, 10), ("pvq", 23, 10), ("pvq", 43, 10), ("donation", 3, 10), ("donation", 3, 100)]
"""Tasks, numbers of messages and of items."""
REPLY = "I think that one should be true to oneself and help others whenever one can, even if it takes a lot of time. "
"""About 25 tokens; a message has four of these, the protocol's maximum."""


def main() -> None:
    """Print the tables."""
    arguments = parsed_arguments()
    letters: dict[str, np.ndarray] = {}
    for dtype in arguments.dtypes:
        settings = [*arguments.settings, f"model.dtype={dtype}"]
        plan, engine = plan_of("seeds=[0]", *settings), load(settings)
        about = {"dtype": engine.identity["dtype"], "compiled": engine.identity["compiled"], **engine.properties}
        print(f"{', '.join(f'{key} {value}' for key, value in about.items())}; {plan.task.name}\n", flush=True)
        with engine.process_settings.applied(), torch.inference_mode():  # for the model called directly, too
            warm_up(engine, plan)
            if "scoring" in arguments.parts:
                for n_messages in arguments.lengths:
                    scores = scoring(engine, plan, n_messages, arguments)
                    letters.setdefault(dtype, scores.argmax(1))
            if "generation" in arguments.parts:
                generation(engine, plan, arguments)
            if "growth" in arguments.parts:
                growth(engine, settings, arguments.seconds / 2)
    for one, other in itertools.combinations(letters, 2):
        print(f"letters that differ between {one} and {other}: {(letters[one] != letters[other]).mean():.1%}")


def parsed_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=60, help="after which a part begins no further round")
    parser.add_argument("--lengths", nargs="+", type=int, default=[3], help="messages of the conversations")
    parser.add_argument("--conversations", type=int, default=1, help="whose questions are scored in a round")
    parser.add_argument("--at-once", nargs="+", type=int, default=[1, 8, 64], help="messages generated at once")
    parser.add_argument("--tokens", type=int, default=50, help="the most tokens of a message")
    parser.add_argument("--dtypes", nargs="+", default=["auto"])
    parser.add_argument("--settings", nargs="+", default=[], metavar="KEY=VALUE", help="of valstab")
    parser.add_argument("--vllm", metavar="PYTHON", help="the Python of an environment with vLLM")
    return parser.parse_args()


def warm_up(engine: TransformersEngine, plan: Plan) -> None:
    """Let the engine check how it can share, compile and allocate."""
    few = questions(plan, 0, 3)[:PADDED_QUESTIONS]
    list(engine.score_options([few]))
    with torch.compiler.set_stance("force_eager"):
        list(engine.score_options([few]))
        list(engine.generate([GenerationRequest(few[0].prompt, 0, 2)]))


def scoring(engine: TransformersEngine, plan: Plan, n_messages: int, arguments: argparse.Namespace) -> np.ndarray:
    """Print the time per question of each way, and return the log-probabilities of letters."""
    dialogues = [questions(plan, 61 * place, n_messages) for place in range(arguments.conversations)]
    prompts = [engine.tokens.encode_all([choice.prompt for choice in choices]) for choices in dialogues]
    rows = [row for of_dialogue in prompts for row in of_dialogue]
    letters = [engine.tokens.of_letter(letter)[0] for letter in dialogues[0][0].options]
    order = itertools.cycle(np.random.default_rng(0).permutation(len(rows)).tolist())
    chosen: dict[int, int] = {}
    scores: list[np.ndarray] = []

    def plainly() -> int:
        for index in itertools.islice(order, PLAIN_QUESTIONS):
            tokens = torch.tensor([rows[index]], device=engine.causal.device)
            logits = engine.causal.model(tokens, logits_to_keep=1).logits
            chosen[index] = int(logits[0, -1, letters].float().argmax())
        return PLAIN_QUESTIONS

    def padded() -> int:
        tokens, mask = engine.causal.pad(rows[:PADDED_QUESTIONS], left=True)
        engine.causal.forward(tokens, mask, None)
        return PADDED_QUESTIONS

    def shared() -> int:
        scores[:] = [of_dialogue for _, of_dialogue in engine.score_options(dialogues)]
        return len(rows)

    ways = {"one prompt at a time": Way(plainly), "padded batches": Way(padded), "valstab": Way(shared)}
    if engine.identity["compiled"] == "true":
        ways["valstab, compiled"] = Way(shared, is_compiled=True)
    times = alternate(ways, arguments.seconds)
    if arguments.vllm:
        times["vLLM, prefix caching"] = vllm(arguments.vllm, engine, prompts, [], 0)
    print(f"{n_messages} messages, {np.mean(list(map(len, rows))):.0f} tokens a question")
    n_parameters = int(engine.properties["parameters"])
    counts = np.sum([operations(engine.causal.model, n_parameters, each) for each in prompts], axis=0) / len(rows)
    rate = product_rate(engine.causal.model)
    print_ratios(times, "question", counts[0] / rate)
    together = np.concatenate(scores)
    print_operations(counts, rate)
    n_same = sum(int(together[index].argmax()) == letter for index, letter in chosen.items())
    print(f"letters as with one prompt at a time: {n_same} of {len(chosen)}\n", flush=True)
    return together


def print_operations(counts: np.ndarray, rate: float) -> None:
    """Print operations per question, as `operations` returns them, and the rate of matrix products."""
    products, shared, plain = counts
    print(
        f"products with the weights alone: {products / rate * 1e3:.1f} ms ({rate / 1e12:.2f} TFLOP/s)\n"
        f"operations, attention included: {plain / 1e9:.0f} billion a question one prompt at a time, "
        f"{shared / 1e9:.0f} billion shared: {plain / shared:.1f} times fewer"
    )


def generation(engine: TransformersEngine, plan: Plan, arguments: argparse.Namespace) -> None:
    """Print the time per token of generating first messages, by the number of personas at once."""
    prompts = [
        reply_prompt(plan.chat_format, e.persona, [e.context.opening], language=plan.language)
        for e in itertools.islice(itertools.cycle(plan.sessions), max(arguments.at_once))
    ]

    def talk(number: int) -> int:
        list(engine.score_options([]))  # empties the cache
        before = engine.usage.generated_tokens
        requests = [GenerationRequest(prompt, i, arguments.tokens) for i, prompt in enumerate(prompts[:number])]
        list(engine.generate(requests))
        return engine.usage.generated_tokens - before

    ways = {f"{number} at once": Way(lambda number=number: talk(number)) for number in arguments.at_once}
    times = alternate(ways, arguments.seconds)
    if arguments.vllm:
        tokens = engine.tokens.encode_all(prompts)
        times[f"vLLM, {len(tokens)} at once"] = vllm(arguments.vllm, engine, [], tokens, arguments.tokens)
    print_ratios(times, "generated token")


def growth(engine: TransformersEngine, settings: Sequence[str], seconds: float) -> None:
    """Print the time of one conversation's questions by its length and by the number of items."""
    ways = {}
    for task, n_messages, items in GROWTH:
        dialogue = questions(plan_of("seeds=[0]", f"task={task}", *settings), 0, n_messages)[:items]

        def ask(dialogue: Sequence[ChoiceRequest] = dialogue) -> int:
            list(engine.score_options([dialogue]))
            return len(dialogue)

        ways[f"{task}, {n_messages} messages, {items} items"] = Way(ask)
    print_ratios(alternate(ways, seconds), "question")


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
