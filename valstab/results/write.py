"""The files of a folder of results."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from omegaconf import OmegaConf

from valstab.config.schema import Config
from valstab.protocol.collected import CollectedData
from valstab.protocol.converse import Conversation
from valstab.results.plots import figures
from valstab.results.results import Results, profiles


def write_config(config: Config, folder: Path) -> None:
    """Create the folder and write the whole configuration to `config.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(dataclasses.asdict(config)), folder / "config.yaml")


def write_answers(data: CollectedData, folder: Path) -> None:
    """Write `answers.parquet`, and `retests.parquet` if there are retests."""
    data.answers.to_parquet(folder / "answers.parquet", index=False)
    if data.retests is not None:
        data.retests.to_parquet(folder / "retests.parquet", index=False)


def write_results(results: Results, folder: Path) -> None:
    """Write `profiles.csv` and `stability.json` to an existing folder."""
    profiles(results.scores).to_csv(folder / "profiles.csv")
    document = json.dumps(results.document(), indent=1, ensure_ascii=False)
    (folder / "stability.json").write_text(document + "\n", encoding="utf-8")


def write_pictures(results: Results, folder: Path, title: str) -> None:
    """Draw the pictures in `plots/`, each with the title."""
    pictures = folder / "plots"
    pictures.mkdir(exist_ok=True)
    for name, figure in figures(results, title):
        figure.savefig(pictures / name, dpi=150)


def write_conversations(conversations: Iterable[Conversation], folder: Path) -> None:
    """Write `conversations.jsonl`, one line per conversation."""
    with (folder / "conversations.jsonl").open("w", encoding="utf-8") as file:
        for conversation in conversations:
            file.write(json.dumps(conversation.record(), ensure_ascii=False) + "\n")
