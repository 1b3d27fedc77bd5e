r"""Make a model of an architecture's usual size, to measure speed without its weights.

    uv run python benchmarks/made_model.py FOLDER --type mistral
    uv run python benchmarks/made_model.py FOLDER --type llama --set hidden_size=5120 intermediate_size=13824 \
        num_hidden_layers=40 num_attention_heads=40 num_key_value_heads=40

Its weights are random, except for those that repeat a fixed text. A message is therefore encoded again to the tokens
that were generated, as with a real model, and is as long as the limit allows. The tokenizer is the embedded model's.
"""

import argparse

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from valstab.config.compose import compose_run
from valstab.engines.checkpoint import locate_checkpoint

TEXT = (
    " I like to walk along the sea with old friends because nothing else makes me so calm, and every evening we cook"
    " fish while our children play music under tall trees near that small house where my father was born."
)
ANSWER = "Answer: (A(B(C(D(E(F"
N_LETTERS = 6
NEXT_TOKEN_LOGIT = 40
"""Logit of the token that follows in the text."""
LAYER_SCALE = 1e-3
"""Factor of each layer's output, so that the last token alone decides the next one."""


def main() -> None:
    """Make the model and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--type", default="mistral", help="an architecture of the library transformers")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=NUMBER", help="settings of the architecture")
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(locate_checkpoint(compose_run("model=smollm2_135m").model.path))
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    sizes = {name: int(number) for name, _, number in (each.partition("=") for each in arguments.set)}
    config = AutoConfig.for_model(arguments.type, vocab_size=len(tokenizer), **special, **sizes)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"), torch.no_grad():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        for name, weights in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "dense.weight", "fc2.weight")):
                weights.mul_(LAYER_SCALE)
        teach(model, tokenizer(TEXT).input_ids, tokenizer(ANSWER).input_ids)
    model.save_pretrained(arguments.folder)
    tokenizer.save_pretrained(arguments.folder)
    print(f"{model.num_parameters():,} parameters in {arguments.folder}")


def teach(model: torch.nn.Module, text: list[int], answer: list[int]) -> None:
    """Set weights so that a token of the text predicts its next, a bracket letters, and any other the first token."""
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    part = NEXT_TOKEN_LOGIT / embedding.shape[1]
    others = torch.randn_like(embedding[0])
    embedding.copy_(torch.randn_like(embedding) + others)
    embedding[text] -= others
    head[text[0]] = part * (others + embedding[text[-1]])
    head[text[1:]] = part * embedding[text[:-1]]
    *_, bracket = answer[: -2 * N_LETTERS + 1]
    embedding[bracket] -= others
    head[answer[-2 * N_LETTERS + 1 :: 2]] = part * embedding[bracket]


if __name__ == "__main__":
    main()
