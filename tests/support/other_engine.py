"""Answer questions with an engine of another environment and print the answers; the arguments are the model and its adapter, if any."""

import json
import sys

from tests.support.questions import CHOICES, TALKS
from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.vllm import VllmEngine

if __name__ == "__main__":
    model = ModelConfig(
        name="m",
        path=sys.argv[1],
        dtype="float32",
        sampling=SamplingConfig(temperature=0.2, top_p=0.9, top_k=50),
        adapter=next(iter(sys.argv[2:]), None),
    )
    engine = VllmEngine(model, "none", max_model_len=2048, enforce_eager=True)
    said = [dict(engine.generate(talks)) for talks in (TALKS, TALKS, TALKS[1:])]
    before = engine.usage.encoded_tokens
    answers = [logprobs.tolist() for _, logprobs in engine.score_options(CHOICES)]
    encoded = engine.usage.encoded_tokens - before
    whole = sum(len(engine.tokens.encode(choice.prompt)) for choices in CHOICES for choice in choices)
    document = {"said": said, "answers": answers, "encoded": encoded, "whole": whole, "identity": dict(engine.identity)}
    print(f"\n{json.dumps(document)}")
