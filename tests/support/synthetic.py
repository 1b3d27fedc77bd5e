"""Runs whose stability is known by construction: scores made of persona, context and noise variances."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from omegaconf import OmegaConf

from tests.support.composed import compose_run
from valstab.analysis.runs import Run
from valstab.inputs.population import load_population
from valstab.inputs.task import load_task

NAMES = ("seed", "context", "persona", "key")


def scores(
    *,
    persona: float = 1.0,
    context: float = 0.0,
    interaction: float = 0.0,
    noise: float = 1.0,
    seeds: int = 5,
    contexts: int = 5,
    personas: int = 60,
    keys: int = 10,
    random: int = 0,
) -> xr.DataArray:
    """Draw scores: a sum of normal parts with these variances, each drawn anew for each key.

    Persons' parts are the same in every seed and context, the interaction's in every seed; the noise is of one
    score alone. The correlation of persons between two contexts is persona / (persona + interaction + noise).
    """
    rng = np.random.default_rng(random)
    shape = (seeds, contexts, personas, keys)
    drawn = (
        np.sqrt(persona) * rng.normal(size=(1, 1, personas, keys))
        + np.sqrt(context) * rng.normal(size=(1, contexts, 1, keys))
        + np.sqrt(interaction) * rng.normal(size=(1, contexts, personas, keys))
        + np.sqrt(noise) * rng.normal(size=shape)
    )
    labels = {
        "seed": list(range(seeds)),
        "context": [f"topic{i}" for i in range(contexts)],
        "persona": [f"persona{i:02d}" for i in range(personas)],
        "key": [f"key{i}" for i in range(keys)],
    }
    return xr.DataArray(drawn, dims=NAMES, coords=labels)


def spearman_of(correlation: float) -> float:
    """Return Spearman's rho of two normal variables with this Pearson correlation."""
    return 6 / np.pi * np.arcsin(correlation / 2)


def run(label: str, values: xr.DataArray, *, n_messages: int = 3, task: str = "pvq", population: str = "people") -> Run:
    """Return a run with these scores and one item per key; the keys are the task's own if their number fits."""
    of_task = _task(task)
    if values.sizes["key"] == len(of_task.keys):
        values = values.assign_coords(key=list(of_task.keys))
    return Run(
        id=f"{label} {task} {n_messages} {population}",
        label=label,
        settings={"model.name": label, "population.name": population},
        task=of_task,
        digest="0",
        n_messages=n_messages,
        without_personas=population == "none",
        scores=values,
        answers=pd.DataFrame({"score": []}),
    )


@cache
def _task(name: str):
    return load_task(compose_run(f"task={name}").task)


def write_results(folder: Path, *overrides: str, persona: float = 1.0, noise: float = 0.0, random: int = 0) -> Path:
    """Write a results folder as a run does, with answers that depend on the persona and on noise."""
    from valstab.results.results import measure
    from valstab.results.write import write_results as write

    config = compose_run(*overrides)
    task = load_task(config.task)
    personas = load_population(config.population)
    contexts = config.topics.names or ["neutral"]
    rng = np.random.default_rng(random)
    taste = np.random.default_rng(7).normal(size=(len(personas), len(task.items))) * np.sqrt(persona)
    size = (len(config.seeds), len(contexts), *taste.shape)
    drawn = taste + np.sqrt(noise) * rng.normal(size=size)
    order = drawn.argsort(axis=-1).argsort(axis=-1)
    option = order * len(task.scores) // len(task.items)
    index = pd.MultiIndex.from_product(
        [config.seeds, contexts, [each.name for each in personas], [item.number for item in task.items]],
        names=["seed", "context", "persona", "item"],
    )
    answers = index.to_frame(index=False)
    answers["gender"] = answers["persona"].map({each.name: each.gender for each in personas})
    offered = np.array([rng.permutation(len(task.scores)) for _ in range(len(answers))])
    of_option = np.array(list("ABCDEF"))[offered]
    answers["letter"] = of_option[np.arange(len(answers)), option.ravel()]
    answers["letters"] = ["".join(row) for row in of_option]
    answers["score"] = np.array(task.scores, dtype=float)[option.ravel()]
    answers["answer_mass"] = 0.9
    folder.mkdir(parents=True)
    answers.to_parquet(folder / "answers.parquet", index=False)
    OmegaConf.save(OmegaConf.create(_plain(config)), folder / "config.yaml")
    with (folder / "conversations.jsonl").open("w", encoding="utf-8") as file:
        for seed, context, name in answers[["seed", "context", "persona"]].drop_duplicates().itertuples(index=False):
            messages = [{"role": "user", "text": "o" * (3 + contexts.index(context))}]
            messages += [{"role": "assistant", "text": f"Reply {i}."} for i in range(config.n_messages)]
            said = messages if config.n_messages else []
            file.write(json.dumps({"seed": int(seed), "context": context, "persona": name, "messages": said}) + "\n")
    write(measure(answers, task, "zero", without_personas=config.population.personas is None), folder)
    return folder


def _plain(config):
    from dataclasses import asdict

    return asdict(config)
