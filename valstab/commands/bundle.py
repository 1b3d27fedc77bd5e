"""Put runs into one file for somebody without valstab: `python -m valstab bundle RUNS...`.

The file is a ZIP archive with an index page, and a folder for each run with its report and all its files.
"""

import json
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from valstab.commands.parser import Parser
from valstab.config.exit import fail
from valstab.config.explain import USER_ERRORS
from valstab.config.secrets import held_variable
from valstab.config.terminal import say
from valstab.errors import ConfigError

if TYPE_CHECKING:
    from valstab.results.report.index_page import Entry

DOCUMENT = "stability.json"
"""File that every folder of results has."""


NAMED_FILES = ("report.html", "methods.md", "answers.parquet", "conversations.jsonl", DOCUMENT, "config.yaml")
"""The files that the index names, where a run has them."""


BINARY = (".parquet", ".png", ".pdf")
"""Endings of files that are not text; what a parquet file has of texts is in the others too."""


NAME_CHARACTERS = 80
"""Maximum length of a run's folder in the archive, in characters."""


def main(arguments: list[str] | None = None) -> None:
    """Write the archive of the runs that the arguments name.

    Raises:
        SystemExit: with one line, if a run can't be found or holds a secret.
    """
    parser = Parser(
        prog="python -m valstab bundle",
        description="Put runs into one ZIP archive, with an index page, for somebody without valstab.",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a folder with results at any depth, or the id of an MLflow run or sweep"
    )
    parser.add_argument(
        "--to", type=Path, default=Path("valstab-runs.zip"), help="the archive, or without .zip a folder (%(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        number = bundle(options.runs, options.to)
    except USER_ERRORS as error:
        fail(error)
    except OSError as error:
        sys.exit(f"valstab: {options.to}: {error.strerror or error}")
    say(f"{number} run{'' if number == 1 else 's'} in {options.to}; open index.html in it")


def bundle(runs: Iterable[str], to: Path) -> int:
    """Write an archive or a folder of runs, and return their number.

    Raises:
        ConfigError: if a run can't be found, a file holds a secret of the environment, or `to` exists as a folder.
    """
    from valstab.results.report.index_page import index_page
    from valstab.whole_file import whole_file

    folders = list(dict.fromkeys(folder for run in runs for folder in _results(run)))
    entries = [_entry(folder, number) for number, folder in enumerate(folders, 1)]
    files = {
        f"{entry.folder}/{file.relative_to(folder).as_posix()}": file
        for folder, entry in zip(folders, entries, strict=True)
        for file in _files(folder)
    }
    for file in files.values():
        _refuse_secret(file)
    page = index_page(entries)
    if to.suffix == ".zip":
        with whole_file(to) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("index.html", page)
            for place, file in files.items():
                archive.write(file, place)
    else:
        if to.exists():
            raise ConfigError("--to", to, "exists; choose a new folder, or an archive (.zip)")
        for place, file in files.items():
            (to / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to / place)
        (to / "index.html").write_text(page, encoding="utf-8", newline="\n")
    return len(entries)


def _results(run: str) -> list[Path]:
    """Return the folders of results that a folder holds, or those of an MLflow run or a sweep."""
    folder = Path(run)
    if folder.is_dir():
        found = sorted(file.parent for file in folder.rglob(DOCUMENT))
    else:
        from valstab.analysis.load import artifact_folders
        from valstab.tracking.client import mlflow_reading

        with mlflow_reading():
            found = artifact_folders(run)
    if not found:
        raise ConfigError("bundle", run, f"holds no results: no {DOCUMENT} anywhere in it")
    return found


def _entry(folder: Path, number: int) -> "Entry":
    from omegaconf import OmegaConf

    from valstab.config.labels import flatten, model_label
    from valstab.results.report.index_page import Entry

    settings = flatten(cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))))
    model = model_label(settings["model.name"], settings.get("model.quantization", "none"))
    parts = [model, settings["population.name"], settings["task.name"], f"n={settings['n_messages']}"]
    name = re.sub(r"[^A-Za-z0-9.=-]+", "_", "_".join(parts))[:NAME_CHARACTERS].strip("_.")
    document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    files = tuple(file for file in NAMED_FILES if (folder / file).is_file())
    return Entry(f"{number:02d}_{name}", " · ".join(parts), document, files)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder of results; names that start with a dot are drafts."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _refuse_secret(file: Path) -> None:
    if file.suffix in BINARY:
        return
    if name := held_variable(file.read_text(encoding="utf-8", errors="replace")):
        raise ConfigError("bundle", file, f"holds what the environment variable {name} holds; remove it first")
