"""Compare the estimates of `dry_run=true` with what the runs took: tokens, time, memory, disk.

    uv run python benchmarks/estimate.py

Each run is estimated before and after it, and the table shows the mean, since a machine may become slower or faster.
Each estimate and each run has its own process; each run has an empty folder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import mlflow

from valstab.config.compose import compose_run
from valstab.dry_run.estimate import estimate
from valstab.engines.base import GIB
from valstab.engines.factory import load_engine
from valstab.protocol.plan import make_plan
from valstab.protocol.store import RecordLog

TOPICS = "topics.names=[joke,history,chess]"
RUNS = {
    "3 messages, PVQ": ["population.limit=6", "seeds=[0,1]", TOPICS],
    "9 messages, religion": ["task=religion", "n_messages=9", "population.limit=24", "seeds=[0]", TOPICS],
    "1 message, donation": ["task=donation", "n_messages=1", "population.limit=4", "seeds=[0]", TOPICS],
}
ESTIMATE_FLAG = "--estimate"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(ESTIMATE_FLAG, nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    requested = parser.parse_args().estimate
    if requested:
        print(json.dumps(estimate_run(requested)))
        return
    print("| run | | tokens encoded | generated | seconds conversing | asking | GiB of memory | MB of disk |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name, overrides in RUNS.items():
        before, real, after = estimate_apart(overrides), make_run(overrides), estimate_apart(overrides)
        expected = [(one + other) / 2 for one, other in zip(before, after, strict=True)]
        ratios = [one / other if other else 1.0 for one, other in zip(expected, real, strict=True)]
        for label, row, form in (("estimated", expected, ",.0f"), ("real", real, ",.0f"), ("ratio", ratios, ".2f")):
            cells = [format(x, form if label == "ratio" or x >= 10 else ".1f") for x in row]  # noqa: PLR2004
            print(f"| {name if label == 'estimated' else ''} | {label} | {' | '.join(cells)} |", flush=True)


def estimate_apart(overrides: list[str]) -> list[float]:
    """Return the estimate of a run, made in its own process."""
    process = subprocess.run(
        [sys.executable, __file__, ESTIMATE_FLAG, *overrides], capture_output=True, text=True, check=True
    )
    numbers: list[float] = json.loads(process.stdout.splitlines()[-1])
    return numbers


def estimate_run(overrides: list[str]) -> list[float]:
    """Return the estimate of a run: tokens (encoded, generated), seconds (conversing, asking), GiB and MB."""
    config = compose_run(*overrides)
    estimated = asdict(estimate(make_plan(config), load_engine(config), RecordLog(None), RecordLog(None)))
    names = ("encoded_tokens", "generated_tokens", "conversing_seconds", "asking_seconds")
    return [*(estimated[name] for name in names), estimated["memory_bytes"] / GIB, estimated["disk_bytes"] / 1e6]


def make_run(overrides: list[str]) -> list[float]:
    """Make a run and return its cost, in the order of `estimate_run`."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        command = [sys.executable, "-m", "valstab", *overrides]
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
        client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
        experiment = client.get_experiment_by_name("valstab")
        metrics = client.search_runs([experiment.experiment_id])[0].data.metrics
        files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != "mlflow.db"]
        size = sum(path.stat().st_size for path in files)
    names = ("encoded_tokens", "generated_tokens", "conversing_seconds", "asking_seconds", "peak_memory_gib")
    return [*(metrics[name] for name in names), size / 1e6]


if __name__ == "__main__":
    main()
