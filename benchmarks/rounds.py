"""Time ways to do the same work in rounds, in which they take turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import NamedTuple

import torch
from operations import synchronize


class Way(NamedTuple):
    """A function that does some work and returns how much."""

    work: Callable[[], int]
    is_compiled: bool = False
    """Whether the compiled parts of a model are in use."""


def alternate(ways: Mapping[str, Way], seconds: float) -> dict[str, list[float]]:
    """Return the seconds per unit of work of each way by round: one, and more until the time is over."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds
    while not all(times.values()) or time.perf_counter() < end:
        for name, way in ways.items():
            with nullcontext() if way.is_compiled else torch.compiler.set_stance("force_eager"):
                start = time.perf_counter()
                units = way.work()
                synchronize()
                times[name].append((time.perf_counter() - start) / units)
    return times


def print_ratios(times: Mapping[str, list[float]], unit: str, ideal: float | None = None) -> None:
    """Print the median and the shortest time per unit of each way, and how many times faster than the first both are.

    Args:
        times: seconds per unit of each way by round, the slowest way first.
        unit: what a unit is called.
        ideal: seconds per unit of the matrix products alone, if they are what a way is compared with.
    """
    heads = [f"ms a {unit}: median", "least", "times faster: median", "least"]
    print_row("way", *heads, *([] if ideal is None else ["of the matrix-product rate"]))
    print_row(*["---"] * (len(heads) + 1 + (ideal is not None)))
    first, least_of_first = (f(next(iter(times.values()))) for f in (statistics.median, min))
    for name, of_way in times.items():
        median, least = statistics.median(of_way), min(of_way)
        ratios = f"{first / median:.1f}", f"{least_of_first / least:.1f}"
        share = [] if ideal is None else [f"{ideal / median:.0%}"]
        print_row(name, f"{median * 1e3:.1f}", f"{least * 1e3:.1f}", *ratios, *share)
    print(flush=True)


def print_row(*cells: str) -> None:
    """Print a row of a table."""
    print(f"| {' | '.join(cells)} |")
