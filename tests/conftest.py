"""Shared fixtures: the embedded model, and commands in a folder of their own."""

import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.embedded import SMOLLM2
from tests.support.warm import WarmProcess
from valstab.commands.main import OBJECTS_BEFORE_COLLECTION
from valstab.config.schema import ModelConfig, SamplingConfig

if TYPE_CHECKING:  # MLflow and torch take seconds, which tests without them need not wait for
    from valstab.engines.huggingface.engine import TransformersEngine

gc.set_threshold(OBJECTS_BEFORE_COLLECTION)  # as commands do

settings.register_profile("quick", max_examples=15, deadline=None)
settings.register_profile("deep", max_examples=100, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the tests in a browser, slow ones, where selenium is not installed: `uv run` does not install it."""
    if collection_path.suffix != ".py" or find_spec("selenium") is not None:
        return None
    is_browsers = re.search(
        r"^from (selenium|tests.support.browser) ", collection_path.read_text("utf-8"), re.MULTILINE
    )
    return True if is_browsers else None


def leave_pictures_empty(patch: pytest.MonkeyPatch) -> None:
    """Write empty files for pictures from now on."""
    from valstab.results.picture import Picture

    patch.setattr(Picture, "savefig", lambda self, path, **settings: Path(path).touch())


@pytest.fixture(scope="session")
def embedded() -> "TransformersEngine":
    """The embedded model in float32."""
    from valstab.engines.huggingface.engine import TransformersEngine

    model = ModelConfig(
        name="smollm2_135m",
        path=SMOLLM2,
        dtype="float32",
        sampling=SamplingConfig(temperature=0.2, top_p=0.9, top_k=50),
    )
    return TransformersEngine(model, "none", device="cpu")


@pytest.fixture(scope="session")
def migrated_database(request, tmp_path_factory) -> Path:
    """An empty MLflow database. Creating one takes seconds, so pytest's cache keeps it for each version of MLflow."""
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("valstab") if cache else tmp_path_factory.mktemp("mlflow")
    path = folder / f"mlflow-{version('mlflow')}.db"
    if not path.exists():
        import mlflow

        draft = tmp_path_factory.mktemp("draft") / "mlflow.db"
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{draft}").search_experiments()
        shutil.copy(draft, near := path.with_suffix(f".{os.getpid()}"))
        near.rename(path)  # in one step, since other workers may be at it
    return path


@pytest.fixture
def launch_folder(tmp_path, monkeypatch, migrated_database) -> Path:
    """An empty folder to launch commands from, with MLflow's default database in it."""
    shutil.copy(migrated_database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def without_pictures(monkeypatch) -> None:
    """Leave the files of pictures empty, in a test that does not look at them: drawing takes seconds."""
    leave_pictures_empty(monkeypatch)


@pytest.fixture(scope="module")
def launch_template(tmp_path_factory, migrated_database) -> Iterator[Path]:
    """A folder in which a module's fixture makes runs once, without pictures, for tests that need copies of it."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copy(migrated_database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        leave_pictures_empty(patch)
        yield folder


@pytest.fixture(scope="session")
def heavy_process(request, tmp_path_factory) -> Iterator[WarmProcess]:
    """A process that has imported all modules of a run and of a comparison."""
    process = WarmProcess(_shared_folder(request, tmp_path_factory), "heavy")
    yield process
    process.close()


@pytest.fixture(scope="session")
def light_process(request, tmp_path_factory) -> Iterator[WarmProcess]:
    """A process that has imported what a command needs to check its settings."""
    process = WarmProcess(_shared_folder(request, tmp_path_factory), "light")
    yield process
    process.close()


def _shared_folder(request, tmp_path_factory) -> Path:
    """Return a folder that all workers of pytest-xdist share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if hasattr(request.config, "workerinput") else folder


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def valstab(request) -> Command:
    """Run `python -m valstab ...` or another of its modules: in a fork, or in slow tests in a new process."""
    if request.node.get_closest_marker("slow"):
        return request.getfixturevalue("valstab_process")
    return request.getfixturevalue("valstab_forked")


@pytest.fixture
def valstab_forked(heavy_process, launch_folder) -> Command:
    """Do the same, forked in slow tests too."""
    return _forking(heavy_process, launch_folder)


@pytest.fixture
def valstab_light(light_process, launch_folder) -> Command:
    """Run a command that must end before it imports slow modules."""
    return _forking(light_process, launch_folder)


@pytest.fixture
def valstab_process(launch_folder) -> Command:
    """Run a command in a new process, as a user does."""

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


def _forking(process: WarmProcess, folder: Path) -> Command:
    def command(*arguments: str, module: str = "valstab", **environment: str) -> subprocess.CompletedProcess[str]:
        return process.run(module, arguments, folder, {**os.environ, **environment})

    return command
