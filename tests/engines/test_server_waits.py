"""How long the openai engine waits for a server that fails, hangs, drips, floods or asks for a pause, and what it says."""

import math
import os
import signal
import threading
import time
import zlib

import numpy as np
import pytest

from tests.support.openai_server import AT_ONCE, Drip, chat_completion, openai_servers
from valstab.commands.interruption import LAST_SECONDS
from valstab.config.schema import ModelConfig
from valstab.engines.base import ChoiceRequest, EngineError, Message, Prompt
from valstab.engines.servers import answer_size, concurrent_requests, repetition
from valstab.engines.servers.openai import OpenaiEngine
from valstab.engines.servers.repetition import pause_before, retry_after

GOOD = chat_completion("B", A=0.2, B=0.5, C=0.1)
CHOICE = ChoiceRequest(Prompt((Message("user", "How?\n(A) Well\n(B) Ill\n(C) So-so"),), "Answer: ("), "ABC", 1)
SLOW = "it is slow or does not answer, and each answer may take engine.timeout"


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(repetition, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(concurrent_requests, "REPORTED_SECONDS", 0.1)
    with openai_servers() as start:
        yield start


def ask(server, **options):
    engine = OpenaiEngine(ModelConfig(name="m", path="served"), "none", url=server.url, **{"timeout": 5, **options})
    ((_, logprobs),) = engine.score_options([[CHOICE]])
    return np.exp(logprobs[0])


def test_a_server_that_restarts_is_waited_for_and_the_log_says_so(serve, caplog):
    restarting = (503, {"error": "loading the model"}, (("Retry-After", "0.3"),))
    server = serve(restarting, restarting, GOOD)
    with caplog.at_level("INFO", "valstab"):
        np.testing.assert_allclose(ask(server), [0.2, 0.5, 0.1])
    messages = [record.getMessage() for record in caplog.records]
    assert [message for message in messages if SLOW not in message] == [  # on a busy machine it may be slow too
        f"waiting for {server.url}: status 503, Retry-After 0.3; the run ends if that lasts longer than "
        "engine.max_away=600 seconds",
        f"{server.url} answers again",
    ]


def test_a_slow_server_is_reported_once(serve, caplog):
    server = serve(lambda _: (time.sleep(0.25), GOOD)[1])
    engine = OpenaiEngine(ModelConfig(name="m", path="served"), "none", url=server.url, concurrency=1)
    assert len(dict(engine.score_options([[CHOICE], [CHOICE]]))) == 2
    assert len(caplog.records) == 1
    assert SLOW in caplog.text


@pytest.mark.parametrize("answer", ["hangs", "drips"])
def test_an_answer_without_end_is_given_up_by_the_clock(serve, caplog, answer):
    ended = threading.Event()
    server = serve({"hangs": lambda _: (ended.wait(5), GOOD)[1], "drips": (200, Drip(ended))}[answer])
    start = time.monotonic()
    with pytest.raises(EngineError, match=r"\(no answer within engine\.timeout=0\.3 seconds\)"):
        ask(server, timeout=0.3, max_away=0)
    assert time.monotonic() - start < 2
    ended.set()
    assert SLOW in caplog.text


@pytest.mark.slow
def test_ctrl_c_ends_a_run_whose_server_does_not_answer(serve, heavy_process, launch_folder):
    ended = threading.Event()
    server = serve(lambda _: (ended.wait(100), GOOD)[1])
    settings = ("engine=openai", "model=auto", "model.path=served", f"engine.url={server.url}", "population.limit=2")
    command = heavy_process.start("valstab", settings, launch_folder, os.environ)
    end = time.monotonic() + 120
    while not server.bodies and time.monotonic() < end:
        time.sleep(0.05)
    interrupted = time.monotonic()
    os.kill(command.pid, signal.SIGINT)
    result = command.wait()
    assert time.monotonic() - interrupted < LAST_SECONDS
    ended.set()
    assert result.returncode == 130
    assert result.stderr.splitlines()[-1].startswith("valstab: interrupted; the same command goes on")
    assert "Traceback" not in result.stderr


def test_a_list_of_models_without_end_is_given_up_by_the_clock(serve):
    ended = threading.Event()
    server = serve(GOOD)
    server.models = Drip(ended)
    np.testing.assert_allclose(ask(server, timeout=0.3), [0.2, 0.5, 0.1])
    ended.set()


def test_a_failing_server_ends_the_run_when_it_was_away_for_too_long(serve):
    server = serve((500, {"error": "no \x1b[2Jluck"}, (AT_ONCE,)))
    with pytest.raises(EngineError, match=r"gave no answer .*engine\.max_away=0\.1 seconds are the limit") as caught:
        ask(server, max_away=0.1)
    assert 2 <= len(server.bodies) <= 101  # at least 1 ms apart
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("asked", ["100000", "1e400", "Thu, 01 Jan 2099 00:00:00 GMT"])
def test_a_server_that_asks_for_too_long_a_pause_ends_the_run(serve, asked):
    server = serve((429, {"error": "slow down"}, (("Retry-After", asked),)))
    with pytest.raises(EngineError, match=rf"\(status 429, Retry-After {asked}: .*slow down.* it asks for a pause of"):
        ask(server)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((200, b"[" * 600_000), r"more than 500,000 bytes"),
        ((200, zlib.compress(b"[" * 9_000_000), (("Content-Encoding", "deflate"),)), "Content-Encoding deflate"),
        ((200, b"[" * 400_000), "nested too deep"),
        ((307, {}, (("Location", "http://127.0.0.1:99999999/v1"),)), "gave no answer"),
        ((307, {}, (("Location", "/v1/chat/completions"),)), "Connection error. Exceeded maximum allowed redirects"),
    ],
    ids=["large", "packed", "deep", "nowhere", "circle"],
)
def test_an_answer_that_is_none_is_not_read_to_its_end(serve, monkeypatch, answer, fault):
    monkeypatch.setattr(answer_size, "MAX_ANSWER_BYTES", 500_000)
    with pytest.raises(EngineError, match=fault):
        ask(serve(answer), max_away=0)


def test_a_name_of_a_model_that_moves_the_cursor_is_not_taken(serve, caplog):
    server = serve(GOOD)
    server.models = ["\x1b]0;owned\x07\x1b[2J"]
    ask(server)
    assert server.bodies[0]["model"] == "served"
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("2.5", 2.5),
        ("100000", 100_000),
        ("-5", 0),
        ("inf", math.inf),
        ("1e400", math.inf),
        ("nan", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_what_a_server_asks_to_wait(value, seconds):
    assert retry_after({"retry-after": value}) == seconds


def test_pauses_grow_from_half_a_second_to_eight():
    for number, longest in enumerate((0.5, 1, 2, 4, 8, 8, 8), 1):
        assert 0.75 * longest <= pause_before(number, {}) <= longest
    assert pause_before(10**6, {}) <= 8
    assert pause_before(1, {"retry-after-ms": "1500"}) == 1.5
