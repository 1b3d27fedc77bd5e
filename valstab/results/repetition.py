"""Whether a run that was made again gave the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from valstab.config.schema import MEASURES

LABELS = ("seed", "context", "persona", "item")
"""The columns that together name an answer."""


def differences(old: Path, new: Path) -> list[str]:
    """Return how two folders of results of one configuration differ, a line each; empty if they are the same.

    Conversations, answers with their log-probabilities, and stabilities are compared to the last bit.
    """
    return [*_conversations(old, new), *_answers(old, new), *_stabilities(old, new)]


def size(folder: Path) -> str:
    """Return how much there is to compare in a folder of results."""
    answers = len(pd.read_parquet(folder / "answers.parquet", columns=["item"]))
    return f"{len(_lines(folder)):,} conversations, {answers:,} answers and all stabilities"


def changed_provenance(old: Path, new: Path) -> list[str]:
    """Return what made two folders of results and differs, such as a library's version, a line each."""
    one, other = (_flat(_document(folder / "provenance.json")) for folder in (old, new))
    return [
        f"{name}: {one.get(name, 'unknown')}, now {other.get(name, 'unknown')}"
        for name in dict.fromkeys([*one, *other])
        if name != "command" and one.get(name) != other.get(name)
    ]


def _conversations(old: Path, new: Path) -> Iterator[str]:
    pairs = list(zip(_lines(old), _lines(new), strict=False))
    if len(_lines(old)) != len(_lines(new)):
        yield f"{len(_lines(new)):,} conversations instead of {len(_lines(old)):,}"
        return
    changed = [first for first, second in pairs if first != second]
    if changed:
        first = json.loads(changed[0])
        place = f"seed {first['seed']}, {first['context']}, {first['persona']}"
        yield f"{len(changed):,} of {len(pairs):,} conversations, the first: {place}"


def _answers(old: Path, new: Path) -> Iterator[str]:
    one, other = (pd.read_parquet(folder / "answers.parquet") for folder in (old, new))
    if one.equals(other):
        return
    if list(one) != list(other) or not one[list(LABELS)].equals(other[list(LABELS)]):
        yield "the table of answers has other columns or rows"
        return
    chosen = int((one["score"].ne(other["score"]) & ~(one["score"].isna() & other["score"].isna())).sum())
    columns = [name for name in one if str(name).startswith("logprob_")]
    change = np.abs(one[columns].to_numpy(float) - other[columns].to_numpy(float))
    largest = float(np.nanmax(np.nan_to_num(change, posinf=0))) if change.size else 0.0
    yield (
        f"{chosen:,} of {len(one):,} answers choose another option; log-probabilities differ by {largest:.2g} nats at "
        "most"
    )


def _stabilities(old: Path, new: Path) -> Iterator[str]:
    one, other = (_document(folder / "stability.json") for folder in (old, new))
    if one == other:
        return
    shown = [f"{name} {_number(one.get(name))}, now {_number(other.get(name))}" for name in MEASURES]
    yield f"stabilities: {'; '.join(shown)}"


def _lines(folder: Path) -> list[str]:
    return (folder / "conversations.jsonl").read_text(encoding="utf-8").split("\n")[:-1]


def _document(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    parts = (each.items() if isinstance(each := document[name], dict) else [("", each)] for name in document)
    return {f"{name} {key}".strip(): value for name, part in zip(document, parts, strict=True) for key, value in part}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
