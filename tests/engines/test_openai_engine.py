"""The openai engine against a server on loopback that says what a test wants."""

import json
import math
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.base import ChoiceRequest, EngineError, GenerationRequest, Message, Prompt
from valstab.engines.openai import OpenaiEngine, parsed

KEY = "sk-very-secret"
CHAT = Prompt((Message("system", "You are Sam."), Message("user", "How?\n(A) Well\n(B) Ill\n(C) So-so")), "")
ASKED = CHAT._replace(text="Answer: (")


class Server:
    """Gives each request the next of `script` (the last one again and again), and remembers what came."""

    def __init__(self, *script):
        self.script = list(script)
        self.models = []
        self.bodies, self.headers, self.paths, self.times = [], [], [], []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.paths.append(self.path)
                    outer.times.append(time.monotonic())
                    outer.busy += 1
                    outer.most_busy = max(outer.most_busy, outer.busy)
                    step = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                try:
                    self.answer(*(step(body) if callable(step) else step))
                finally:
                    with outer.lock:
                        outer.busy -= 1

            def do_GET(self):
                self.answer(*((200, {"data": [{"id": name} for name in outer.models]}) if outer.models else (404, {})))

            def answer(self, status, content, headers=(), cut=0):
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data[: len(data) - cut])
                if cut:
                    self.wfile.flush()
                    self.connection.close()

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def serve():
    servers = []

    def start(*script):
        servers.append(Server(*script))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()


def said(text, **top):
    """Give a chat completion, with log-probabilities of first tokens if there are any."""
    listed = [{"token": token, "logprob": math.log(p)} for token, p in top.items()]
    logprobs = {"content": [{"token": text, "top_logprobs": listed}]} if top else None
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 30, "completion_tokens": 2}
    return 200, {"choices": [{"message": message, "logprobs": logprobs}], "usage": usage}


def engine_on(server, **options):
    model = options.pop(
        "model", ModelConfig(name="m", path="served", sampling=SamplingConfig(temperature=0.5, top_p=0.9))
    )
    return OpenaiEngine(model, "none", url=server.url, **{"longest_wait": 0.05, "timeout": 5, **options})


def choice(seed=1):
    return ChoiceRequest(ASKED, "ABC", seed)


def ask_one(engine):
    ((_, logprobs),) = engine.score_options([[choice()]])
    return logprobs[0]


def test_letters_come_from_the_list_of_probable_tokens(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(said("B", A=0.2, B=0.5, C=0.1, Bee=0.1))
    engine = engine_on(server, usd_per_million_read=100, usd_per_million_written=1000)
    np.testing.assert_allclose(np.exp(ask_one(engine)), [0.2, 0.5, 0.1])
    (body,) = server.bodies
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == "served"
    assert body["messages"] == [
        {"role": "system", "content": "You are Sam."},
        {"role": "user", "content": "How?\n(A) Well\n(B) Ill\n(C) So-so"},
        {"role": "assistant", "content": "Answer: ("},
    ]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    # The raw distribution: no temperature or top-p of the model's.
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["top_logprobs"]) == (1, 1.0, 1.0, 20)
    assert (engine.usage.encoded_tokens, engine.usage.generated_tokens) == (30, 2)
    assert engine.usage.usd == pytest.approx(30 * 100e-6 + 2 * 1000e-6)
    assert KEY not in repr((engine.identity, engine.properties))


def test_tokens_that_are_the_same_letter_add_up_and_others_do_not_count(serve):
    listed = [("A", 0.2), (" A", 0.3), ("A", 0.1), ("AB", 0.1), ("C", 0.1)]
    content = {"top_logprobs": [{"token": token, "logprob": math.log(p)} for token, p in listed]}
    answer = {"choices": [{"message": {"content": "A"}, "logprobs": {"content": [content]}}]}
    found = ask_one(engine_on(serve((200, answer))))
    # B is not listed, so less probable than all that are: its probability is unknown, and the choice certain.
    np.testing.assert_allclose(np.exp(found), [0.3, np.nan, 0.1])


def test_an_answer_without_listed_letters_is_read_off_sampled_text(serve):
    server = serve(said("The", The=0.6, I=0.2), said("(C) So-so"))
    found = ask_one(engine_on(server))
    assert np.isposinf(found[2])
    assert np.isnan(found[:2]).all()
    # Sampled as messages are.
    assert (server.bodies[1]["temperature"], server.bodies[1]["top_p"], server.bodies[1]["seed"]) == (0.5, 0.9, 1)
    assert "logprobs" not in server.bodies[1]


def test_a_server_without_probabilities_is_asked_for_text_from_then_on(serve):
    server = serve(said("whatever"), said("B)"))
    engine = engine_on(server, concurrency=1)
    ((_, found),) = engine.score_options([[choice(1), choice(2), choice(3)]])
    assert np.isposinf(found[:, 1]).all()
    assert ["logprobs" in body for body in server.bodies] == [True, False, False, False]


@pytest.mark.parametrize(
    "answer",
    [
        said("I'd rather not say."),
        (200, {"choices": [{"message": {"content": None, "refusal": "I can't help with that."}}]}),
    ],
)
def test_a_refusal_is_no_answer(serve, answer):
    assert np.isnan(ask_one(engine_on(serve(answer)))).all()


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        (" b) Ill", "B"),
        ("B. Ill", "B"),
        ("Answer: (C) So-so", "C"),
        ("C: So-so", "C"),
        ("B\n", "B"),
        ("(B) and not (B)", "B"),
        ("A good question", None),
        ("Be", None),
        ("B or C", None),
        ("(A) or (B)", None),
        ("(D) Neither", None),
        ("I choose B", None),
        ("A.I. can't", None),
        ("", None),
    ],
)
def test_the_parser_is_strict(text, letter):
    assert parsed(text, "ABC") == letter


def test_messages_are_sampled_by_the_models_settings(serve):
    server = serve(said("Hello Sam.\nUSER: no"))
    model = ModelConfig(
        name="m",
        path="served",
        template={"enable_thinking": False},
        sampling=SamplingConfig(temperature=0.5, repetition_penalty=1.2),
    )
    engine = engine_on(server, model=model)
    requests = [GenerationRequest(CHAT, 2**40 + 3, 100, stop=r"\nUSER:"), GenerationRequest(CHAT, 4, 50)]
    assert dict(engine.generate(requests)) == {0: "Hello Sam.", 1: "Hello Sam.\nUSER: no"}
    body = next(body for body in server.bodies if body["max_tokens"] == 100)
    assert (body["temperature"], body["repetition_penalty"], body["seed"]) == (0.5, 1.2, 3)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "top_p" not in body
    assert "continue_final_message" not in body


def test_a_base_model_completes_text(serve):
    answer = {"choices": [{"text": "B", "logprobs": {"top_logprobs": [{"A": math.log(0.3), "B": math.log(0.6)}]}}]}
    server = serve((200, answer))
    ((_, found),) = engine_on(server).score_options([[ChoiceRequest(Prompt((), "SAM:Answer: ("), "AB", 1)]])
    np.testing.assert_allclose(np.exp(found), [[0.3, 0.6]])
    assert server.paths == ["/v1/completions"]
    assert (server.bodies[0]["prompt"], server.bodies[0]["logprobs"]) == ("SAM:Answer: (", 20)


def test_half_a_character_is_replaced_and_two_halves_are_one(serve):
    server = serve(said("Oh \ud83d\ude00 and \ud83d!"))
    assert dict(engine_on(server).generate([GenerationRequest(CHAT, 1, 100)])) == {0: "Oh \U0001f600 and \ufffd!"}


GOOD = said("B", A=0.2, B=0.5, C=0.1)


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {"error": {"message": "slow down"}}),
        (500, {"error": "oops"}),
        (503, b"<html>busy</html>"),
        (200, b'{"choices": [{"mess'),
        (200, b"[]"),
        (200, {"choices": []}),
        (200, GOOD[1], (), 20),
    ],
)
def test_what_may_pass_is_tried_again(serve, trouble):
    server = serve(trouble, trouble, GOOD)
    np.testing.assert_allclose(np.exp(ask_one(engine_on(server))), [0.2, 0.5, 0.1])
    assert len(server.bodies) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(serve, form):
    value = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    server = serve((429, {}, (("Retry-After", value),)), GOOD)
    ask_one(engine_on(server))
    assert server.times[1] - server.times[0] >= 0.95


def test_a_slow_answer_is_asked_for_again(serve):
    def slow(_):
        time.sleep(1.5)
        return GOOD

    server = serve(slow, GOOD)
    assert np.isfinite(ask_one(engine_on(server, timeout=0.3))).all()


def test_a_server_that_never_answers_ends_the_run_in_one_line(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve((500, {"error": f"no luck with {KEY}"}))
    with pytest.raises(EngineError, match="gave no answer") as caught:
        list(engine_on(server, tries=3).score_options([[choice()]]))
    assert len(server.bodies) == 3
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(EngineError, match="Connection"):
        list(engine_on(server, tries=2).score_options([[choice()]]))


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, "401"),
        (404, {"error": {"message": "the model served does not exist"}}, "does not exist"),
        (400, {"error": {"message": "unrecognized argument continue_final_message"}}, "continue_final_message"),
        (429, {"error": {"code": "insufficient_quota"}}, "insufficient_quota"),
    ],
)
def test_what_no_second_try_betters_is_said_at_once(serve, monkeypatch, status, content, message):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve((status, content))
    with pytest.raises(EngineError, match=message) as caught:
        list(engine_on(server).score_options([[choice()]]))
    assert len(server.bodies) == 1
    assert KEY not in str(caught.value)


def test_requests_run_together_up_to_the_limit_and_across_dialogues(serve):
    def slowly(_):
        time.sleep(0.05)
        return GOOD

    server = serve(slowly)
    dialogues = [[choice(3 * number + i) for i in range(3)] for number in range(8)]
    found = dict(engine_on(server, concurrency=6).score_options(iter(dialogues)))
    assert sorted(found) == list(range(8))
    assert server.most_busy == 6
    assert len(server.bodies) == 24


def test_an_error_ends_what_is_still_waiting_for_its_next_try(serve):
    def the_third_fails(_):
        return (401, {"error": "no"}) if len(server.bodies) == 3 else (429, {}, (("Retry-After", "60"),))

    server = serve(the_third_fails)
    start = time.monotonic()
    with pytest.raises(EngineError, match="401"):
        list(engine_on(server, concurrency=4).score_options([[choice(seed) for seed in range(3)]]))
    while server.busy and time.monotonic() - start < 5:
        time.sleep(0.01)
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(timeout=5)
            assert not thread.is_alive()
    assert time.monotonic() - start < 10


def test_the_only_model_of_a_server_is_taken_and_of_several_the_one_that_is_named(serve, caplog):
    server = serve(GOOD)
    server.models = ["only"]
    engine = engine_on(server)
    ask_one(engine)
    assert (server.bodies[0]["model"], engine.identity["weights"]) == ("only", "only")
    assert "has one model, only, which is taken for model.path=served" in caplog.text
    server.models = ["other", "served"]
    assert engine_on(server).identity["weights"] == "served"
    server.models = ["other", "serve"]
    with pytest.raises(EngineError, match=r"model\.path=served: .* does not have it; did you mean serve\?"):
        engine_on(server)


def test_openai_itself_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EngineError, match=r"engine\.key_variable=OPENAI_API_KEY: the environment does not have it"):
        OpenaiEngine(ModelConfig(name="m", path="gpt"), "none", url="https://api.openai.com/v1")


def test_a_run_by_the_command_keeps_the_key_to_itself_and_goes_on_after_a_failure(serve, valstab, launch_folder):
    count = 0

    def at_first(_):
        nonlocal count
        count += 1
        return GOOD if count <= 16 else (401, {"error": f"key {KEY} has expired"})

    server = serve(at_first)
    settings = ("engine=openai", "model=auto", "model.path=served", f"engine.url={server.url}", "engine.concurrency=2")
    size = ("population.limit=2", "topics.names=[joke,chess]", "seeds=[0]", "n_messages=1", "task=religion")
    environment = {"OPENAI_API_KEY": KEY}
    prices = ("engine.usd_per_million_read=1", "engine.usd_per_million_written=1")
    failed = valstab(*settings, *size, *prices, **environment)
    assert failed.returncode == 1
    assert "refuses the request (401)" in failed.stderr
    count = -1000
    before = len(server.bodies)
    done = valstab(*settings, *size, *prices, **environment)
    assert done.returncode == 0, done.stderr
    assert "US dollars" in done.stdout
    # Of 4 conversations of a message each and 20 questions, all messages and some answers were there.
    assert len(server.bodies) - before <= 15
    foretold = valstab(*settings, *size, *prices, "dry_run=true", "store.path=null", **environment)
    assert "price          about 0.00 US dollars" in foretold.stdout
    for output in (failed, done, foretold):
        assert KEY not in output.stdout + output.stderr
    for file in launch_folder.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
