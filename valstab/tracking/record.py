"""A run's MLflow data as a JSON file beside its results, to be uploaded later if MLflow cannot be reached."""

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

SUFFIX = ".mlflow.json"
"""`results/` has its record in `results.mlflow.json` beside it."""


@dataclass
class Record:
    """A run as MLflow shows it."""

    experiment: str
    name: str
    resume_token: str
    """Random text that finds the run in MLflow again."""
    began: int
    """Start, in milliseconds since 1970."""
    parameters: dict[str, str]
    tags: dict[str, str]
    inputs: list[dict[str, str]] = field(default_factory=list)
    """The fields of each dataset, with its `context`."""
    metrics: dict[str, list[float | None]] = field(default_factory=dict)
    """The values of each metric by step, most have one step; None is a step without a value."""
    status: str = "RUNNING"
    ended: int | None = None
    """End, in milliseconds since 1970; None while the run goes on."""
    logged: bool = False
    """Whether MLflow has the whole record and all files of the results."""

    def write(self, results: Path) -> None:
        """Write the record beside a folder of results; an interruption leaves the old file or the new one."""
        draft = results.with_name(f"{results.name}-{secrets.token_hex(4)}.tmp")
        draft.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.replace(results.with_name(results.name + SUFFIX))


def read_record(file: Path) -> Record:
    """Read a record from its file."""
    fields = json.loads(file.read_text(encoding="utf-8"))
    if "ticket" in fields:  # the field's name in files of version 0.1
        fields["resume_token"] = fields.pop("ticket")
    return Record(**fields)


def results_of(file: Path) -> Path:
    """Return the folder of results that a record's file belongs to."""
    return file.with_name(file.name.removesuffix(SUFFIX))
