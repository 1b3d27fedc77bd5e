"""A small tokenizer that knows the control tokens of many model families."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from valstab.inputs.population import Persona

SAM = Persona("Sam", "M", "Sam, a gardener.")
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"]
SPECIAL += ["<|start_header_id|>", "<|end_header_id|>"]


def tokenizer_of(template: str | None, **options) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with some markers as single tokens, and without a pad token."""
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(["(A) (B) (C) (D) (E) (F) a gardener"] * 9, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token="<s>", eos_token="</s>", chat_template=template, **options
    )
