"""The files of a folder of results."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from valstab.config.schema import Config
from valstab.config.secrets import redact
from valstab.errors import UserError, one_line
from valstab.protocol.collected import CollectedData
from valstab.protocol.converse import Conversation
from valstab.results import latex
from valstab.results.plots import figures
from valstab.results.results import Results, profiles
from valstab.whole_file import whole_file


class UnwrittenError(UserError):
    """Pictures or a report that could not be made; the files with numbers are all there."""


def write_config(config: Config, folder: Path) -> None:
    """Create the folder and write the whole configuration to `config.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "config.yaml") as draft:
        OmegaConf.save(OmegaConf.create(dataclasses.asdict(config)), draft)


def write_provenance(provenance: Mapping[str, Any], folder: Path) -> None:
    """Write what made the results to `provenance.json` in an existing folder."""
    with whole_file(folder / "provenance.json") as draft:
        draft.write_text(json.dumps(provenance, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_answers(data: CollectedData, folder: Path) -> None:
    """Write `answers.parquet`, and `retests.parquet` if there are retests."""
    tables = {"answers.parquet": data.answers, "retests.parquet": data.retests}
    for name, table in tables.items():
        if table is not None:
            with whole_file(folder / name) as draft:
                table.to_parquet(draft, index=False)


def write_results(results: Results, folder: Path) -> None:
    """Write `profiles.csv` and `stability.json` to an existing folder."""
    with whole_file(folder / "profiles.csv") as draft:
        profiles(results.scores).to_csv(draft)
    document = json.dumps(results.document(), indent=1, ensure_ascii=False)
    with whole_file(folder / "stability.json") as draft:
        draft.write_text(document + "\n", encoding="utf-8")


def write_conversations(conversations: Iterable[Conversation], folder: Path) -> None:
    """Write `conversations.jsonl`, one line per conversation."""
    with whole_file(folder / "conversations.jsonl") as draft, draft.open("w", encoding="utf-8") as file:
        for conversation in conversations:
            file.write(json.dumps(conversation.record(), ensure_ascii=False) + "\n")


def write_pictures(results: Results, folder: Path, title: str, problems: list[str]) -> None:
    """Draw the pictures in `plots/`, each with the title; one that fails is added to `problems`."""
    pictures = folder / "plots"
    with set_aside(problems, "plots"):
        pictures.mkdir(exist_ok=True)
        for name, draw in figures(results, title):
            with set_aside(problems, f"plots/{name}"), whole_file(pictures / name) as draft:
                draw().savefig(draft, dpi=150)


def write_methods(paragraphs: str, tables: str, folder: Path) -> None:
    """Write `methods.md`, the same in LaTeX as `methods.tex`, and `tables.tex`."""
    for name, text in {
        "methods.md": paragraphs,
        "methods.tex": latex.from_markdown(paragraphs),
        "tables.tex": tables,
    }.items():
        with whole_file(folder / name) as draft:
            draft.write_text(text, encoding="utf-8", newline="\n")


def write_prompt(prompt: str, folder: Path) -> None:
    """Write the first question to `prompt.txt`."""
    with whole_file(folder / "prompt.txt") as draft:
        draft.write_text(prompt, encoding="utf-8", newline="\n")


@contextmanager
def set_aside(problems: list[str], name: str) -> Iterator[None]:
    """Add an error of the block to `problems` as a line that begins with `name`, so that what follows is still done."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not end what follows
        problems.append(one_line(redact(f"{name} ({type(error).__name__}: {error})")))


def unwritten_error(problems: Sequence[str], folder: Path) -> UnwrittenError | None:
    """Return an error that names what could not be made; None if all was."""
    return UnwrittenError(f"not written: {'; '.join(problems)}; all else is in {folder}") if problems else None
