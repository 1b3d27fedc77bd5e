"""Chat templates and tokenizers: what each model family is shown, token for token, and how its format is found."""

import resource
import signal
import time

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.support import chat_templates as templates
from tests.support.embedded import SMOLLM2
from tests.support.english import question_prompt, reply_prompt
from tests.support.tokenizers import SAM, SPECIAL, tokenizer_of
from valstab.config.schema import ModelConfig
from valstab.engines.base import EngineError, Message, Prompt
from valstab.engines.checkpoint import locate_checkpoint
from valstab.engines.prompts import bounded
from valstab.engines.prompts.chat_format import detect_chat_format
from valstab.engines.prompts.tokenizer import PromptTokenizer
from valstab.protocol.prompts import ChatFormat

TALK = ["Tell me a joke.", "Potatoes!"]
QUESTION = "How?\n(A) Well\n(B) Ill"
SHOWN = {
    "llama2": (
        templates.LLAMA2,
        ChatFormat.SYSTEM,
        "<s>[INST] <<SYS>>\nYou are Sam, a gardener.\n<</SYS>>\n\nTell me a joke. [/INST] Potatoes! </s>"
        "<s>[INST] How?\n(A) Well\n(B) Ill [/INST]Answer: (",
    ),
    "llama2 without system": (
        templates.LLAMA2,
        ChatFormat.NO_SYSTEM,
        "<s>[INST] You are Sam, a gardener. [/INST] OK </s><s>[INST] Tell me a joke. [/INST] Potatoes! </s>"
        "<s>[INST] How?\n(A) Well\n(B) Ill [/INST]Answer: (",
    ),
    "mistral": (
        templates.MISTRAL,
        ChatFormat.NO_SYSTEM,
        "<s>[INST] You are Sam, a gardener. [/INST]OK</s>[INST] Tell me a joke. [/INST]Potatoes!</s>"
        "[INST] How?\n(A) Well\n(B) Ill [/INST]Answer: (",
    ),
    "zephyr": (
        templates.ZEPHYR,
        ChatFormat.SYSTEM,
        "<|system|>\nYou are Sam, a gardener.</s>\n<|user|>\nTell me a joke.</s>\n<|assistant|>\nPotatoes!</s>\n"
        "<|user|>\nHow?\n(A) Well\n(B) Ill</s>\n<|assistant|>\nAnswer: (",
    ),
    "chatml": (
        templates.CHATML,
        ChatFormat.SYSTEM,
        "<|im_start|>system\nYou are Sam, a gardener.<|im_end|>\n<|im_start|>user\nTell me a joke.<|im_end|>\n"
        "<|im_start|>assistant\nPotatoes!<|im_end|>\n<|im_start|>user\nHow?\n(A) Well\n(B) Ill<|im_end|>\n"
        "<|im_start|>assistant\nAnswer: (",
    ),
    "qwen3": (
        templates.QWEN3,
        ChatFormat.SYSTEM,
        "<|im_start|>system\nYou are Sam, a gardener.<|im_end|>\n<|im_start|>user\nTell me a joke.<|im_end|>\n"
        "<|im_start|>assistant\nPotatoes!<|im_end|>\n<|im_start|>user\nHow?\n(A) Well\n(B) Ill<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\nAnswer: (",
    ),
    "llama3": (
        templates.LLAMA3,
        ChatFormat.SYSTEM,
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\nYou are Sam, a gardener.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nTell me a joke.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nPotatoes!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHow?\n(A) Well\n(B) Ill<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nAnswer: (",
    ),
    "gemma3": (
        templates.GEMMA3,
        ChatFormat.SYSTEM,
        "<s><start_of_turn>user\nYou are Sam, a gardener.\n\nTell me a joke.<end_of_turn>\n"
        "<start_of_turn>model\nPotatoes!<end_of_turn>\n<start_of_turn>user\nHow?\n(A) Well\n(B) Ill<end_of_turn>\n"
        "<start_of_turn>model\nAnswer: (",
    ),
    "phi4": (
        templates.PHI4,
        ChatFormat.SYSTEM,
        "<|im_start|>system<|im_sep|>You are Sam, a gardener.<|im_end|><|im_start|>user<|im_sep|>Tell me a joke.<|im_end|>"
        "<|im_start|>assistant<|im_sep|>Potatoes!<|im_end|><|im_start|>user<|im_sep|>How?\n(A) Well\n(B) Ill<|im_end|>"
        "<|im_start|>assistant<|im_sep|>Answer: (",
    ),
    "base": (
        None,
        ChatFormat.BASE,
        "CONTEXT:The following is a conversation with Sam, a gardener.\nUSER:Tell me a joke.\nSAM:Potatoes!\n"
        "USER:How?\n(A) Well\n(B) Ill\nSAM:Answer: (",
    ),
}
ARGUMENTS = {"enable_thinking": False, "date_string": "26 Jul 2024"}


@pytest.mark.parametrize("family", SHOWN)
def test_a_question_token_for_token(family):
    template, form, text = SHOWN[family]
    tokenizer = tokenizer_of(template)
    tokens = PromptTokenizer(tokenizer, ARGUMENTS).encode(question_prompt(form, SAM, TALK, QUESTION))
    pieces = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    assert tokens == pieces.ids
    marks = [piece for piece in tokenizer.convert_ids_to_tokens(tokens) if piece in SPECIAL]
    assert marks == [piece for piece in pieces.tokens if piece in SPECIAL]
    assert tokens.count(tokenizer.bos_token_id) == text.count("<s>")


def test_the_interlocutor_of_a_family_that_insists_on_alternation():
    tokens = PromptTokenizer(tokenizer_of(templates.LLAMA2))
    prompt = reply_prompt(ChatFormat.SYSTEM, SAM, TALK)
    assert tokens.tokenizer.decode(tokens.encode(prompt)) == (
        "<s>[INST] <<SYS>>\nYou are simulating a human using a chatbot. The chatbot is pretending to be Sam. Your every "
        "reply must be in one sentence only.\n<</SYS>> [/INST] Tell me a joke. </s><s>[INST] Potatoes! [/INST]"
    )
    mistral = PromptTokenizer(tokenizer_of(templates.MISTRAL))
    prompt = reply_prompt(ChatFormat.NO_SYSTEM, SAM, TALK)
    assert mistral.tokenizer.decode(mistral.encode(prompt)) == (
        "<s>[INST] You are simulating a human using a chatbot. The chatbot is pretending to be Sam. Your every reply "
        "must be in one sentence only. [/INST]Tell me a joke.</s>[INST] Potatoes! [/INST]"
    )


@pytest.mark.parametrize("template", [templates.MISTRAL, templates.GEMMA2, templates.FORGETFUL])
def test_a_system_message_that_a_template_has_no_place_for(template):
    tokens = PromptTokenizer(tokenizer_of(template))
    with pytest.raises(EngineError, match=r"try model\.system_prompt=false") as caught:
        tokens.encode(question_prompt(ChatFormat.SYSTEM, SAM, TALK, QUESTION))
    assert "\n" not in str(caught.value)


def test_a_base_model_can_not_chat():
    with pytest.raises(EngineError, match=r"model\.format must be base"):
        PromptTokenizer(tokenizer_of(None)).encode(question_prompt(ChatFormat.SYSTEM, SAM, TALK, QUESTION))


FOUND = {
    "llama2": (templates.LLAMA2, "chat", True),
    "mistral": (templates.MISTRAL, "chat", False),
    "zephyr": (templates.ZEPHYR, "chat", True),
    "chatml": (templates.CHATML, "chat", True),
    "llama3": (templates.LLAMA3, "chat", True),
    "gemma3": (templates.GEMMA3, "chat", True),
    "gemma2": (templates.GEMMA2, "chat", False),
    "forgetful": (templates.FORGETFUL, "chat", False),
    "base": (None, "base", False),
}


@pytest.mark.parametrize("family", FOUND)
def test_the_format_is_found(family, tmp_path):
    template, form, system = FOUND[family]
    tokenizer_of(template).save_pretrained(tmp_path)
    model = detect_chat_format(ModelConfig(name="auto", path=str(tmp_path), format="auto", system_prompt=None))
    assert (model.format, model.system_prompt) == (form, system)
    # An explicit format is not overruled.
    explicit = detect_chat_format(ModelConfig(name="auto", path=str(tmp_path), format="base", system_prompt=None))
    assert (explicit.format, explicit.system_prompt) == ("base", False)


def test_the_format_of_the_embedded_model_is_found():
    model = detect_chat_format(ModelConfig(name="auto", path=SMOLLM2, format="auto", system_prompt=None))
    assert (model.format, model.system_prompt) == ("chat", True)


def test_the_digest_differs_where_the_rendered_text_does():
    digests = [
        PromptTokenizer(tokenizer_of(template), arguments).template_digest()
        for template, arguments in (
            (templates.LLAMA3, {}),
            (templates.LLAMA3, {"date_string": "26 Jul 2024"}),
            (templates.QWEN3, {}),
            (templates.QWEN3, {"enable_thinking": False}),
            (None, {}),
        )
    ]
    assert len(set(digests)) == 5
    assert digests[-1] == "none"


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Make a tokenizer that prefixes a space, merges a bracket with its letter, and has letters as bytes too."""
    pieces = ["<s>", "</s>", "<unk>", "▁", "(", ")", "A", "B", "(A", "▁A", "▁(", "n", "s", "w", "e", "r", ":"]
    pieces += ["<0x41>", "<0x42>"]
    model = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [("(", "A"), ("▁", "A"), ("▁", "(")]))
    model.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    model.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_letters_of_a_tokenizer_that_merges_and_prefixes():
    tokens = PromptTokenizer(sentencepiece_like())
    pieces = tokens.tokenizer.convert_ids_to_tokens
    # The prompt ends with the bracket alone, so what follows is the letter: as itself or as its byte.
    assert pieces(tokens.encode(Prompt((), "Answer: (")))[-2:] == [":", "▁("]
    assert pieces(tokens.of_letter("A")) == ["A", "<0x41>"]
    assert pieces(tokens.of_letter("B")) == ["B", "<0x42>"]
    with pytest.raises(EngineError, match="no token of the model decodes to the letter C"):
        tokens.of_letter("C")


def test_the_embedded_models_own_template():
    tokens = PromptTokenizer(AutoTokenizer.from_pretrained(locate_checkpoint(SMOLLM2)))
    prompt = Prompt((Message("system", "You are Sam."), Message("user", "How?")), "Answer: (")
    assert tokens.tokenizer.decode(tokens.encode(prompt)) == (
        "<|im_start|>system\nYou are Sam.<|im_end|>\n<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\nAnswer: ("
    )


ENDLESS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "grows": "{% set n = namespace(x='0123456789') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "grows at once": "{{ 'a'.center(10000000000) }}",
    "recurses": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "divides by zero": "{{ 1 // 0 }}",
    "is nested": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_template_that_does_not_end_is_stopped(kind, monkeypatch):
    monkeypatch.setattr(bounded, "MAX_SECONDS", 0.3)
    monkeypatch.setattr(bounded, "MAX_BYTES", 100 << 20)
    start, handler = time.monotonic(), signal.getsignal(signal.SIGALRM)
    with pytest.raises(EngineError, match=r"chat template (does not end|grows without end|refuses)") as caught:
        PromptTokenizer(tokenizer_of(ENDLESS[kind])).encode(question_prompt(ChatFormat.SYSTEM, SAM, TALK, QUESTION))
    assert str(caught.value).isprintable()
    assert time.monotonic() - start < 2
    assert signal.getsignal(signal.SIGALRM) == handler
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_a_template_that_is_nested_too_deep_for_its_variables_to_be_found_is_refused():
    with pytest.raises(EngineError, match="chat template refuses a dialogue"):
        _ = PromptTokenizer(tokenizer_of(ENDLESS["is nested"])).template.variables
