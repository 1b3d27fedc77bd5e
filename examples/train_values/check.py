"""Set the answers of described people beside those that their introductions give.

    uv run python examples/train_values/check.py RUN
    uv run python examples/train_values/check.py RUN --topic chess --shift 2
    uv run python examples/train_values/check.py RUN --noise 0.3

RUN is the folder of a run with `population=described_people`; the options are those that its adapter was trained with.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from valstab import load_runs
from valstab.inputs.files import DATA
from valstab.statistics.scores import score
from valstab.statistics.stability import MEASURE_NAMES, stability

N_OPTIONS = 6
STUDIES = 500


def main() -> None:
    """Print the share of right answers, and both stabilities beside the known ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run")
    parser.add_argument("--topic", default="", help="the topic that moves answers")
    parser.add_argument("--shift", type=int, default=0, help="by how many points it does")
    parser.add_argument(
        "--noise", type=float, default=0.0, help="the probability that is spread evenly over the options"
    )
    arguments = parser.parse_args()
    (run,) = load_runs(folders=[arguments.run])
    keys = {item.number: item.key for item in run.task.items}
    right = known_answers(run.answers, keys, arguments.topic, arguments.shift)
    hits = run.answers["score"] == right
    print(f"right answers: {hits.sum():,} of {len(hits):,} ({hits.mean():.1%}; chance {1 / N_OPTIONS:.1%})")
    random = np.random.default_rng(0)
    studies = [
        score(run.answers.assign(score=with_noise(right, arguments.noise, random)), run.task)
        for _ in range(STUDIES if arguments.noise else 1)
    ]
    for measure in MEASURE_NAMES:
        known = np.mean([stability(scores, measure).mean for scores in studies])
        print(f"{measure}: {stability(run.scores, measure).mean:.3f}, known {known:.3f}")


def known_answers(answers: pd.DataFrame, keys: dict[int, str], topic: str, shift: int) -> pd.Series:
    """Return the right answer to each question: the introduction's number, moved after conversations on a topic."""
    levels = pd.read_csv(DATA / "described_people.csv").set_index("name")
    columns = [keys[item].lower().replace("-", "_") for item in answers["item"]]
    named = [levels.loc[name, column] for name, column in zip(answers["persona"], columns, strict=True)]
    moved = np.where(answers["context"] == topic, shift, 0)
    return pd.Series(named, index=answers.index).add(moved).clip(1, N_OPTIONS)


def with_noise(answers: pd.Series, noise: float, random: np.random.Generator) -> pd.Series:
    """Return answers of which a share is replaced by any of the options."""
    return answers.where(random.random(len(answers)) >= noise, random.integers(1, N_OPTIONS + 1, len(answers)))


if __name__ == "__main__":
    main()
