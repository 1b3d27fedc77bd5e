"""Options of the group `model`: the paper's models, and checks of every option."""

from pathlib import Path

import pytest

from tests.support.composed import compose_run
from valstab.config.check import check_config
from valstab.config.options import CONFIG_FOLDER
from valstab.protocol.plan import make_plan
from valstab.protocol.prompts import ChatFormat

LLAMA = {"temperature": 0.6, "top_p": 0.9, "top_k": 50, "min_p": None, "repetition_penalty": 1.2}
ZEPHYR = {"temperature": 0.7, "top_p": 0.95, "top_k": 50, "min_p": None, "repetition_penalty": None}
CARD = dict.fromkeys(LLAMA)
GPT = CARD | {"temperature": 1.0}
BASE, SYSTEM, NO_SYSTEM = ChatFormat.BASE, ChatFormat.SYSTEM, ChatFormat.NO_SYSTEM
MIXTRAL = "mistralai/Mixtral-8x7B"
PAPER = {
    "llama2_7b": ("meta-llama/Llama-2-7b-hf", BASE, LLAMA),
    "llama2_13b": ("meta-llama/Llama-2-13b-hf", BASE, LLAMA),
    "llama2_70b": ("meta-llama/Llama-2-70b-hf", BASE, LLAMA),
    "llama2_7b_chat": ("meta-llama/Llama-2-7b-chat-hf", SYSTEM, LLAMA),
    "llama2_13b_chat": ("meta-llama/Llama-2-13b-chat-hf", SYSTEM, LLAMA),
    "llama2_70b_chat": ("meta-llama/Llama-2-70b-chat-hf", SYSTEM, LLAMA),
    "mistral_7b": ("mistralai/Mistral-7B-v0.1", BASE, CARD),
    "mistral_7b_instruct_v01": ("mistralai/Mistral-7B-Instruct-v0.1", NO_SYSTEM, CARD),
    "mistral_7b_instruct_v02": ("mistralai/Mistral-7B-Instruct-v0.2", NO_SYSTEM, CARD),
    "zephyr_7b_beta": ("HuggingFaceH4/zephyr-7b-beta", SYSTEM, ZEPHYR),
    "mixtral": (f"{MIXTRAL}-Instruct-v0.1", NO_SYSTEM, CARD),
    "mixtral_4bit": (f"{MIXTRAL}-Instruct-v0.1", NO_SYSTEM, CARD),
    "mixtral_base": (f"{MIXTRAL}-v0.1", BASE, CARD),
    "mixtral_base_4bit": (f"{MIXTRAL}-v0.1", BASE, CARD),
    "phi_1": ("microsoft/phi-1", BASE, CARD),
    "phi_2": ("microsoft/phi-2", BASE, CARD),
    "qwen_7b": ("Qwen/Qwen-7B", BASE, CARD),
    "qwen_14b": ("Qwen/Qwen-14B", BASE, CARD),
    "qwen_72b": ("Qwen/Qwen-72B", BASE, CARD),
    "gpt35_0125": ("gpt-3.5-turbo-0125", SYSTEM, GPT),
    "gpt35_1106": ("gpt-3.5-turbo-1106", SYSTEM, GPT),
}
ALWAYS_THINKING = {"control_thinks", "deepseek_r1_distill_qwen_7b", "gpt5", "gpt5_mini", "gpt5_nano"}
OPTIONS = sorted(file.stem for file in Path(CONFIG_FOLDER, "model").glob("*.yaml"))


def test_the_paper_has_twenty_one():
    assert len(PAPER) == 21
    assert set(PAPER) <= set(OPTIONS)


@pytest.mark.parametrize("name", PAPER)
def test_a_model_of_the_paper(name):
    config = compose_run(f"model={name}")
    path, form, sampling = PAPER[name]
    assert (config.model.name, config.model.path) == (name, path)
    assert make_plan(config).chat_format is form
    assert vars(config.model.sampling) == sampling
    assert config.model.quantization == ("4bit" if name.endswith("4bit") else "none")
    assert config.engine.name == ("openai" if name.startswith("gpt") else "transformers")
    # Only the old Qwen models have code of their own.
    assert config.model.trust_remote_code is name.startswith("qwen_")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in PAPER or name.startswith("smollm2_135m") else pytest.mark.slow)
        for name in OPTIONS
        if name != "auto"
    ],
)
def test_every_option_is_sound(name):
    config = compose_run(f"model={name}")
    check_config(config)
    assert config.model.name == name
    assert (config.answer == "thinking") is (name in ALWAYS_THINKING)
    assert config.model.trust_remote_code is (name in {"qwen_7b", "qwen_14b", "qwen_72b"})


@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith(("qwen3_", "qwen35_"))])
def test_a_model_that_does_not_think_samples_as_its_card_says(name):
    model = compose_run(f"model={name}").model
    assert model.template == {"enable_thinking": False}
    assert (model.sampling.temperature, model.sampling.top_p, model.sampling.top_k) == (0.7, 0.8, 20)


def test_a_variant_is_one_override():
    config = compose_run("model=llama2_7b_chat", "model.system_prompt=false", "model.quantization=8bit")
    assert make_plan(config).chat_format is NO_SYSTEM
    assert config.model.quantization == "8bit"


def test_models_that_always_think_are_asked_after_a_thought():
    assert set(OPTIONS) >= ALWAYS_THINKING  # `test_every_option_is_sound` has the answers
    assert compose_run("model=gpt5", "answer=sampled").answer == "sampled"
    assert compose_run("model=gpt5_mini").engine.name == "openai_reasoning"
