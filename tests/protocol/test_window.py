"""Conversations longer than the context window: refused before anything is generated, or truncated by the rule."""

import itertools
import re

import mlflow
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers import models as architectures

from tests.support.composed import compose_run
from tests.support.english import reply_prompt
from tests.support.scripted import WordyEngine
from tests.support.tiny_models import tokenizer
from valstab.config.schema import ModelConfig
from valstab.dry_run.estimate import estimate
from valstab.engines.base import EngineError, GenerationRequest, Message, Prompt, Window
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.limits import context_window
from valstab.errors import ConfigError
from valstab.protocol.ask import ask
from valstab.protocol.context_window import longest_prompt, require_fit
from valstab.protocol.converse import converse
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.prompts import question_text
from valstab.protocol.store import RecordLog
from valstab.run import run

SMALL = ("population.limit=3", "topics.names=[joke,chess]", "seeds=[0]", "task=religion", "max_new_tokens=20")
FORMATS = ((), ("model.system_prompt=false",), ("model.format=base",), ("population=none", "population.limit=2"))


def plan_of(*settings):
    return make_plan(compose_run(*SMALL, *settings))


def wordy_engine(tokens):
    engine = WordyEngine(None, "none")
    engine.window = Window(tokens, engine.count)
    return engine


def converse_and_ask(plan, engine, conversation_log=None, answer_log=None):
    """Generate the conversations and ask the questions."""
    stage = Stage("", "", 0)
    conversations = converse(plan, engine, RecordLog(None) if conversation_log is None else conversation_log, stage)
    answer_log = RecordLog(None) if answer_log is None else answer_log
    return conversations, ask(plan, conversations, engine, answer_log, stage)


def longest_prompt_with_reply(engine):
    return max(engine.count(prompt) + room for prompt, room in engine.shown)


@pytest.mark.parametrize("settings", FORMATS)
def test_what_is_not_refused_fits_and_the_largest_length_is_named(settings):
    window = Window(400, wordy_engine(0).count)
    with pytest.raises(ConfigError) as caught:
        require_fit(plan_of(*settings, "n_messages=43"), window, "tiny")
    found = re.fullmatch(
        r"n_messages=43: a conversation with its question may have up to ([\d,]+) tokens, but tiny can read 400; the "
        r"largest n_messages that always fits is (\d+); or overflow=truncate leaves its oldest messages out",
        str(caught.value),
    )
    assert int(found[1].replace(",", "")) == longest_prompt(plan_of(*settings, "n_messages=43"), window)
    largest = int(found[2])
    require_fit(plan_of(*settings, f"n_messages={largest}"), window, "tiny")
    with pytest.raises(ConfigError, match=f"always fits is {largest};"):
        require_fit(plan_of(*settings, f"n_messages={largest + 2}"), window, "tiny")
    engine = wordy_engine(400)
    converse_and_ask(plan_of(*settings, f"n_messages={largest}"), engine)
    # A word is added for each message, and some for an answer.
    assert 400 - 2 * (20 + 4) - largest - 8 < longest_prompt_with_reply(engine) <= 400


def test_a_plan_that_can_not_fit_is_refused():
    window = Window(60, wordy_engine(0).count)
    with pytest.raises(
        ConfigError, match=r"n_messages=3: .* can read 60; not even n_messages=1 always fits; or overflow=trunc"
    ):
        require_fit(plan_of("n_messages=3"), window, "tiny")
    with pytest.raises(
        ConfigError, match=r"overflow=truncate: the parts that are never left out may have up to \d+ tokens, but"
    ):
        require_fit(plan_of("n_messages=3", "overflow=truncate", "max_new_tokens=50"), window, "tiny")
    neutral = ("conversation=none", "topics=none", "topics.names=null")
    with pytest.raises(ConfigError, match=r"n_messages=0: the parts that are never left out .* but tiny can read 30"):
        require_fit(plan_of(*neutral), Window(30, window.count), "tiny")
    require_fit(plan_of("n_messages=9999"), None, "tiny")
    with pytest.raises(ConfigError, match=r"overflow=cut: allowed: stop, truncate"):
        plan_of("overflow=cut")


@pytest.mark.parametrize("settings", FORMATS)
def test_the_oldest_messages_are_left_out_in_pairs_and_no_more_than_has_to_be(settings):
    plan, engine = plan_of(*settings, "n_messages=15", "overflow=truncate"), wordy_engine(260)
    require_fit(plan, engine.window, "tiny")
    conversations, _ = converse_and_ask(plan, engine)
    assert 260 - 2 * (20 + 4) - 8 < longest_prompt_with_reply(engine) <= 260
    whole, _ = converse_and_ask(plan_of(*settings, "n_messages=15"), wordy_engine(10**6))
    assert [each.texts for each in conversations] == [each.texts for each in whole]
    for each in conversations:
        assert each.n_dropped % 2 == 0
        assert each.seen(plan) == each.texts[each.n_dropped :]
        assert each.n_dropped > 0
        assert each.n_truncated > 0
    for prompt, _ in engine.shown:
        roles = [message.role for message in prompt.messages if message.role != "system"]
        assert all(one != other for one, other in itertools.pairwise(roles))
    item = plan.task.items[0]
    question = question_text(plan.task.description, item.text["M"], item.options["M"]).splitlines()[0]
    asked = [prompt for prompt, room in engine.shown if room == 1]
    instruction = plan.personas[0].introduction
    for prompt in asked[:1]:
        text = "\n".join([*(message.text for message in prompt.messages), prompt.text])
        assert question in text
        assert instruction is None or instruction in text


def test_a_reply_sees_the_latest_texts_that_fit():
    plan = plan_of("n_messages=9", "overflow=truncate", "population.limit=1", "topics.names=[joke]")
    engine = wordy_engine(120)
    ((conversation,), _) = converse_and_ask(plan, engine)
    replies = [prompt for prompt, room in engine.shown if room == 20]
    truncated = 0
    for number, prompt in enumerate(replies, 1):
        texts = conversation.texts[:number]
        sizes = [
            engine.count(reply_prompt(plan.chat_format, plan.personas[0], texts[left:])) + 20
            for left in range(0, number - 1 + number % 2, 2)
        ]
        left = next(2 * i for i, size in enumerate(sizes) if size <= 120)
        assert prompt == reply_prompt(plan.chat_format, plan.personas[0], texts[left:])
        truncated += left > 0
    assert conversation.n_truncated == truncated == 5
    assert replies[-1] == reply_prompt(plan.chat_format, plan.personas[0], conversation.texts[6:9])


def test_a_truncated_conversation_shares_no_record_with_a_whole_one():
    conversation_log, answer_log = RecordLog(None), RecordLog(None)
    length = "n_messages=9"
    converse_and_ask(plan_of(length), wordy_engine(10**6), conversation_log, answer_log)
    again, asked = converse_and_ask(
        plan_of(length, "overflow=truncate"), wordy_engine(10**6), conversation_log, answer_log
    )
    # Nothing had to be left out, so all is the same.
    assert (all(each.reused for each in again), asked.reused) == (True, 6 * 5)
    assert sum(each.n_truncated for each in again) == 0
    before = len(conversation_log), len(answer_log)
    shorter = wordy_engine(160)
    conversations, asked = converse_and_ask(plan_of(length, "overflow=truncate"), shorter, conversation_log, answer_log)
    assert asked.reused == 0
    assert len(conversation_log) - before[0] == sum(each.n_truncated for each in conversations)
    assert len(answer_log) - before[1] == 6
    # Another window that leaves out as much finds it; one that leaves out less does not.
    _, asked = converse_and_ask(plan_of(length, "overflow=truncate"), wordy_engine(161), conversation_log, answer_log)
    assert asked.reused == 6 * 5
    _, asked = converse_and_ask(plan_of(length, "overflow=truncate"), wordy_engine(260), conversation_log, answer_log)
    assert asked.reused == 0


def test_a_dry_run_reports_truncation():
    plan = plan_of("n_messages=15", "overflow=truncate")
    estimated = str(estimate(plan, wordy_engine(260), RecordLog(None), RecordLog(None)))
    most = longest_prompt(plan, wordy_engine(260).window)
    assert (
        f"window         up to {most:,} tokens, but the model can read 260: the oldest messages are left out"
        in estimated
    )
    assert "window" not in str(estimate(plan, wordy_engine(10**6), RecordLog(None), RecordLog(None)))


def test_a_dry_run_without_conversations_can_truncate():
    plan = plan_of("conversation=none", "topics=none", "topics.names=null", "overflow=truncate")
    assert "15 to ask" in str(estimate(plan, wordy_engine(10**6), RecordLog(None), RecordLog(None)))


QWEN = {"max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (architectures.LlamaConfig(max_position_embeddings=4096), 4096),
        (architectures.GPT2Config(n_positions=1024), 1024),
        (architectures.MptConfig(max_seq_len=512), 512),
        (architectures.MambaConfig(), None),
        (architectures.Gemma3Config(text_config={"max_position_embeddings": 777}), 777),
        (architectures.LlamaConfig(max_position_embeddings=4096, seq_length=2048), 2048),
        (architectures.Qwen2Config(**QWEN, rope_scaling={"rope_type": "linear", "factor": 2.0}), 65536),
        (architectures.Qwen2Config(**QWEN, rope_scaling={"type": "yarn", "factor": 4.0}), 131072),
        (
            architectures.LlamaConfig(
                max_position_embeddings=131072,
                rope_scaling={
                    "rope_type": "llama3",
                    "factor": 32.0,
                    "original_max_position_embeddings": 8192,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                },
            ),
            131072,
        ),
    ],
    ids=["llama", "gpt2", "mpt", "mamba", "multimodal", "qwen", "linear", "yarn", "llama3"],
)
def test_the_window_is_read_off_the_configuration(config, length):
    assert context_window(config) == length


@pytest.fixture(scope="module")
def short_sighted(tmp_path_factory):
    """Weights of a model that has no positions after the 490th: it fails at a longer prompt."""
    folder = tmp_path_factory.mktemp("opt")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "ffn_dim": 16, "word_embed_proj_dim": 16, "num_hidden_layers": 1}
    config = architectures.OPTConfig(
        **sizes, num_attention_heads=2, vocab_size=1000, max_position_embeddings=490, bos_token_id=0, eos_token_id=1
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def test_a_prompt_beyond_the_last_position_is_refused_by_the_engine(short_sighted):
    engine = TransformersEngine(ModelConfig(name="opt", path=str(short_sighted), dtype="float32"), "none", device="cpu")
    prompt = Prompt((Message("user", "word " * 100),), "")
    length = engine.window.count(prompt)
    assert (engine.window.tokens, length) == (490, len(engine.tokens.encode(prompt)))
    assert len(dict(engine.generate([GenerationRequest(prompt, 0, 490 - length)]))) == 1
    with pytest.raises(EngineError, match="has 491 tokens, but the model can read 490: take a smaller n_messages"):
        list(engine.generate([GenerationRequest(prompt, 0, 491 - length)]))


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_a_real_run_is_refused_or_shortened_to_the_last_position(short_sighted, launch_folder):
    settings = ("model=auto", f"model.path={short_sighted}", "model.name=opt", "model.dtype=float32", *SMALL)
    chat = ("model.format=chat", "model.system_prompt=true", "n_messages=21")

    def finished(*more):
        config = compose_run(*settings, *chat, *more)
        return run(config, make_plan(config), launch_folder / "results")

    with pytest.raises(
        ConfigError, match=r"n_messages=21: .* opt can read 490; the largest n_messages that always fits is \d+;"
    ):
        finished()
    assert not (launch_folder / "results" / "conversations.jsonl").exists()
    finished("overflow=truncate")
    done, failed = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("valstab").experiment_id])
    assert (failed.info.status, done.info.status) == ("FAILED", "FINISHED")
    assert "n_messages=21" in failed.data.tags["error"]
    assert done.data.metrics["shortened_prompts"] > 6 * 5
    assert done.data.params["overflow"] == "truncate"
