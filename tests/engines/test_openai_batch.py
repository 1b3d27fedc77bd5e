"""The openai engine by the batch API, against a server on loopback that answers as a test scripts it."""

import threading

import numpy as np
import pytest

from tests.support.composed import compose_run
from tests.support.openai_server import chat_completion, openai_servers, refusal
from valstab.config.check import check_config
from valstab.config.schema import ModelConfig
from valstab.engines.base import ChoiceRequest, EngineError, GenerationRequest, Message, Prompt, SampleRequest
from valstab.engines.servers import openai_batch
from valstab.engines.servers.openai import OpenaiEngine
from valstab.errors import ConfigError

CHAT = Prompt((Message("user", "How?\n(A) Well\n(B) Ill"),), "")
REQUESTS = [GenerationRequest(CHAT, seed, 100) for seed in range(5)]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(openai_batch, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(openai_batch, "POLL_SECONDS", 0.02)
    with openai_servers() as start:
        yield start(lambda body: chat_completion(f"Reply {body['seed']}"))


def engine_on(server, **options):
    return OpenaiEngine(ModelConfig(name="m", path="served"), "none", url=server.url, batch=True, **options)


def test_a_round_of_messages_is_one_batch_at_half_the_price(server):
    server.batches.statuses = ["in_progress", "finalizing", "completed"]
    engine = engine_on(server, concurrency=1, usd_per_million_input=100, usd_per_million_output=1000)
    assert dict(engine.generate(REQUESTS)) == {seed: f"Reply {seed}" for seed in range(5)}
    (batch,) = server.batches.made
    assert (batch["endpoint"], batch["completion_window"]) == ("/v1/chat/completions", "24h")
    assert len(server.batches.files[batch["input_file_id"]]) == 5
    assert engine.usage.usd == pytest.approx(5 * (30 * 100e-6 + 2 * 1000e-6) / 2)
    assert engine.cache.rows == 50_000  # of conversations that advance together


def test_questions_are_one_batch_and_those_without_listed_letters_another(server):
    answers = [chat_completion("B", A=0.2, B=0.5), chat_completion("The", The=0.6), chat_completion("(A)")]
    server.script = answers
    choices = [[ChoiceRequest(CHAT._replace(text="Answer: ("), "AB", seed)] for seed in range(2)]
    found = dict(engine_on(server).score_options(choices))
    np.testing.assert_allclose(np.exp(found[0]), [[0.2, 0.5]])
    assert np.isposinf(found[1][0, 0])
    assert [len(server.batches.files[batch["input_file_id"]]) for batch in server.batches.made] == [2, 1]


def test_sampled_answers_to_all_dialogues_are_one_batch(server):
    server.script = [lambda body: chat_completion("AB"[body["seed"] % 2])]
    asked = [
        [SampleRequest(CHAT, "AB", (0, 1)), SampleRequest(CHAT, "AB", (1, 1))],
        [SampleRequest(CHAT, "AB", (2, 3))],
    ]
    assert dict(engine_on(server).sample_options(asked)) == {0: [["A", "B"], ["B", "B"]], 1: [["A", "B"]]}
    assert len(server.batches.made) == 1


def test_an_interrupted_command_goes_on_with_its_batch(server):
    server.batches.statuses = ["in_progress"]
    interrupted = engine_on(server)
    threading.Thread(target=lambda: list(interrupted.generate(REQUESTS)), daemon=True).start()
    wait = threading.Event()
    while not server.batches.made:
        wait.wait(0.01)
    server.batches.statuses = ["completed"]
    assert len(dict(engine_on(server).generate(REQUESTS))) == 5
    assert len(server.batches.made) == 1
    # Other requests are not in it.
    assert len(dict(engine_on(server).generate(REQUESTS[:2]))) == 2
    assert len(server.batches.made) == 2


def test_what_an_expired_batch_leaves_goes_into_the_next(server):
    server.batches.statuses = ["expired"]
    server.batches.answered = lambda number: number < 2
    assert dict(engine_on(server).generate(REQUESTS)) == {seed: f"Reply {seed}" for seed in range(5)}
    assert [len(server.batches.files[batch["input_file_id"]]) for batch in server.batches.made] == [5, 3, 1]
    server.batches.answered = lambda _: False
    with pytest.raises(EngineError, match="3 batches left a request without an answer"):
        list(engine_on(server).generate(REQUESTS[:1]))


def test_a_failed_batch_and_a_refused_request_are_one_line(server):
    server.batches.statuses = ["failed"]
    with pytest.raises(EngineError, match="the batch batch-0 is failed: Enqueued token limit reached"):
        list(engine_on(server).generate(REQUESTS))
    server.batches.statuses = ["completed"]
    server.script = [refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")]
    with pytest.raises(EngineError, match=r"\(400\): .*; max_tokens: set engine.limit_field=max_completion_tokens"):
        list(engine_on(server).generate(REQUESTS))


def test_a_dry_run_does_not_wait_for_batches():
    config = compose_run("engine=openai", "model=gpt35_0125", "engine.batch=true", "dry_run=true")
    with pytest.raises(ConfigError, match=r"engine\.batch=true: a dry run measures single requests"):
        check_config(config)
