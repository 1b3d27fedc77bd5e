"""Compute every stability again from saved answers: `python -m valstab rescore answers=FILE task=pvq`.

`answers` may also be a folder with results of the paper's published code (`valstab.analysis.published_code`).
Standard output is the content of `stability.json` and nothing else.
"""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import hydra
from omegaconf import DictConfig

from valstab.commands.start import exit_on_mistake, job_config, start
from valstab.config.options import CONFIG_FOLDER
from valstab.config.schema import ROUNDINGS, UNDEFINED, RescoreConfig
from valstab.errors import ConfigError, require
from valstab.inputs.files import find_path
from valstab.inputs.task import MAX_SCORE, load_task

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from valstab.statistics.scores import Rounding

TEXT_TYPE = ("text", ("string", "large_string"))
"""A type of column: its name in messages, and the Arrow types that belong to it."""

WHOLE_TYPE = ("whole numbers", ("integer",))
"""The type of seeds and item numbers."""

NUMBER_TYPE = ("numbers", ("integer", "floating"))
"""The type of scores and probabilities."""

COLUMN_TYPES = {
    "seed": WHOLE_TYPE,
    "context": TEXT_TYPE,
    "persona": TEXT_TYPE,
    "item": WHOLE_TYPE,
    "score": NUMBER_TYPE,
}
"""The columns that a file must have, with their types."""

OPTIONAL_COLUMNS = {
    "gender": TEXT_TYPE,
    "letter": ("text", ("string", "large_string", "null")),
    "answer_mass": NUMBER_TYPE,
    "reading": TEXT_TYPE,
}
"""The columns that are read if a file has them, with their types."""

LABEL_COLUMNS = ("seed", "context", "persona", "item")
"""The columns that together name an answer."""

MAX_GRID_RATIO = 10
"""Maximum ratio of label combinations to answers in a file: beyond it, their table may not fit in memory."""


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="rescore")
def app(composed: DictConfig) -> None:
    """Print the stabilities of saved answers."""
    exit_on_mistake(lambda: rescore(job_config(composed, RescoreConfig)))


def rescore(config: RescoreConfig) -> None:
    """Print the stabilities of saved answers as JSON.

    Raises:
        ConfigError: if the task or the file is invalid.
    """
    require("undefined", config.undefined, UNDEFINED)
    require("rounding", config.rounding, ROUNDINGS)
    task = load_task(config.task)
    path = find_path(config.answers)
    if path is None:
        raise ConfigError(
            "answers", config.answers, "no such file; allowed: a Parquet file, such as a run's answers.parquet"
        )
    from valstab.results.results import measure

    permutations = config.permutations
    if path.is_dir():
        from valstab.analysis.published_code import published_answers

        answers, without_personas = published_answers(path, task)
        permutations = permutations or without_personas
    else:
        answers = _read(path)
    rounding = cast("Rounding", config.rounding)
    results = measure(answers, task, config.undefined, without_personas=permutations, rounding=rounding)
    sys.stdout.write(json.dumps(results.document(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _read(path: Path) -> "pd.DataFrame":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        _check_columns(path, file.schema_arrow)
        # The file's metadata for pandas is ignored, since it may be damaged.
        columns = [name for name in (*COLUMN_TYPES, *OPTIONAL_COLUMNS) if name in file.schema_arrow.names]
        answers: pd.DataFrame = file.read(columns=columns).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, LookupError, ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError("answers", path, f"is not a Parquet file that can be read ({error})") from None
    if (answers["score"].abs() > MAX_SCORE).any():
        raise ConfigError("answers", path, f"has scores that are not finite numbers, of {MAX_SCORE:.0e} at most")
    combinations = math.prod(answers[name].nunique() for name in LABEL_COLUMNS)
    if combinations > MAX_GRID_RATIO * len(answers):
        raise ConfigError("answers", path, f"has {len(answers):,} of the {combinations:,} answers that its labels make")
    return answers


def _check_columns(path: Path, schema: "pa.Schema") -> None:
    import pyarrow.types as arrow_types

    missing = [name for name in COLUMN_TYPES if name not in schema.names]
    if missing:
        raise ConfigError("answers", path, f"lacks the column {', '.join(missing)}; it needs {', '.join(COLUMN_TYPES)}")
    for name, (wanted, type_names) in (COLUMN_TYPES | OPTIONAL_COLUMNS).items():
        if name not in schema.names:
            continue
        if schema.names.count(name) > 1:
            raise ConfigError("answers", path, f"has the column {name} twice")
        type_ = schema.field(name).type
        type_ = type_.value_type if arrow_types.is_dictionary(type_) else type_
        if not any(getattr(arrow_types, f"is_{each}")(type_) for each in type_names):
            raise ConfigError("answers", path, f"has {type_} in the column {name}, which must be {wanted}")


def main() -> None:
    """Start the command."""
    start(app)
