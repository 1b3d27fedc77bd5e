"""Score and continue tokens with vLLM. `speed.py` runs it in an environment that has vLLM but not valstab."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams

ROUNDS = 3


def main(work: Path, answer: Path) -> None:
    """Read the tokens from `work`, and write the seconds per question or generated token by round to `answer`."""
    task = json.loads(work.read_text())
    model = LLM(model=task["model"], dtype=task["dtype"], block_size=32, enable_prefix_caching=True, max_num_seqs=256)
    dialogues = [[{"prompt_token_ids": row} for row in rows] for rows in task["score"]]
    openings = [{"prompt_token_ids": row} for row in task["continue"]]
    if dialogues:
        one = SamplingParams(max_tokens=1, temperature=0, logprobs=6, detokenize=False)
        seconds = measure(model, [row for rows in dialogues for row in rows], one)
    else:
        message = SamplingParams(max_tokens=task["tokens"], temperature=0.2, top_p=0.9, top_k=50)
        seconds = measure(model, openings, message)
    answer.write_text(json.dumps(seconds))


def measure(model: Any, prompts: list[Any], sampling: SamplingParams) -> list[float]:
    """Return the seconds per generated token by round, each from an empty prefix cache."""
    seconds = []
    for number in range(ROUNDS + 1):
        model.reset_prefix_cache()
        start = time.perf_counter()
        outputs = model.generate(prompts, sampling, use_tqdm=False)
        if number:
            generated = sum(len(output.outputs[0].token_ids) for output in outputs)
            seconds.append((time.perf_counter() - start) / generated)
    return seconds


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
