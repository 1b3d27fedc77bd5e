"""Set what a sweep of controls found beside what their rules give.

    uv run python -m valstab -m +experiment=controls hydra.sweep.dir=controls
    uv run python benchmarks/controls.py controls/sweep.csv comparisons/controls/results/controls.csv

What a rule gives is simulated with many people by numpy and scipy alone, in two contexts.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from valstab.config.compose import compose_run
from valstab.inputs.task import load_task

PEOPLE = 20_000
PLACES = 6


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="the sweep's table")
    parser.add_argument("table", type=Path, help="the file to write")
    arguments = parser.parse_args()
    keys = [item.key for item in load_task(compose_run("model=control_keeps").task).items]
    rows = []
    for job in pd.read_csv(arguments.sweep).to_dict("records"):
        settings = compose_run(*str(job["overrides"]).split())
        expected = simulated(settings.engine, settings.answer, int(job["n_messages"]), keys)
        row = {"control": settings.model.name.removeprefix("control_"), "n_messages": job["n_messages"]}
        for name, value in zip(("rank_order", "ipsative"), expected, strict=True):
            found, low, high = (job.get(f"{name}{end}") for end in ("", "_low", "_high"))
            between = "-" if np.isnan(low) else f"{low:.2f} to {high:.2f}"
            row |= {f"{name} known": value, f"{name} found": found, f"{name} 95%": between}
        rows.append(row)
    arguments.table.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).round(3).to_csv(arguments.table, index=False)


def simulated(rule: object, answer: str, n_messages: int, keys: list[str]) -> tuple[float, float]:
    """Return the rank-order and the ipsative stability that a rule gives."""
    random = np.random.default_rng(0)
    share = float(rule.share)
    if rule.half_life is not None:
        share *= 2 ** (-n_messages / rule.half_life)
    if rule.first_letter:
        return 0.0, 0.0
    if rule.only_thinking and answer != "thinking":  # the one order of values that all have is a matter of luck
        return 0.0, float("nan")
    shape = (PEOPLE, len(keys))
    stays = random.standard_normal(shape)
    contexts = []
    for _ in range(2):
        level = norm.cdf(np.sqrt(share) * stays + np.sqrt(1 - share) * random.standard_normal(shape))
        places = (level * (PLACES - 2 * rule.shift)).astype(int) + rule.shift
        places += random.integers(-rule.shift, rule.shift, size=len(keys), endpoint=True)
        centred = places - places.mean(axis=1, keepdims=True)
        contexts.append(np.stack([centred[:, np.array(keys) == key].mean(axis=1) for key in dict.fromkeys(keys)]))
    # Between two topics, a shift changes everybody's order of values as luck has it.
    return rho(*contexts), float("nan") if rule.shift else rho(*(each.T for each in contexts))


def rho(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the mean of Spearman's rho between the rows of two arrays."""
    x, y = (rankdata(each.round(9), axis=1) for each in (one, other))
    x, y = (each - each.mean(axis=1, keepdims=True) for each in (x, y))
    return float(np.mean((x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))))


if __name__ == "__main__":
    main()
