"""The launchers of clusters, for real: submitit with its local executor, and a Ray cluster of two workers here."""

import os
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.support.sweeps import FAILING, PERSONA, ROOT, SCRIPTED, SMALL, runs

SBATCH = """#!/bin/sh
cp "$1" {folder}/given.sh
echo "sbatch: error: invalid partition specified: gpu" >&2
exit 1
"""


@pytest.mark.slow
def test_slurm_is_asked_for_what_the_options_say(valstab, launch_folder):
    """A stand-in for sbatch keeps what it is given, and refuses it."""
    for name, content in (("sbatch", SBATCH.format(folder=launch_folder)), ("srun", "#!/bin/sh\n")):
        file = launch_folder / name
        file.write_text(content, "utf-8")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    command = valstab(
        *("-m", "model=random", "n_messages=1,3,5", "hydra/launcher=slurm", "hydra.launcher.partition=gpu"),
        *("hydra.launcher.gpus_per_node=2", "hydra.launcher.timeout_min=720", "hydra.launcher.array_parallelism=2"),
        PATH=f"{launch_folder}:{os.environ['PATH']}",
    )
    assert command.returncode == 1
    assert "invalid partition" in command.stderr
    given = {line.removeprefix("#SBATCH ") for line in (launch_folder / "given.sh").read_text("utf-8").splitlines()}
    wanted = {"--array=0-2%2", "--partition=gpu", "--gpus-per-node=2", "--time=720", "--mem=64GB", "--cpus-per-task=8"}
    assert wanted <= given


def test_without_slurm(valstab_light):
    command = valstab_light("-m", "model=random", "n_messages=1,3", "hydra/launcher=slurm", PATH="/nowhere")
    assert command.returncode == 1
    assert command.stderr.splitlines() == [
        "valstab: hydra/launcher=slurm: needs sbatch, which is not here; slurm_local does without"
    ]


@pytest.mark.slow
def test_submitit_runs_the_jobs_of_a_sweep(valstab, launch_folder):
    command = valstab(
        *("-m", "hydra/launcher=slurm_local", *SCRIPTED, *SMALL, f"{PERSONA},{FAILING.partition('=')[2]}"),
        *("n_messages=1", f"hydra.launcher.submitit_folder={launch_folder}/submitted/%j"),
        PYTHONPATH=ROOT,
    )
    assert command.returncode == 1
    assert "1 of 2 jobs failed" in command.stderr
    parent, children = runs(launch_folder)
    assert parent.info.status == "FAILED"
    assert [run.info.status for run in children] == ["FINISHED", "FAILED"]
    assert children[0].data.metrics["rank_order"] == 1
    (log,) = (path for path in Path(launch_folder, "submitted").rglob("*_0_log.err") if "asking" in path.read_text())
    assert "asking 320 of 320 questions" in log.read_text()


@contextmanager
def listening():
    """Yield the addresses at which Ray's processes below this one listen during the block."""
    addresses, ended = set(), threading.Event()

    def watch():
        while not ended.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if process.name().startswith(("raylet", "gcs_server", "ray::")):
                        found = process.net_connections("inet")
                        addresses.update(each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield addresses
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
def test_ray_runs_the_jobs_of_a_sweep_and_outlives_one_whose_process_dies(valstab, launch_folder):
    with listening() as addresses:
        command = valstab(
            *("-m", "hydra/launcher=ray", "hydra.launcher.init.num_cpus=2", *SCRIPTED, *SMALL, "n_messages=1"),
            f"{PERSONA},tests.support.scripted.DyingEngine,{FAILING.partition('=')[2]}",
            PYTHONPATH=ROOT,
        )
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert len(addresses) > 0
    assert command.returncode == 1
    assert "2 of 3 jobs failed" in command.stderr
    parent, children = runs(launch_folder)
    assert parent.info.status == "FAILED"
    assert [run.info.status for run in children] == ["FINISHED", "FAILED", "FAILED"]
    assert children[0].data.metrics["rank_order"] == 1
    assert children[1].data.tags["error"].startswith("WorkerCrashedError")
    assert "NaN" in children[2].data.tags["error"]
