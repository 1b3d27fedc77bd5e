"""Compute every stability again from saved answers: `python -m valstab.rescore answers=FILE task=pvq`.

`answers` may also be a folder with results of the paper's published code (`valstab.published`).

Standard output is what `stability.json` holds, and nothing else.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from valstab.cli import CONF, job, job_config, start
from valstab.config import UNDEFINED, ConfigError, RescoreConfig, require
from valstab.task import load_task

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("seed", "context", "persona", "item", "score")


@hydra.main(version_base="1.3", config_path=CONF, config_name="rescore")
def app(composed: DictConfig) -> None:
    """Read the answers, measure, and print."""
    job(lambda: rescore(job_config(composed, RescoreConfig)))


def rescore(config: RescoreConfig) -> None:
    """Print the stabilities of saved answers as JSON.

    Raises:
        ConfigError: if the file can't be used.
    """
    require("undefined", config.undefined, UNDEFINED)
    task = load_task(config.task)
    path = Path(config.answers).expanduser()
    if not path.exists():
        raise ConfigError("answers", path, "no such file; allowed: a Parquet file, such as a run's answers.parquet")
    from valstab.results import measure

    permutations = config.permutations
    if path.is_dir():
        from valstab.published import published_answers

        answers, without_personas = published_answers(path, task)
        permutations = permutations or without_personas
    else:
        answers = _read(path)
    results = measure(answers, task, config.undefined, permutations=permutations)
    sys.stdout.write(json.dumps(results.document(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa

    try:
        answers = pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError("answers", path, f"is not a Parquet file that can be read ({error})") from None
    missing = [name for name in COLUMNS if name not in answers]
    if missing:
        raise ConfigError("answers", path, f"lacks the column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    return answers


def main() -> None:
    """Start the command."""
    start(app)


if __name__ == "__main__":
    main()
