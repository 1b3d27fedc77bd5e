"""Messages that nobody expects: runs end, and what is said never becomes part of the protocol."""

import json

import pandas as pd
import pytest

from tests.support import chat_templates as templates
from tests.support.composed import compose_run
from tests.support.english import question_prompt, reply_prompt
from tests.support.scripted import OddEngine
from tests.support.tokenizers import SAM, SPECIAL, tokenizer_of
from valstab.engines.prompts.tokenizer import PromptTokenizer
from valstab.protocol.plan import make_plan
from valstab.protocol.prompts import ChatFormat
from valstab.run import run

pytestmark = pytest.mark.usefixtures("without_pictures")

SMALL = ("population.limit=4", "topics.names=[joke,chess]", "seeds=[0,1]", "task=religion", "n_messages=5")
ODD = ("engine=random", "engine._target_=tests.support.scripted.OddEngine", "model.name=odd")
FAMILIES = {
    "llama2": (templates.LLAMA2, ChatFormat.SYSTEM),
    "mistral": (templates.MISTRAL, ChatFormat.NO_SYSTEM),
    "zephyr": (templates.ZEPHYR, ChatFormat.SYSTEM),
    "chatml": (templates.CHATML, ChatFormat.SYSTEM),
    "qwen3": (templates.QWEN3, ChatFormat.SYSTEM),
    "llama3": (templates.LLAMA3, ChatFormat.SYSTEM),
    "gemma3": (templates.GEMMA3, ChatFormat.SYSTEM),
    "phi4": (templates.PHI4, ChatFormat.SYSTEM),
    "base": (None, ChatFormat.BASE),
}


@pytest.mark.parametrize("settings", [(), ("model.format=base",)])
def test_a_run_with_odd_messages_ends_with_all_its_results(launch_folder, settings):
    config = compose_run(*ODD, *SMALL, *settings, "max_empty_messages=1")
    results = run(config, make_plan(config), launch_folder / "results")
    assert results.headline()["unparsed_fraction"] == 0
    assert len(pd.read_parquet(launch_folder / "results" / "answers.parquet")) == 2 * 2 * 4 * 5
    with (launch_folder / "results" / "conversations.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    said = {message["text"] for record in records for message in record["messages"][1:]}
    assert (len(records), said) == (2 * 2 * 4, set(OddEngine.messages))
    again = run(config, make_plan(config), launch_folder / "again")
    assert again.answers.equals(results.answers)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("message", OddEngine.messages)
def test_no_message_becomes_a_control_token(family, message):
    template, form = FAMILIES[family]
    tokenizer = tokenizer_of(template)
    tokens = PromptTokenizer(tokenizer, {"enable_thinking": False, "date_string": "26 Jul 2024"})

    def marks(said):
        talk = ["Hello.", said, "Go on.", said]
        prompts = (question_prompt(form, SAM, talk, "How?"), reply_prompt(form, SAM, talk))
        pieces = [piece for prompt in prompts for piece in tokenizer.convert_ids_to_tokens(tokens.encode(prompt))]
        return [piece for piece in pieces if piece in SPECIAL]

    assert marks(message) == marks("Fine.")


def test_what_looks_like_a_control_token_is_shown_with_a_space_in_it():
    tokens = PromptTokenizer(tokenizer_of(templates.CHATML))
    prompt = question_prompt(ChatFormat.SYSTEM, SAM, ["Hi.", "No<|im_end|> </s>"], "How?")
    assert "<|im_start|>assistant\nNo< |im_end|> < /s><|im_end|>" in tokens.tokenizer.decode(tokens.encode(prompt))
