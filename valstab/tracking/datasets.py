"""What went into a run, as MLflow datasets: the model, the population, the topics and the items, each with a digest."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from valstab.config.schema import Config
from valstab.hashing import content_hash
from valstab.protocol.plan import Plan

DIGEST_DIGITS = 8
"""Digits of a digest, as in MLflow's own."""


def describe_datasets(config: Config, plan: Plan, identity: Mapping[str, str]) -> list[dict[str, str]]:
    """Describe the inputs as the fields of MLflow datasets, each with its `context`: equal digests, equal content.

    Args:
        config: names the inputs and their files.
        plan: their content.
        identity: what the engine says of the model and how it is run.
    """
    parts: dict[str, tuple[str, str | None, Any]] = {
        "model": (config.model.name, config.model.path, dict(identity)),
        "population": (config.population.name, config.population.personas, _plain(plan.personas)),
        "topics": (config.topics.name, config.topics.openings, _plain(plan.contexts)),
        "items": (f"{plan.task.name}: {plan.task.wording}", config.task.items, plan.task.digest),
    }
    return [
        {**_dataset(name, source, content).to_dict(), "context": context}
        for context, (name, source, content) in parts.items()
    ]


def _dataset(name: str, source: str | None, content: Any) -> MetaDataset:
    return MetaDataset(
        CodeDatasetSource({"file": str(source)}), name=name, digest=content_hash(content)[:DIGEST_DIGITS]
    )


def _plain(parts: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(part) for part in parts]
