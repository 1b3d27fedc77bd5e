"""A run's MLflow data as a JSON file beside its results, to be uploaded later if MLflow cannot be reached."""

import dataclasses
import json
import typing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from valstab.errors import UserError
from valstab.whole_file import whole_file

SUFFIX = ".mlflow.json"
"""`results/` has its record in `results.mlflow.json` beside it."""


FINISHED = "FINISHED"
"""MLflow's status of a run that ended without a failure."""


class RecordError(UserError):
    """A file that is no record of a run, or one of a newer version."""


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
        with whole_file(results.with_name(results.name + SUFFIX)) as draft:
            draft.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(file: Path) -> Record:
    """Read a record from its file.

    Raises:
        RecordError: if the file can't be read or is not a record.
    """
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
        if "ticket" in fields:  # the field's name in files of version 0.1
            fields["resume_token"] = fields.pop("ticket")
        unknown = fields.keys() - {each.name for each in dataclasses.fields(Record)}
        record = Record(**{name: value for name, value in fields.items() if name not in unknown})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(f"{file}: is no record of a run ({error})") from None
    if unknown:
        raise RecordError(f"{file}: was written by a newer version of valstab ({', '.join(sorted(unknown))})")
    if wrong := [name for name, type_ in TYPES.items() if not _has_type(getattr(record, name), type_)]:
        raise RecordError(f"{file}: is no record of a run (wrong type of {', '.join(wrong)})")
    return record


def _has_type(value: object, type_: object) -> bool:
    """Return whether a value from a JSON file has the type of a field of a record."""
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is dict:
        return isinstance(value, dict) and all(_has_type(each, arguments[1]) for each in value.values())
    if origin is list:
        return isinstance(value, list) and all(_has_type(each, arguments[0]) for each in value)
    if type_ is float:
        return isinstance(value, int | float)
    return (
        any(_has_type(value, each) for each in arguments)
        if arguments
        else isinstance(value, typing.cast("type", type_))
    )


TYPES = typing.get_type_hints(Record)
"""The type of each field of a record."""


def results_of(file: Path) -> Path:
    """Return the folder of results that a record's file belongs to."""
    return file.with_name(file.name.removesuffix(SUFFIX))
