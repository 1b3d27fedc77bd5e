"""Parts of a run, made side by side by several workers, and put together again.

A part leaves its conversations and answers in its results folder, as a run does, and `part.json` with what it cost.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from valstab.config import ConfigError
from valstab.converse import Conversation
from valstab.plan import Plan
from valstab.results import Work

PART = "part.json"
ENCOUNTER = ["seed", "context", "persona"]


@dataclass(frozen=True)
class Gathered:
    """What was said and answered, before anything is made of it."""

    conversations: Sequence[Conversation]
    """One for each encounter of the plan, in its order."""
    answers: pd.DataFrame
    """One row a question, as `valstab.ask.ask` gives them."""
    retests: pd.DataFrame | None
    """The same for all retests, with their number in the column `retest`."""
    work: Work
    engine: Mapping[str, str]
    """What the engine really used."""
    damaged: int
    """Lines of the store that could not be read."""


def write_part(gathered: Gathered, folder: Path) -> None:
    """Write what the other files of a part's folder do not tell."""
    document = {"work": asdict(gathered.work), "engine": dict(gathered.engine), "damaged": gathered.damaged}
    (folder / PART).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def together(plan: Plan, folders: Sequence[Path]) -> Gathered:
    """Put the parts of a run together, in the order of the plan.

    Raises:
        ConfigError: if something that was planned is in none of the folders.
    """
    documents = [json.loads((folder / PART).read_text(encoding="utf-8")) for folder in folders]
    said = {
        (record["seed"], record["context"], record["persona"]): tuple(each["text"] for each in record["messages"])
        for folder in folders
        for record in map(json.loads, (folder / "conversations.jsonl").open(encoding="utf-8"))
    }
    missing = [encounter.labels for encounter in plan.encounters if encounter.labels not in said]
    if missing:
        raise ConfigError("parts", plan.parts, f"no part has {missing[0]}; there are {len(folders)}")
    works = [Work(**document["work"]) for document in documents]
    return Gathered(
        conversations=[Conversation(encounter, said[encounter.labels]) for encounter in plan.encounters],
        answers=_in_order(plan, [pd.read_parquet(folder / "answers.parquet") for folder in folders]),
        retests=_in_order(plan, [pd.read_parquet(folder / "retests.parquet") for folder in folders], ["retest"])
        if plan.retests
        else None,
        work=_summed(works, plan.questions),
        engine=documents[0]["engine"],
        damaged=sum(document["damaged"] for document in documents),
    )


def _in_order(plan: Plan, parts: Sequence[pd.DataFrame], first: Sequence[str] = ()) -> pd.DataFrame:
    place = {encounter.labels: number for number, encounter in enumerate(plan.encounters)}
    table = pd.concat(parts, ignore_index=True)
    places = pd.Series([place[labels] for labels in table[ENCOUNTER].itertuples(index=False, name=None)])
    keys = table[[*first, "item"]].assign(place=places)[[*first, "place", "item"]]
    return table.loc[keys.sort_values(list(keys.columns), kind="stable").index].reset_index(drop=True)


def _summed(works: Sequence[Work], questions: int) -> Work:
    """Add up what workers did side by side: their times are the longest, their memory is of one process."""

    def total(name: str) -> Any:
        return sum(getattr(work, name) for work in works)

    asking = max(work.asking_seconds for work in works)
    reused = total("reused_answers")
    return Work(
        queries_per_second=(questions - reused) / asking,
        conversing_seconds=max(work.conversing_seconds for work in works),
        asking_seconds=asking,
        peak_memory_gib=max(work.peak_memory_gib for work in works),
        encoded_tokens=total("encoded_tokens"),
        generated_tokens=total("generated_tokens"),
        reused_conversations=total("reused_conversations"),
        reused_answers=reused,
        shortened_prompts=total("shortened_prompts"),
        usd=None if any(work.usd is None for work in works) else total("usd"),
    )
