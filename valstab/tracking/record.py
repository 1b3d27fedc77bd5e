"""What MLflow is told of a run, as a file beside its results, so that it can be told later where it can't be now."""

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

SUFFIX = ".mlflow.json"
"""`results/` has its record in `results.mlflow.json` beside it."""


@dataclass
class Record:
    """A run as MLflow shows it. Times are in milliseconds since 1970."""

    experiment: str
    name: str
    resume_token: str
    """By which MLflow's run is found again."""
    began: int
    parameters: dict[str, str]
    tags: dict[str, str]
    inputs: list[dict[str, str]] = field(default_factory=list)
    """Each dataset's fields, with its `context`."""
    metrics: dict[str, list[float | None]] = field(default_factory=dict)
    """Each metric's value by step; most have one. None is a step without a value."""
    status: str = "RUNNING"
    ended: int | None = None
    logged: bool = False
    """Whether MLflow has all of it, and the files as well."""

    def write(self, results: Path) -> None:
        """Write it beside a folder of results, at once or not at all."""
        draft = results.with_name(f"{results.name}-{secrets.token_hex(4)}.tmp")
        draft.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.replace(results.with_name(results.name + SUFFIX))


def read_record(file: Path) -> Record:
    """Read a record from its file."""
    fields = json.loads(file.read_text(encoding="utf-8"))
    if "ticket" in fields:  # its name until 0.1
        fields["resume_token"] = fields.pop("ticket")
    return Record(**fields)


def results_of(file: Path) -> Path:
    """Give the folder of results that a record's file stands beside."""
    return file.with_name(file.name.removesuffix(SUFFIX))
