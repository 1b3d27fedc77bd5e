"""Tests of valstab, run side by side: each process computes with one thread, set before torch is imported."""

import gc
import os
import sys

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Containers often set this. Without bytecode each of the tests' processes compiles MLflow or torch, for 10 seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Objects of imported libraries live as long as the process: looking through them for garbage takes a tenth of the time.
gc.set_threshold(100_000, 20, 100)
