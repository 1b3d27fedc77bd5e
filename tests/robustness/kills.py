"""Kill a real run with kill -9 at random moments of each of its phases, start it again, and compare how it ends.

The run is of the embedded model. In each round it is killed a few times in a row, then left alone to its end; what it
leaves must equal, byte for byte, what a run left that was never killed.
"""

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np

from tests.robustness.finding import Finding
from valstab.tracking.record import read_record

COMMAND = (
    *("model=smollm2_135m", "model.dtype=float32", "task=religion", "population=real_world_personas"),
    *("population.limit=3", "topics.names=[joke,chess]", "seeds=[0]", "n_messages=1", "max_new_tokens=8"),
    "hydra.run.dir=outputs/${now:%H-%M-%S-%f}",
)
RECORD = "results.mlflow.json"
LOGGED = "logged"
"""The sign that MLflow has all."""
PHASES = {
    "loading": RECORD,
    "conversing": "results/conversations.jsonl",
    "asking": "results/answers.parquet",
    "writing": "results/report.html",
    "logging": LOGGED,
}
"""Each phase ends when this file is there, below the run's folder, or the record says so."""
KILLS = 50
SAME = ("answers.parquet", "conversations.jsonl", "profiles.csv", "stability.json")
OWN = ("peak_memory_gib", "conversing_seconds", "asking_seconds", "queries_per_second")
SPENT = ("encoded_tokens", "generated_tokens", "reused_conversations", "reused_answers")
"""Metrics of the work, which a run that goes on did less of."""
END = 600


@dataclass
class Phase:
    """A phase of the run that was left alone."""

    name: str
    seconds: float


def findings(kills: int = KILLS, command: Sequence[str] = COMMAND) -> Iterator[Finding]:
    """Kill a run in all phases, one after the other, and count for each how often all was as if nothing had been."""
    moments = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        alone = Place(Path(name, "alone"), command)
        phases = alone.watched()
        expected = alone.outcome()
        planned = [phases[number % len(phases)] for number in range(kills)]
        held = dict.fromkeys((phase.name for phase in phases), 0)
        waiting, survived = planned.copy(), list[Phase]()
        place = Place(Path(name, "0"), command)
        for number in itertools.count(1):
            is_dead = place.killed(waiting[0], moments.random())
            if is_dead:
                survived.append(waiting.pop(0))
            if is_dead and waiting and len(survived) < len(phases):
                continue
            if is_dead:
                place.finish()
            if not _differences(expected, place.outcome()):
                for phase in survived:
                    held[phase.name] += 1
            if not waiting:
                break
            place, survived = Place(Path(name, str(number)), command), []
        for phase in phases:
            tried = sum(each is phase for each in planned)
            yield Finding(f"kill -9 while {phase.name}", tried, held[phase.name], "the batch in flight")


def _differences(expected: dict[str, object], found: dict[str, object]) -> bool:
    different = {key: (value, found[key]) for key, value in expected.items() if value != found[key]}
    if different:
        print(f"after kills: {different}", file=sys.stderr)
    return bool(different)


class Place:
    """A folder in which one run is started until it ends."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        folder.mkdir()
        self._folder = folder
        self._command = command
        self._before: set[Path] = set()

    def watched(self) -> list[Phase]:
        """Run to the end, and return how long each phase took."""
        process = self._start()
        phases, before = [], time.monotonic()
        for name, sign in PHASES.items():
            self._wait(process, sign)
            now = time.monotonic()
            phases.append(Phase(name, now - before))
            before = now
        self._wait(process, None)
        if process.returncode != 0:
            raise SystemExit(f"the run failed:\n{self._log()}")
        return phases

    def killed(self, phase: Phase, share: float) -> bool:
        """Start the run and kill it when a share of a phase is over; say if that was before it had logged all."""
        process = self._start()
        signs = list(PHASES.values())
        place = list(PHASES).index(phase.name)
        if place:
            self._wait(process, signs[place - 1])
        with_end = time.monotonic() + share * phase.seconds
        while process.poll() is None and time.monotonic() < with_end:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        return not self._left(LOGGED)

    def finish(self) -> None:
        """Start the run and let it end."""
        process = self._start()
        self._wait(process, None)
        if process.returncode != 0:
            raise SystemExit(f"the run that was killed did not go on:\n{self._log()}")

    def outcome(self) -> dict[str, object]:
        """Return what kills must not change: files, MLflow's runs with their numbers, and whether the store is intact."""
        results = self._newest()
        client = mlflow.MlflowClient(f"sqlite:///{self._folder}/mlflow.db")
        experiment = client.get_experiment_by_name("valstab")
        runs = client.search_runs([experiment.experiment_id])
        metrics = [{k: v for k, v in run.data.metrics.items() if k not in (*OWN, *SPENT)} for run in runs]
        artifacts = sorted(file.path for run in runs for file in client.list_artifacts(run.info.run_id))
        listed = self._python("-m", "valstab.store", "list")
        return {
            **{name: hashlib.sha256((results / name).read_bytes()).hexdigest() for name in SAME},
            "record": read_record(results.with_name("results.mlflow.json")).status,
            "runs": [(run.info.status, run.data.tags.get("error")) for run in runs],
            "metrics": metrics,
            "artifacts": artifacts,
            "store": [line.split()[:2] for line in listed.splitlines() if line.startswith("  ")],
            "damaged": "damaged" in listed,
        }

    def _start(self) -> "subprocess.Popen[bytes]":
        self._before = set(self._folder.glob("outputs/*"))
        with (self._folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "valstab", *self._command],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                env=self._environment(),
            )

    def _wait(self, process: "subprocess.Popen[bytes]", sign: str | None) -> None:
        """Wait until a run has left a file, or has ended."""
        end = time.monotonic() + END
        while process.poll() is None and not (sign and self._left(sign)):
            if time.monotonic() > end:
                process.kill()
                raise SystemExit(f"the run hangs:\n{self._log()}")
            time.sleep(0.002)

    def _left(self, sign: str) -> bool:
        new = set(self._folder.glob("outputs/*")) - self._before
        if sign == LOGGED:
            return any((folder / RECORD).exists() and read_record(folder / RECORD).logged for folder in new)
        return any((folder / sign).exists() for folder in new)

    def _newest(self) -> Path:
        return max(self._folder.glob("outputs/*/results.mlflow.json")).with_name("results")

    def _log(self) -> str:
        return (self._folder / "log.txt").read_text(errors="replace")[-3000:]

    def _python(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self._folder,
            env=self._environment(),
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def _environment(self) -> dict[str, str]:
        # The cache of converted weights and locks is made anew as well: it may not be left half-made either.
        cache = {"XDG_CACHE_HOME": str(self._folder / "cache")}
        return {**os.environ, **cache, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    for finding in findings():
        print(json.dumps(finding._asdict()))
