"""Tiny models of real architectures with random weights, and a tokenizer of a thousand tokens."""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.support.chat_templates import CHATML
from valstab.config.schema import ModelConfig, SamplingConfig

SPECIAL_TOKENS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEXTS = (
    "You are Gandalf, a wizard from J. R. R. Tolkien's Middle-earth legendarium. Hello! Tell me a joke, a story.",
    "Whilst Jane was waiting to meet her friend, her nose started bleeding. So it is. I see. To think: 1. e4",
    "Question 1: how are you?\n(A) Well\n(B) Ill\n(C) So-so\n(D) Fine\n(E) Bad\n(F) Good\nAnswer: (",
    "user\nassistant\nsystem\nUSER:CHATBOT:BOT: Religion is important to me. How much is this person like you?",
)
SETTINGS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "vocab_size": 1000,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
"""Settings that most architectures share."""


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with a chat template and some words in its vocabulary."""
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SETTINGS["vocab_size"],
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token="<s>", eos_token="</s>", pad_token="</s>", chat_template=CHATML
    )


def write_tiny(folder: Path, config) -> ModelConfig:
    """Write a random model of an architecture, and the tokenizer."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    sampling = SamplingConfig(temperature=0.2, top_p=0.9, top_k=50)
    return ModelConfig(name="tiny", path=str(folder), dtype="float32", sampling=sampling)
