"""Read a finished run from its results folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pandas as pd
import xarray as xr
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pyarrow import ArrowException
from yaml import YAMLError

from valstab.analysis.published_code import FORMAT_ERRORS
from valstab.analysis.runs import Run
from valstab.config.labels import flatten, model_label
from valstab.errors import ConfigError
from valstab.inputs.items import Item
from valstab.inputs.task import Task
from valstab.statistics.scores import DIMENSIONS

DOCUMENT = "stability.json"
"""File that every folder of results has."""


def read_run(folder: Path, identifier: str | None = None) -> Run:
    """Read a run from its results folder.

    Raises:
        ConfigError: if a file is missing or can't be used.
    """
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        settings = flatten(cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))))
        # Earlier versions also had it at the top level, with priority.
        own = settings.get("model.quantization", "none")
        settings["model.quantization"] = settings.pop("quantization", own)
        task = Task(
            name=document["task"],
            description=None,
            items=tuple(Item(int(number), key, {}, {}) for number, key in document["key_of_item"].items()),
            keys=tuple(document["keys"]),
            scores=(),
            centred=document["centred"],
            wording=document["wording"],
            centred_on=document.get("centred_on", "all"),
        )
        profiles = pd.read_csv(folder / "profiles.csv", dtype={"context": str, "persona": str}, keep_default_na=False)
        retests = folder / "retests.parquet"
        talk = folder / "conversations.jsonl"
        return Run(
            id=identifier or str(folder),
            label=model_label(settings["model.name"], settings["model.quantization"]),
            settings=settings,
            task=task,
            digest=document["wording_sha256"],
            n_messages=int(settings["n_messages"]),
            withheld=str(document.get("withheld", "")),
            without_personas=settings.get("population.personas") == "None"
            and not any(name.startswith("population.grid.") for name in settings),
            scores=_labelled(profiles, document),
            answers=pd.read_parquet(folder / "answers.parquet"),
            retests=pd.read_parquet(retests) if retests.exists() else None,
            conversations=[json.loads(line) for line in talk.open(encoding="utf-8")] if talk.exists() else (),
        )
    except (*FORMAT_ERRORS, YAMLError, ArrowException, OmegaConfBaseException) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError("folders", folder, f"is not the results of a run that can be read: {problem}") from None


def _labelled(profiles: pd.DataFrame, document: Mapping[str, Any]) -> xr.DataArray:
    labels = {"seed": document["seeds"], "context": document["contexts"], "persona": document["personas"]}
    keys = document["keys"]
    values = profiles[keys].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    sizes = [len(names) for names in labels.values()]
    return xr.DataArray(values.reshape(*sizes, len(keys)), dims=DIMENSIONS, coords={**labels, "key": keys})
