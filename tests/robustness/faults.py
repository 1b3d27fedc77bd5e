"""Break what a run stands on (the disk, MLflow, the store, the clock) and compare how it ends once that is mended."""

import hashlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from tests.robustness.command import Ended, begin, differences, launch, outcome
from tests.robustness.finding import Finding
from valstab.protocol.store import CHECKSUM_DIGITS
from valstab.tracking.record import SUFFIX

SETTINGS = ("model=random", "population.limit=12", "topics.names=[joke,chess]", "seeds=[0]")
DISK_MIB = 24
KIB = 1024
TIMES = 20
NOBODY = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
DAY = 86_400
WRONG_RECORDS = (
    "[[5.45, -1.0]]",
    "5",
    '[["a", "b"]]',
    "[" * 100_000,
    '{"logprobs": [[-0.1, -3.0]], "read": ["guessed"]}',
)
"""Records that are neither a message nor answers."""
DAMAGED_RECORDS = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "newer": lambda content: content.replace(b"{", b'{"of_version_9": 1, ', 1),
    "list": lambda _: b"[]",
    "deep": lambda _: b"[" * 100_000,
    "wrong_type": lambda content: content.replace(b'"metrics": {', b'"metrics": {"x": "much", ', 1),
    "no_text": lambda _: bytes(range(256)),
}
"""What becomes of a record's file."""


def findings(times: int = TIMES) -> Iterator[Finding]:
    """Yield one finding for each kind of fault."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        launch(folder / "alone", *SETTINGS)
        expected = outcome(folder / "alone")
        for fault in (
            full_disk,
            damaged_store,
            wrong_store,
            damaged_records,
            mlflow_away,
            jumping_clock,
            two_processes,
        ):
            yield fault(folder, expected, times)


def full_disk(folder: Path, expected: dict[str, object], times: int) -> Finding:
    """Fill a small disk during a run; with space again, the same command must reach the expected outcome."""
    used = sum(file.stat().st_size for file in (folder / "alone").rglob("*") if file.is_file())
    held = full = 0
    for number in range(times):
        with _small_disk(folder / f"disk_{number}") as disk:
            if disk is None:
                return Finding("disk full: not tried, as no tmpfs can be mounted here", 0, 0, "-")
            filler = disk / "filler"
            _leave(filler, number * used // times)
            first = launch(disk, *SETTINGS)
            full += "No space left" in first.said or "disk is full" in first.said
            filler.unlink()
            again = launch(disk, *SETTINGS) if first.code else launch(disk, module="valstab.sync")
            held += _is_clear(first) and again.code == 0 and not differences(expected, outcome(disk))
    return Finding(f"disk full, {full} times before the run's end", times, held, "nothing that was written")


def damaged_store(folder: Path, expected: dict[str, object], times: int) -> Finding:
    """Flip bytes in a store's files, or cut them short; a new start must say so in one line and make the rest again."""
    random = np.random.default_rng(0)
    held = 0
    for number in range(times):
        place = folder / f"damaged_{number}"
        shutil.copytree(folder / "alone" / ".valstab", place / ".valstab")
        for file in place.glob(".valstab/*/*/*.jsonl"):
            content = bytearray(file.read_bytes())
            for at in random.integers(len(content), size=3):
                content[at] ^= 1 << int(random.integers(8))
            file.write_bytes(content[: int(random.integers(1, len(content)))] if number % 2 else content)
        again = launch(place, *SETTINGS)
        held += again.code == 0 and not differences(expected, outcome(place))
    return Finding("store with flipped bytes, or cut short", times, held, "the damaged records")


def wrong_store(folder: Path, expected: dict[str, object], times: int) -> Finding:  # noqa: ARG001  (as the others)
    """Put into a store what has a right checksum and is wrong all the same; a new start must make it again."""
    place = folder / "wrong"
    shutil.copytree(folder / "alone" / ".valstab", place / ".valstab")
    for log in place.glob(".valstab/*/*/"):
        keys = [json.loads(line.partition(b" ")[2])[0] for file in log.iterdir() for line in file.open("rb")]
        wrong = itertools.cycle(WRONG_RECORDS)
        lines = [f'["{key}", {next(wrong)}]'.encode() for key in keys[::2]]
        sums = [hashlib.sha256(line).hexdigest()[:CHECKSUM_DIGITS].encode() for line in lines]
        first = log / "0.jsonl"  # of several records with a key, the first counts
        first.write_bytes(b"".join(check + b" " + line + b"\n" for check, line in zip(sums, lines, strict=True)))
        (log / "a folder.jsonl").mkdir()
    again = launch(place, *SETTINGS)
    held = again.code == 0 and not differences(expected, outcome(place))
    number = len(WRONG_RECORDS) + 1
    return Finding("store with impossible records and an odd folder", number, number * held, "nothing")


def damaged_records(folder: Path, expected: dict[str, object], times: int) -> Finding:  # noqa: ARG001  (as the others)
    """Damage the records of runs that are still to be logged; `valstab sync` must name each, and log all others."""
    place = folder / "records"
    launch(place, *SETTINGS, **NOBODY)
    (sound,) = place.glob(f"outputs/*/*/*{SUFFIX}")
    kinds = list(DAMAGED_RECORDS)
    for kind in kinds:
        bad = place / "outputs" / kind
        shutil.copytree(sound.parent, bad)
        content = (bad / sound.name).read_bytes()
        (bad / sound.name).write_bytes(DAMAGED_RECORDS[kind](content))
    logged = launch(place, module="valstab.sync")
    lines = [line for line in logged.said.splitlines() if line.startswith("valstab: ")]
    named = sum(any(f"outputs/{kind}/" in line for line in lines) for kind in kinds)
    is_whole = logged.code == 1 and "Traceback" not in logged.said and not differences(expected, outcome(place))
    return Finding("record cut, empty, newer or of another kind", len(kinds), named * is_whole, "these records")


def mlflow_away(folder: Path, expected: dict[str, object], times: int) -> Finding:
    """Run while no MLflow server answers; `valstab sync` must log everything later."""
    held = 0
    for number in range(max(1, times // 10)):
        place = folder / f"away_{number}"
        away = launch(place, *SETTINGS, **NOBODY)
        logged = launch(place, module="valstab.sync")
        held += away.code == logged.code == 0 and not differences(expected, outcome(place))
    return Finding("MLflow's server away from start to end", max(1, times // 10), held, "nothing")


def jumping_clock(folder: Path, expected: dict[str, object], times: int) -> Finding:
    """Run with a clock that jumps by up to a day, back or forth, at each reading."""
    held = 0
    read = time.time
    for number in range(max(1, times // 10)):
        random = np.random.default_rng(number)
        with mock.patch("time.time", lambda random=random: read() + random.uniform(-DAY, DAY)):
            jumped = launch(folder / f"clock_{number}", *SETTINGS)
        held += jumped.code == 0 and not differences(expected, outcome(folder / f"clock_{number}"))
    return Finding("clock that jumps by up to a day", max(1, times // 10), held, "nothing")


def two_processes(folder: Path, expected: dict[str, object], times: int) -> Finding:
    """Start the same run twice at once, on one store and one database."""
    held = 0
    for number in range(max(1, times // 10)):
        place = folder / f"two_{number}"
        place.mkdir()
        both = [begin(place, folder / f"two_{number}_{one}.log", SETTINGS, {}) for one in "ab"]
        for process in both:
            process.join()
        found = outcome(place)
        runs = found.pop("runs")
        is_whole = [status for status, _ in runs] == ["FINISHED", "FINISHED"] if isinstance(runs, list) else False
        metrics = found.pop("metrics")
        twice = sorted(2 * expected["metrics"]) if isinstance(expected["metrics"], list) else None
        files = {name: value for name, value in expected.items() if name in found}
        held += is_whole and metrics == twice and not differences(files, found)
    return Finding("two processes, one store, one database", max(1, times // 10), held, "nothing")


def _is_clear(ended: Ended) -> bool:
    """Return whether a command succeeded, or ended with a one-line error."""
    return ended.code == 0 or (
        "Traceback" not in ended.said and ended.said.strip().splitlines()[-1].startswith("valstab: ")
    )


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small tmpfs; give None where that is not allowed."""
    folder.mkdir()
    size = f"size={DISK_MIB}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _leave(filler: Path, free: int) -> None:
    """Fill a disk but for some bytes."""
    blank = bytes(4 * KIB)
    with filler.open("wb", buffering=0) as file:
        for _ in range((shutil.disk_usage(filler.parent).free - free) // len(blank)):
            file.write(blank)
