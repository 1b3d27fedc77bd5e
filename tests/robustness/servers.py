"""Model servers that fail at some requests of a run, or from some request on, in each way of `fault_server`."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from tests.robustness.fault_server import ENDING, FAULTS, NUMBERS, Fault, FaultServer, serving
from tests.robustness.finding import Finding
from tests.robustness.models import MESSAGES, QUESTIONS, UNFINISHED, Outcome, gather, small_plan
from valstab.config.schema import ModelConfig
from valstab.engines.base import EngineError
from valstab.engines.servers import repetition
from valstab.engines.servers.openai import OpenaiEngine
from valstab.tracking.client import TrackingError
from valstab.tracking.experiment import open_experiment

FORMATS = ("chat", "base")
"""Chat completions and completions."""
TIMEOUT = 1.0
"""Time for an answer, in seconds."""
LONGEST = 20.0
"""Seconds after which a run counts as hanging."""
BEFORE = 12
"""Requests that a server answers before it fails for good."""


def findings() -> Iterator[Finding]:
    """Try each fault with both endpoints."""
    with tempfile.TemporaryDirectory() as name, mock.patch.object(repetition, "FIRST_PAUSE", 0.01):
        folder, passing = Path(name), {**FAULTS, **NUMBERS}
        for form in FORMATS:
            expected = undisturbed(folder / form, form)
            held = sum(passes(folder / f"{form}-{kind}", form, passing[kind], expected) for kind in passing)
            what = f"model server that fails now and then, in {len(passing)} ways: {form}"
            yield Finding(what, len(passing), held, "nothing")
            held = sum(ends(folder / f"{form}-{kind}-ends", form, ENDING[kind], expected) for kind in ENDING)
            what = f"model server that fails for good, in {len(ENDING)} ways, and is mended: {form}"
            yield Finding(what, len(ENDING), held, "a conversation's unfinished questions")
            held = sum(chooses_nothing(folder / f"{form}-{kind}-for-good", form, NUMBERS[kind]) for kind in NUMBERS)
            what = f"model server whose numbers are none, in {len(NUMBERS)} ways: {form}"
            yield Finding(what, len(NUMBERS), held, "these answers, which are counted as missing")

    held = sum(mlflow_is_given_up(fault) for fault in ENDING.values())
    yield Finding(f"MLflow server that fails for good, in {len(ENDING)} ways", len(ENDING), held, "nothing")


def mlflow_is_given_up(fault: Fault) -> bool:
    """Return whether an MLflow server that always fails ends in one line after the time that a request may take."""
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    start = time.monotonic()
    with (
        serving(fault=fault, strike=lambda _: True) as server,
        mock.patch.dict(os.environ, MLFLOW_TRACKING_URI=server.root, **limits),
    ):
        try:
            open_experiment("valstab")
        except TrackingError as error:
            return str(error).isprintable() and time.monotonic() - start < LONGEST
    return False


def asked(server: FaultServer, folder: Path, form: str, max_away: float) -> Outcome:
    """Make a small run with a server."""
    model = ModelConfig(name="served", path="served", format=form)
    engine = OpenaiEngine(
        model, "none", url=server.url, timeout=TIMEOUT, max_away=max_away, concurrency=2, answer_prefix="message"
    )
    return gather(small_plan(f"model.format={form}"), engine, folder)


def undisturbed(folder: Path, form: str) -> Outcome:
    """Return the outcome with a server that never fails."""
    with serving() as server:
        return asked(server, folder, form, LONGEST)


def passes(folder: Path, form: str, fault: Fault, expected: Outcome) -> bool:
    """Return whether a run ends as without the fault, where it strikes every seventh request."""
    start = time.monotonic()
    with serving(fault=fault, strike=lambda number: number % 7 == 3) as server:
        found = asked(server, folder, form, LONGEST)
        was_repeated = server.asked > MESSAGES + QUESTIONS
    return found.agrees(expected) and was_repeated and time.monotonic() - start < LONGEST


def ends(folder: Path, form: str, fault: Fault, expected: Outcome) -> bool:
    """Return whether a run ends in one line where the fault strikes from some request on, and then goes on."""
    start = time.monotonic()
    with serving(fault=fault, strike=lambda number: number > BEFORE) as server:
        port = server.server_port
        try:
            asked(server, folder, form, 0)
        except EngineError as error:
            is_named = "gave no answer" in str(error) and str(error).isprintable()
        else:
            is_named = False
    took = time.monotonic() - start
    with serving(port) as server:
        found = asked(server, folder, form, LONGEST)
        saved = MESSAGES + QUESTIONS - server.asked
    return is_named and took < LONGEST and saved >= BEFORE - UNFINISHED and found.agrees(expected)


def chooses_nothing(folder: Path, form: str, fault: Fault) -> bool:
    """Return whether no question has a letter where no log-probabilities are any."""
    with serving(fault=fault, strike=lambda _: True) as server:
        return bool(asked(server, folder, form, LONGEST).answers["letter"].isna().all())
