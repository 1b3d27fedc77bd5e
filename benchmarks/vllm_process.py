"""Run `speed_vllm.py` in an environment that has vLLM."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from valstab.engines.huggingface.engine import TransformersEngine


def vllm(
    python: str,
    engine: TransformersEngine,
    prompts: Sequence[Sequence[list[int]]],
    openings: Sequence[list[int]],
    max_tokens: int,
) -> list[float]:
    """Return vLLM's seconds per question or generated token by round, with an engine's weights and the same tokens.

    Args:
        python: the Python of an environment that has vLLM.
        engine: the engine whose weights vLLM loads.
        prompts: tokens of each dialogue's questions, to be scored, or none.
        openings: tokens of prompts, to be continued.
        max_tokens: length of each continuation, in tokens.
    """
    with tempfile.TemporaryDirectory() as folder:
        task_file, answer_file = Path(folder, "work.json"), Path(folder, "answer.json")
        model = engine.causal.model.name_or_path
        task = {
            "model": model,
            "dtype": engine.identity["dtype"],
            "score": prompts,
            "continue": openings,
            "tokens": max_tokens,
        }
        task_file.write_text(json.dumps(task))
        script = Path(__file__).with_name("speed_vllm.py")
        log = subprocess.run(
            [python, script, task_file, answer_file], capture_output=True, text=True, check=False, env=cpu_of_vllm()
        )
        if not answer_file.exists():
            raise SystemExit(f"vLLM failed:\n{log.stderr[-2000:]}")
        result: list[float] = json.loads(answer_file.read_text())
        return result


def cpu_of_vllm() -> dict[str, str]:
    """Return the environment with which vLLM uses all cores of this process; by default it may leave some out."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    return {
        **os.environ,
        "VLLM_CPU_OMP_THREADS_BIND": cores,
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_CPU_KVCACHE_SPACE": "4",
    }
