"""Ask after the same conversations in several precisions, and compare letters and stabilities.

    uv run python benchmarks/precision.py
    uv run python benchmarks/precision.py float32 bfloat16 8bit 4bit --settings population.limit=6

The conversations are generated once, in bfloat16.
"""

import argparse
import time

from valstab.config.compose import compose_run
from valstab.config.schema import QUANTIZATIONS, Config
from valstab.engines.base import Engine
from valstab.engines.factory import load_engine
from valstab.protocol.ask import ask
from valstab.protocol.converse import converse
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import RecordLog
from valstab.results.results import measure

STUDY = ("population.limit=12", "topics.names=[joke,history,chess]", "seeds=[0,1]")
"""2,880 questions."""


def main() -> None:
    """Print the table; the first precision is the reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("precisions", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--settings", nargs="+", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    config = compose_run(*STUDY, *arguments.settings)
    plan = make_plan(config)
    conversations = converse(plan, engine_in("bfloat16", config), RecordLog(None), Stage("conversing", "messages", 0))
    print("| precision | questions a second | differing letters | answer mass | rank-order stability | ipsative |")
    print("|---|---|---|---|---|---|", flush=True)
    expected = None
    for name in arguments.precisions:
        engine = engine_in(name, config)
        start = time.perf_counter()
        answers = ask(plan, conversations, engine, RecordLog(None), Stage("asking", "questions", 0)).answers
        rate = len(answers) / (time.perf_counter() - start)
        expected = answers["letter"] if expected is None else expected
        numbers = measure(answers, plan.task, config.undefined, without_personas=plan.without_personas).headline()
        stabilities = [f"{numbers[m] or 0:.3f} ± {numbers[f'{m}_se'] or 0:.3f}" for m in ("rank_order", "ipsative")]
        cells = [name, f"{rate:.1f}", f"{(answers['letter'] != expected).mean():.1%}", f"{numbers['answer_mass']:.3f}"]
        print(f"| {' | '.join([*cells, *stabilities])} |", flush=True)


def engine_in(precision: str, config: Config) -> Engine:
    """Return the engine in a precision, which is a dtype or a quantization."""
    is_quantization = precision in QUANTIZATIONS
    config.model.quantization = precision if is_quantization else "none"
    config.model.dtype = "auto" if is_quantization else precision
    return load_engine(config)


if __name__ == "__main__":
    main()
