"""The inputs of a run as MLflow datasets: the model, the population, the topics and the items, each with a digest."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from valstab.config.schema import Config
from valstab.hashing import content_hash
from valstab.protocol.plan import Plan

DIGEST_CHARACTERS = 8
"""Characters of a dataset's digest, as many as in MLflow's own."""


def describe_datasets(config: Config, plan: Plan, identity: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the fields of one MLflow dataset per input, each with its `context`; equal content has equal digests.

    Args:
        config: the names of the inputs and of their files.
        plan: the content of the inputs.
        identity: the engine's description of the model and of how it is run.
    """
    inputs: dict[str, tuple[str, str | None, Any]] = {
        "model": (config.model.name, config.model.path, dict(identity)),
        "population": (config.population.name, config.population.personas, _as_dicts(plan.personas)),
        "topics": (config.topics.name, config.topics.openings, _as_dicts(plan.contexts)),
        "items": (f"{plan.task.name}: {plan.task.wording}", config.task.items, plan.task.digest),
    }
    return [
        {**_dataset(name, source, content).to_dict(), "context": context}
        for context, (name, source, content) in inputs.items()
    ]


def _dataset(name: str, source: str | None, content: Any) -> MetaDataset:
    return MetaDataset(
        CodeDatasetSource({"file": str(source)}), name=name, digest=content_hash(content)[:DIGEST_CHARACTERS]
    )


def _as_dicts(inputs: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Return inputs as plain data, without unused settings that older versions did not have."""
    newer = {"own_openings": {}, "between_personas": True, "interlocutor": None}
    return [
        {name: value for name, value in dataclasses.asdict(each).items() if name not in newer or value != newer[name]}
        for each in inputs
    ]
