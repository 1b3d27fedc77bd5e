"""The openai engine against a server on loopback that answers as a test scripts it."""

import asyncio
import gc
import math
import sys
import threading
import time
import warnings
from email.utils import formatdate

import numpy as np
import pytest

from tests.support import openai_server as dialects
from tests.support.composed import compose_run
from tests.support.openai_server import chat_completion, openai_servers
from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.base import ChoiceRequest, EngineError, GenerationRequest, Message, Prompt
from valstab.engines.received import Reads
from valstab.engines.servers import repetition
from valstab.engines.servers.dialect import remedy
from valstab.engines.servers.openai import OpenaiEngine
from valstab.engines.written_answer import read_label
from valstab.protocol.records import received_answers

KEY = "sk-very-secret"
CHAT = Prompt((Message("system", "You are Sam."), Message("user", "How?\n(A) Well\n(B) Ill\n(C) So-so")), "")
ASKED = CHAT._replace(text="Answer: (")
GOOD = chat_completion("B", A=0.2, B=0.5, C=0.1)


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(repetition, "FIRST_PAUSE", 0.01)
    with openai_servers() as start:
        yield start


def engine_on(server, **options):
    model = options.pop(
        "model", ModelConfig(name="m", path="served", sampling=SamplingConfig(temperature=0.5, top_p=0.9))
    )
    return OpenaiEngine(model, "none", url=server.url, **{"timeout": 5, **options})


def choice(seed=1):
    return ChoiceRequest(ASKED, "ABC", seed)


def ask_one(engine):
    ((_, logprobs),) = engine.score_options([[choice()]])
    return logprobs[0]


def test_letters_come_from_the_list_of_probable_tokens(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(chat_completion("B", A=0.2, B=0.5, C=0.1, Bee=0.1))
    engine = engine_on(server, usd_per_million_input=100, usd_per_million_output=1000)
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
    server = serve(chat_completion("The", The=0.6, I=0.2), chat_completion("(C) So-so"))
    found = ask_one(engine_on(server))
    assert np.isposinf(found[2])
    assert np.isnan(found[:2]).all()
    # Sampled as messages are.
    assert (server.bodies[1]["temperature"], server.bodies[1]["top_p"], server.bodies[1]["seed"]) == (0.5, 0.9, 1)
    assert "logprobs" not in server.bodies[1]


def test_a_server_without_probabilities_is_asked_for_text_from_then_on(serve):
    server = serve(chat_completion("B)"))
    engine = engine_on(server, concurrency=1)
    ((_, found),) = engine.score_options([[choice(number) for number in range(5)]])
    assert np.isposinf(found[:, 1]).all()
    # The first three are asked for a list, and then for text.
    assert ["logprobs" in body for body in server.bodies] == [True, False] * 3 + [False] * 2


def test_one_answer_without_probabilities_is_read_off_text_and_the_others_are_not(serve):
    listed = [chat_completion("A", A=0.7, B=0.2) for _ in range(8)]
    # It is asked three times for a list, then for a text.
    server = serve(*listed[:1], *[chat_completion("B)")] * 4, *listed[1:])
    engine = engine_on(server, concurrency=1)
    ((_, found),) = engine.score_options([[choice(number) for number in range(6)]])
    assert np.isposinf(found[:, 1]).tolist() == [False, True, False, False, False, False]
    np.testing.assert_allclose(np.exp(found[[0, 2, 3, 4, 5], 0]), 0.7)


def test_a_letter_in_the_tail_behind_a_bracket_is_not_taken(serve):
    server = serve(chat_completion("(", **{"(": 0.99, "A": 6e-6}), chat_completion("(B)"))
    assert np.isposinf(ask_one(engine_on(server))).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "answer",
    [
        chat_completion("I'd rather not say."),
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
    assert read_label(text, "ABC", "Answer: (") == letter


def test_messages_are_sampled_by_the_models_settings(serve):
    server = serve(chat_completion("Hello Sam.\nUSER: no"))
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
    server = serve(chat_completion("Oh \ud83d\ude00 and \ud83d!"))
    assert dict(engine_on(server).generate([GenerationRequest(CHAT, 1, 100)])) == {0: "Oh \U0001f600 and \ufffd!"}


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {"error": {"message": "slow down"}}),
        (500, {"error": "oops"}),
        (503, b"<html>busy</html>"),
        (200, b'{"choices": [{"mess'),
        (200, b"[]"),
        (200, {"choices": []}),
        (408, {}),
        (409, {}),
        (200, GOOD[1], (), 20),
    ],
)
def test_what_may_pass_is_tried_again(serve, trouble):
    server = serve(trouble, trouble, GOOD)
    np.testing.assert_allclose(np.exp(ask_one(engine_on(server))), [0.2, 0.5, 0.1])
    assert len(server.bodies) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(serve, form):
    def later(_):
        value = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
        return 429, {}, (("Retry-After", value),)

    server = serve(later, GOOD)
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
        list(engine_on(server, max_away=0).score_options([[choice()]]))
    assert len(server.bodies) == 1
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    server.close()
    with pytest.raises(EngineError, match="Connection"):
        list(engine_on(server, max_away=0).score_options([[choice()]]))


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (
            401,
            {"error": {"message": f"Incorrect API key provided: {KEY}"}},
            r"401.*; .* engine.key_variable=OPENAI_API_KEY$",
        ),
        (404, {"error": {"message": "the model served does not exist"}}, "does not exist.*; model.path must be"),
        (404, {"detail": "Not Found"}, "; engine.url must be the address of the API, which mostly ends in /v1"),
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


def test_a_key_that_is_missing_is_said_to_be(serve, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EngineError, match=r"engine\.key_variable=OPENAI_API_KEY, which is not set$"):
        ask_one(engine_on(serve((403, {"error": "no key"}))))


def test_requests_run_together_up_to_the_limit_and_across_dialogues(serve):
    def slowly(_):
        latest = time.monotonic() + 10
        while server.most_busy < 6 and time.monotonic() < latest:
            time.sleep(0.01)
        time.sleep(0.05)  # in which a seventh would come
        return GOOD

    server = serve(slowly)
    dialogues = [[choice(3 * number + i) for i in range(3)] for number in range(8)]
    found = dict(engine_on(server, concurrency=6).score_options(iter(dialogues)))
    assert sorted(found) == list(range(8))
    assert server.most_busy == 6
    assert len(server.bodies) == 24


def test_an_error_ends_what_is_still_waiting_for_its_next_try(serve):
    def the_third_fails(_):
        return (401, {"error": "no"}) if len(server.bodies) == 3 else (429, {}, (("Retry-After", "1"),))

    server = serve(the_third_fails)
    engine = engine_on(server, concurrency=4)
    with pytest.raises(EngineError, match="401"):
        list(engine.score_options([[choice(seed) for seed in range(3)]]))
    time.sleep(1.3)
    assert len(server.bodies) == 3


def test_a_generator_that_is_left_early_asks_no_more(serve):
    server = serve(lambda _: (time.sleep(0.05), GOOD)[1])
    answers = engine_on(server, concurrency=2).score_options([choice(number)] for number in range(100))
    next(answers)
    answers.close()
    time.sleep(0.2)
    assert len(server.bodies) <= 6


def test_an_engine_answers_inside_a_running_event_loop(serve):
    async def notebook():
        return ask_one(engine_on(serve(GOOD)))

    np.testing.assert_allclose(np.exp(asyncio.run(notebook())), [0.2, 0.5, 0.1])


def test_an_engine_that_is_not_needed_any_more_closes_its_connections(serve, monkeypatch):
    gc.collect()
    left_open, before = [], set(threading.enumerate())
    monkeypatch.setattr(sys, "unraisablehook", lambda left: left_open.append(str(left.exc_value)))
    engine = engine_on(serve(GOOD))
    (thread,) = (each for each in set(threading.enumerate()) - before if each.name == "openai requests")
    ask_one(engine)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        del engine
        gc.collect()
        thread.join(5)
        gc.collect()
    assert not thread.is_alive()
    assert left_open == []


NO_LOGPROBS = {
    "all impossible": {"A": -math.inf, "B": -math.inf},
    "NaN": {"A": -0.1, "B": math.nan},
    "NaN beside the letters": {"A": -0.1, "B": -3.0, "x": math.nan},
    "above 0": {"A": 5.0, "B": -1.0},
    "too large for a float": {"A": 10**400, "B": -1.0},
    "infinite": {"A": math.inf, "B": -1.0},
    "more than 1 together": {"A": -0.1, "B": -0.2},
    "null": {"A": None, "B": -0.2},
    "a text": {"A": "-0.1", "B": "-0.2"},
    "true": {"A": True, "B": -0.2},
}


def listing(logprobs):
    answer = chat_completion("A", A=0.5)
    answer[1]["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = [
        {"token": token, "logprob": logprob} for token, logprob in logprobs.items()
    ]
    return answer


@pytest.mark.parametrize("logprobs", NO_LOGPROBS.values(), ids=NO_LOGPROBS)
def test_numbers_that_are_no_log_probabilities_are_asked_for_again(serve, logprobs):
    server = serve(listing(logprobs), listing({"A": -0.1, "B": -3.0}))
    assert ask_one(engine_on(server)).tolist()[:2] == [-0.1, -3.0]
    assert len(server.bodies) == 2


@pytest.mark.parametrize("logprobs", NO_LOGPROBS.values(), ids=NO_LOGPROBS)
def test_where_they_stay_wrong_the_answer_is_a_failed_one(serve, logprobs):
    server = serve(listing(logprobs))
    record = received_answers([ask_one(engine_on(server))], Reads("listed"))
    assert record.readings == ["failed"]
    assert np.isnan(record.logprobs).all()
    assert len(server.bodies) == 3


@pytest.mark.parametrize("tokens", [1e400, -5, "many", None, [], True, 10**400])
def test_a_count_of_tokens_that_is_none_counts_nothing(serve, tokens):
    answer = chat_completion("A", A=0.5)
    answer[1]["usage"] = {"prompt_tokens": tokens, "completion_tokens": 3}
    engine = engine_on(serve(answer))
    ask_one(engine)
    assert (engine.usage.encoded_tokens, engine.usage.generated_tokens) == (0, 3)


@pytest.mark.parametrize("text", [5, ["A"], {"type": "text", "text": "A"}, "x" * 1_000_001])
def test_a_text_that_is_none_is_asked_for_again(serve, text):
    answer = chat_completion("")
    answer[1]["choices"][0]["message"]["content"] = text
    engine = engine_on(serve(answer, chat_completion("Good.")), max_away=3)
    assert dict(engine.generate([GenerationRequest(Prompt((Message("user", "Hi"),), ""), 1, 5)])) == {0: "Good."}


def test_completions_may_list_tokens_as_chat_completions_do(serve):
    """llama.cpp does."""
    listed = [{"token": "A", "logprob": -0.5}, {"token": "B", "logprob": -1.5}]
    server = serve((200, {"choices": [{"text": "A", "logprobs": {"content": [{"top_logprobs": listed}]}}]}))
    ((_, found),) = engine_on(server).score_options([[ChoiceRequest(Prompt((), "SAM:Answer: ("), "AB", 1)]])
    assert found.tolist() == [[-0.5, -1.5]]


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


def test_a_server_without_a_key_gets_no_authorization(serve, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = serve(GOOD)
    ask_one(engine_on(server))
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize("key", [f"{KEY}\n", f"a {KEY}", f"{KEY}\u00e9"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(serve, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(EngineError, match=r"engine\.key_variable=OPENAI_API_KEY: the key has") as caught:
        engine_on(serve(GOOD))
    assert KEY not in str(caught.value)


def test_a_redirect_to_another_host_does_not_get_the_key(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    other = serve(GOOD)
    address = other.url.replace("127.0.0.1", "localhost")
    server = serve((307, {}, (("Location", f"{address}/chat/completions"),)))
    np.testing.assert_allclose(np.exp(ask_one(engine_on(server))), [0.2, 0.5, 0.1])
    assert KEY in server.headers[0]["Authorization"]
    assert KEY not in str(other.headers)


def test_a_netrc_file_does_not_replace_the_key(serve, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = serve(GOOD)
    ask_one(engine_on(server))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_proxy_of_the_environment_is_used(serve, monkeypatch):
    proxy = serve(GOOD)
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    engine = OpenaiEngine(ModelConfig(name="m", path="served"), "none", url="http://nowhere.invalid/v1")
    ask_one(engine)
    assert proxy.paths == ["http://nowhere.invalid/v1/chat/completions"]
    monkeypatch.setenv("http_proxy", "nonsense://127.0.0.1:9")
    with pytest.raises(EngineError, match=r"engine\.url=http://nowhere\.invalid/v1: .*proxy"):
        OpenaiEngine(ModelConfig(name="m", path="served"), "none", url="http://nowhere.invalid/v1")


def test_without_the_openai_package_the_extra_is_named(serve, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(EngineError, match=r"engine=openai needs the openai package .*pip install 'valstab\[openai\]'"):
        engine_on(serve(GOOD))


def test_the_identity_is_that_of_earlier_stores(serve):
    server = serve(GOOD)
    model = ModelConfig(
        name="m", path="served", template={"enable_thinking": False}, sampling=SamplingConfig(top_p=0.9)
    )
    engine = engine_on(server, model=model, answer_prefix="message", top_logprobs=5)
    assert dict(engine.identity) == {
        "engine": "openai",
        "url": "http://127.0.0.1/v1",
        "weights": "served",
        "quantization": "none",
        "sampling": "{'top_p': 0.9}",
        "template": "{'enable_thinking': False}",
        "opened": "message",
        "top_logprobs": "5",
    }


def test_a_server_is_the_same_on_another_port_but_not_with_other_weights_of_the_same_name(serve):
    server, other = serve(GOOD), serve(GOOD)
    assert server.url != other.url
    assert dict(engine_on(server).identity) == dict(engine_on(other).identity)
    other.models = [{"id": "served", "meta": {"n_params": 135_000_000, "size": 98_000_000, "n_ctx": 8192}}]
    assert engine_on(other).identity["served"] == "n_params 135000000, size 98000000"
    other.models = [{"id": "served", "root": "/models/edited", "max_model_len": 2048}]
    assert engine_on(other).identity["served"] == "root /models/edited"
    other.models = [{"id": "served", "root": "served"}]
    assert dict(engine_on(server).identity) == dict(engine_on(other).identity)


DIALECTS = {
    "openai_reasoning": dialects.openai_reasoning,
    "vllm_server": dialects.vllm,
    "vllm_server_reasoning": dialects.vllm_with_parser,
    "llama_cpp": dialects.llama_cpp,
    "ollama": dialects.ollama,
    "lm_studio": dialects.lm_studio,
    "openrouter": dialects.openrouter,
}
"""A server for each option of the engine's but `openai` itself."""


def engine_of(option, server, *overrides):
    """Return the engine of an option, with the address of a server."""
    config = compose_run(f"engine={option}", "model=auto", "model.path=served", "model.sampling.temperature=0.5")
    options = {name: value for name, value in vars(config.engine).items() if name not in {"_target_", "name"}}
    return OpenaiEngine(config.model, "none", **{**options, "url": server.url, "max_away": 0, **dict(overrides)})


@pytest.mark.parametrize("option", DIALECTS)
def test_each_option_is_understood_by_its_server(serve, option):
    engine = engine_of(option, serve(DIALECTS[option]))
    assert dict(engine.generate([GenerationRequest(CHAT, 1, 100)])) == {
        0: "B) Ill" if option != "lm_studio" else "(B) Ill"
    }
    found = ask_one(engine)
    assert np.nanargmax(found) == 1
    assert engine.identity["engine"] == "openai"


def test_an_answer_opened_by_the_question_keeps_the_model_from_speaking_last(serve):
    server = serve(chat_completion("B"))
    ask_one(engine_on(server, answer_prefix="question", top_logprobs=0))
    *_, last = server.bodies[0]["messages"]
    assert last == {"role": "user", "content": "How?\n(A) Well\n(B) Ill\n(C) So-so\n\nAnswer: ("}
    assert "continue_final_message" not in server.bodies[0]


def test_fields_of_the_body_are_added_replaced_and_left_out(serve):
    server = serve(chat_completion("Hello."))
    body = {"reasoning_effort": "low", "temperature": None, "seed": 5}
    engine = engine_on(server, body=body, limit_field="max_completion_tokens", thinking_tokens=1000)
    list(engine.generate([GenerationRequest(CHAT, 1, 100)]))
    sent = {name: value for name, value in server.bodies[0].items() if name not in {"model", "messages"}}
    assert sent == {"reasoning_effort": "low", "seed": 5, "top_p": 0.9, "max_completion_tokens": 1100}
    assert engine.identity["body"] == str(body)
    assert engine.identity["thinking_tokens"] == "1000"


@pytest.mark.parametrize(
    ("option", "settings", "what"),
    [
        ("openai", {"answer_prefix": "message"}, "max_tokens: set engine.limit_field=max_completion_tokens"),
        ("openai_reasoning", {"limit_field": "max_tokens"}, "max_tokens: set engine.limit_field=max_completion_tokens"),
        ("openai_reasoning", {"body": {}}, r"temperature: \+\+engine.body.temperature=null leaves it out"),
        ("openai_reasoning", {"top_logprobs": 5}, "logprobs: set engine.top_logprobs=0, or a smaller number"),
    ],
)
def test_a_refused_field_is_named_with_what_to_set(serve, option, settings, what):
    engine = engine_of(option, serve(dialects.openai_reasoning), *settings.items())
    with pytest.raises(EngineError, match=rf"refuses the request \(400\): .*; {what}$") as caught:
        ask_one(engine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (
            "This model's maximum context length is 2048 tokens, but max_tokens=100 was asked",
            "take a smaller n_messages",
        ),
        ("Assistant response prefill is incompatible with enable_thinking.", "engine.answer_prefix=question"),
        ("Cannot continue: continue_final_message is set but the final message ends", "continue_final_message: set"),
        ("'messages[0].role' does not support 'system role' with this model", "model.system_prompt=false"),
        ("No endpoints found that can handle the requested parameters.", "set engine.top_logprobs=0"),
        ("Unrecognized request argument supplied: chat_template_kwargs", "chat_template_kwargs: set model.template={}"),
        (
            "Requested sample logprobs of 20, which is greater than max allowed: 5",
            "logprobs: set engine.top_logprobs=0",
        ),
        ("Expected last role User or Tool for serving but got assistant", "engine.answer_prefix=question"),
        ("Cannot have 2 or more assistant messages at the end of the list.", "engine.answer_prefix=question"),
        ("System role not supported", "model.system_prompt=false"),
        ("Unsupported value: 'messages[0].role' does not support 'system'.", "model.system_prompt=false"),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", "model.system_prompt=false"),
        ("messages.1: user messages must have non-empty content", "model.system_prompt=false sends no empty message"),
        ("The model `served` does not exist", "model.path must be the server's name"),
        ("`temperature` must be strictly positive", "temperature: ++engine.body.temperature=null"),
        ("Something is wrong.", ""),
    ],
)
def test_what_servers_say_has_a_remedy(said, what):
    fields = ("temperature", "max_tokens", "logprobs", "continue_final_message", "chat_template_kwargs")
    found = remedy(said, None, fields)
    assert found.startswith(what)
    assert bool(found) == bool(what)


@pytest.mark.parametrize("ask", [ask_one, lambda engine: list(engine.generate([GenerationRequest(CHAT, 1, 100)]))])
@pytest.mark.parametrize("server", [dialects.vllm_with_parser, dialects.openai_reasoning])
def test_a_model_that_only_thinks_is_refused_at_its_first_reply(serve, ask, server):
    started = serve(server)
    engine = engine_on(started, limit_field="max_completion_tokens", body={"temperature": None}, top_logprobs=0)
    if server is dialects.vllm_with_parser:
        engine = engine_on(started)
    with pytest.raises(EngineError, match=r"went into its thought; let it answer at once, by \+model.template"):
        ask(engine)
    assert len(started.bodies) <= 2


def test_a_thought_s_first_token_is_no_answer(serve):
    listed = chat_completion("B", A=0.9)[1]
    listed["choices"][0]["message"] = {"content": None, "reasoning": "A"}
    server = serve((200, listed), chat_completion("C"))
    assert np.isposinf(ask_one(engine_on(server, thinking_tokens=500))[2])


def test_thoughts_that_leave_no_room_end_the_run_unless_replies_come_too(serve):
    requests = [GenerationRequest(CHAT, seed, 100) for seed in range(12)]
    with pytest.raises(EngineError, match=r"first 8 thoughts took all .* more than engine.thinking_tokens=500"):
        list(engine_on(serve(dialects.thought("Hm")), thinking_tokens=500).generate(requests))
    some = serve(chat_completion("Hello."), dialects.thought("Hm"))
    said = dict(engine_on(some, thinking_tokens=500, concurrency=1).generate(requests))
    assert sorted(said.values()) == [""] * 11 + ["Hello."]


def turns(messages):
    """Render messages one after the other; the model's last is left open."""
    *before, last = messages
    ended = "".join(f"<{one['role']}> {one['content']}<end>\n" for one in before)
    return f"{ended}<{last['role']}> {last['content']}" + ("" if last["role"] == "assistant" else "<end>\n<assistant>")


def moved(messages):
    """Render the system message beside the last message of the user's, as some templates do."""
    system, *others = messages
    place = max(index for index, one in enumerate(others) if one["role"] == "user")
    others[place] = {"role": "user", "content": f"{system['content']}\n\n{others[place]['content']}"}
    return turns(others)


@pytest.mark.parametrize("option", ["vllm_server", "llama_cpp"])
@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (turns, None),
        (None, None),
        (lambda messages: turns(messages[1:]), "leaves out the system message .*: set model.system_prompt=false"),
        (moved, "moves the system message .*: set model.system_prompt=false"),
        (
            lambda messages: turns(messages) + "<end>",
            "ends the model's message Answer: .*set engine.answer_prefix=question",
        ),
    ],
    ids=["in order", "not shown", "without system", "moved", "closed"],
)
def test_a_prompt_that_the_server_shows_is_checked_first(serve, caplog, option, template, fault):
    talk = (CHAT.messages[0], Message("user", "Hello."), Message("assistant", "Good day."), CHAT.messages[1])
    asked = ChoiceRequest(Prompt(talk, "Answer: ("), "ABC", 1)
    server = serve(GOOD)
    server.template = template
    engine = engine_of(option, server)
    if fault is None:
        for _ in range(2):
            np.testing.assert_allclose(np.exp(next(engine.score_options([[asked]]))[1]), [[0.2, 0.5, 0.1]])
        assert ("can't show its prompts" in caplog.text) == (template is None)
    else:
        with pytest.raises(EngineError, match=fault):
            list(engine.score_options([[asked]]))
        assert server.bodies == []


@pytest.mark.slow
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
    prices = ("engine.usd_per_million_input=1", "engine.usd_per_million_output=1")
    failed = valstab(*settings, *size, *prices, **environment)
    assert failed.returncode == 1
    assert "refuses the request (401)" in failed.stderr
    count = -1000
    before = len(server.bodies)
    done = valstab(*settings, *size, *prices, **environment)
    assert done.returncode == 0, done.stderr
    assert "US dollars" in done.stdout
    assert "HTTP" not in done.stdout + done.stderr
    # Of 4 conversations of a message each and 20 questions, all messages and some answers were there.
    assert len(server.bodies) - before <= 15
    estimated = valstab(*settings, *size, *prices, "dry_run=true", "store.path=null", **environment)
    assert "price          about 0.00 US dollars" in estimated.stdout
    for output in (failed, done, estimated):
        assert KEY not in output.stdout + output.stderr
    for file in launch_folder.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
