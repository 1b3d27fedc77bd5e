"""The installed command: a wheel in an environment of its own, used outside the checkout."""

import json
import os
import shutil
import subprocess
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Build the wheel and install it alone; what it depends on is seen in this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = folder / "venv"
    uv = ["uv", "--quiet", "--no-progress"]
    subprocess.run([*uv, "build", "--wheel", "--out-dir", folder, CHECKOUT], check=True)
    subprocess.run([*uv, "venv", environment], check=True)
    (wheel,) = folder.glob("*.whl")
    python = environment / "bin" / "python"
    subprocess.run([*uv, "pip", "install", "--no-config", "--no-deps", "--python", python, wheel], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    # A path file is read here, but none in the folder that it adds: the checkout stays unseen.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return environment / "bin"


def test_only_tracked_files_are_packed(tmp_path):
    """A clone with files of one's own beside the tracked ones, as sdist, and as wheel from either."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", CHECKOUT, clone], check=True)
    shutil.copy(CHECKOUT / "hatch_build.py", clone)
    tracked = subprocess.run(["git", "ls-files"], cwd=clone, check=True, capture_output=True, text=True).stdout.split()
    for own in (".env", "notes.txt", "conf/model/mine.yaml", "valstab/keys.py", "hydra_plugins/mine.py"):
        (clone / own).write_text("# mine\n")
    build = ["uv", "--quiet", "--no-progress", "build", "--out-dir"]
    subprocess.run([*build, tmp_path / "both", clone], check=True)
    subprocess.run([*build, tmp_path / "direct", "--wheel", clone], check=True)
    (sdist,) = (tmp_path / "both").glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        assert {name.split("/", 1)[1] for name in packed.getnames()} == {*tracked, "PKG-INFO"}
    in_wheel = {name.replace("conf/", "valstab/conf/", 1) if name.startswith("conf/") else name for name in tracked}
    in_wheel = {name for name in in_wheel if name.startswith(("valstab/", "hydra_plugins/"))}
    for wheel in (*tmp_path.glob("both/*.whl"), *tmp_path.glob("direct/*.whl")):
        assert {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name} == in_wheel


@pytest.fixture
def command(installed, launch_folder):
    """Run a command of the installed environment in an empty folder."""

    def run(*arguments: str) -> str:
        result = subprocess.run(
            [installed / arguments[0], *arguments[1:]],
            cwd=launch_folder,
            env={name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_the_installed_package_is_the_wheels(command, installed):
    where, dumped = command(
        "python", "-c", "import valstab, valstab.config.options as c; print(valstab.__file__); print(c.CONFIG_FOLDER)"
    ).split()
    for path in (where, dumped):
        assert Path(path).is_relative_to(installed.parent)
    assert (Path(where).parent / "py.typed").is_file()


def test_help_lists_the_packaged_options(command):
    shown = command("valstab", "--help")
    for option in ("quickstart", "mixtral_4bit", "fictional_characters", "donation"):
        assert f"\n  {option} " in shown


def test_a_run_in_an_empty_folder_can_be_rescored_and_is_stored(command, launch_folder):
    shown = command("valstab", "model=random", "population.limit=3", "topics.names=[joke,chess]", "seeds=[0]")
    assert "1 seed x 2 contexts x 3 personas x 40 items = 240 questions" in shown
    (results,) = launch_folder.glob("outputs/*/*/results")
    rescored = command("python", "-m", "valstab", "rescore", f"answers={results / 'answers.parquet'}")
    assert json.loads(rescored) == json.loads((results / "stability.json").read_text(encoding="utf-8"))
    listed = command("python", "-m", "valstab", "store", "list")
    assert "answers-pvq-n3" in listed
    assert "engine random" in listed


def test_options_of_the_users_own(command, launch_folder):
    shutil.copytree(CHECKOUT / "examples" / "curiosity", launch_folder / "mine")
    own = ("--config-dir", "mine", "task=curiosity", "population=travellers", "topics=errands")
    assert "travellers: 6 personas" in command("python", "-m", "valstab", "validate", *own)
    assert "2 seeds x 3 contexts x 6 personas x 10 items = 360 questions" in command("valstab", *own, "model=random")
