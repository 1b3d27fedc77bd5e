"""The documentation says what is there, and what its pages show is what comes out."""

import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path
from xml.etree import ElementTree as ET

import grimp
import mlflow
import pandas as pd
import pytest
from sybil import Document, Region
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

from tests.support.composed import compose_run
from valstab.config import comparison, schema
from valstab.config.meanings import meanings
from valstab.config.options import CONFIG_FOLDER, read_groups
from valstab.protocol.plan import make_plan
from valstab.run import run

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
RUN = (
    "tutorial.md",
    "own-model.md",
    "own-questionnaire.md",
    "own-population.md",
    "inventories.md",
    "axes.md",
    "drift.md",
    "behaviour.md",
    "study.md",
)
PARTS = {
    "model",
    "language",
    "interlocutor",
    "judge",
    "reminder",
    "engine",
    "figure",
    "population",
    "topics",
    "task",
    "sampling",
    "store",
    "tracking",
}
"""Fields that have fields of their own."""
LENIENT = ELLIPSIS | NORMALIZE_WHITESPACE


def load_hook(name):
    """Import a file of `docs/` that MkDocs calls while it builds the pages."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated():
    """The hook that fills in the tables of the reference."""
    return load_hook("generated")


@pytest.fixture(scope="module")
def architecture():
    """The hook that draws the picture of the architecture page."""
    return load_hook("architecture")


def test_every_setting_has_its_type_default_and_meaning(generated):
    text = generated.settings()
    for row in (
        "| `n_messages` | `int` | `3` | Messages that are generated for a conversation: odd, so that the tested model "
        "speaks last, or 0 for none. |",
        "| `population.limit` | `int or null` | `null` | Take only the first so many. |",
        "| `model.sampling.top_k` | `int or null` | `50` | Sample from so many of the most probable tokens; 0 is all. |",
        "| `engine.enforce_eager` | `bool` | `false` | Whether to start sooner, without compilation and CUDA graphs. |",
        "| `seeds` | `list[int]` | `[0, 1, 2, 3, 4]` | Each seed is a whole repetition, with conversations and option "
        "orders of its own. |",
    ):
        assert row in text.splitlines()
    for kind in {**vars(schema), **vars(comparison)}.values():
        if dataclasses.is_dataclass(kind) and kind is not schema.RescoreConfig:
            for name, (_, meaning) in meanings(kind).items():
                assert meaning or name in PARTS, f"{kind.__name__}.{name} has no docstring"


def test_every_option_is_in_the_reference(generated):
    text = generated.on_page_markdown("before\n\n<!-- options -->\n\nafter", page=None)
    assert text.startswith("before\n\n### `axes`\n")
    assert text.endswith("\n\nafter")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE)
    options = [item for group in read_groups([Path(CONFIG_FOLDER)]).values() for item in group.items()]
    assert [name for name, _ in rows] == [name for name, _ in options]


@pytest.mark.usefixtures("without_pictures")
def test_every_file_column_and_metric_is_in_the_reference(launch_folder):
    reference = (DOCS / "reference.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`([^`]+)`", reference))
    settings = compose_run("model=random", "population.limit=3", "topics.names=[joke,chess]", "seeds=[0,1]")
    results = run(settings, make_plan(settings), launch_folder / "results")
    made = {path.name + "/" * path.is_dir() for path in (launch_folder / "results").iterdir()}
    assert made <= names
    columns = set(pd.read_parquet(launch_folder / "results" / "answers.parquet"))
    assert {name for name in columns if not name.startswith("logprob_")} <= names
    (logged,) = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("valstab").experiment_id])
    assert {re.sub(r"^stability\..*", "stability.KEY", name) for name in logged.data.metrics} <= names
    assert set(results.document()) <= names


def test_the_arrows_of_the_picture_are_the_imports_of_the_code(architecture):
    rooms = {room for layer in architecture.read_layers() for room in layer}
    graph = grimp.build_graph("valstab", cache_dir=None)
    imports = {
        (importer.split(".")[1], imported.split(".")[1])
        for importer in graph.modules - {"valstab", "valstab.compare.__main__"}  # the second is an old spelling
        for imported in graph.find_modules_directly_imported_by(importer) - {"valstab"}
    }
    imports = {(room, other) for room, other in imports if room != other and {room, other} <= rooms}
    assert {(room, other) for room, others in architecture.read_imports().items() for other in others} == imports
    picture = ET.fromstring(architecture.draw())  # noqa: S314 - ours
    names = {element.get("id") for element in picture.iter("{http://www.w3.org/2000/svg}g")}
    paths = [element.get("class") for element in picture.iter("{http://www.w3.org/2000/svg}path")]
    arrows = {tuple(path.split()) for path in paths if path}
    assert names == rooms | {None}  # None: the group around all
    assert arrows <= imports
    assert closure(arrows) == closure(imports)
    for arrow in arrows:
        assert closure(arrows - {arrow}) != closure(arrows), f"{arrow} says nothing that other arrows do not say"


def closure(arrows):
    """Add every arrow that a chain of arrows implies."""
    while more := {(one, three) for one, two in arrows for two_, three in arrows if two == two_} - arrows:
        arrows = arrows | more
    return arrows


def test_the_steps_of_a_run_are_those_of_the_recipe(architecture):
    text = architecture.on_page_markdown("<!-- steps -->", page=None)
    steps = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    order = ["load_engine", "converse", "ask_all", "measure", "write_results", "log_results", "write_pictures"]
    assert [step for step in steps if step in order] == order


def test_links_lead_somewhere():
    for page in (*DOCS.glob("*.md"), *CHECKOUT.glob("*.md")):
        for target in re.findall(r"\]\(([\w./-]+\.(?:md|txt|png))(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).is_file(), f"{page.name} links to {target}"


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_a_page_runs_and_shows_what_comes_out(page, launch_folder, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{launch_folder}/mlflow.db")
    examples = list(parsed(DOCS / page))
    assert len(examples) > 1
    for example in examples:
        example.evaluate()


def parsed(page):
    """Find a page's commands, Python and files."""
    parsers = (SkipParser(), CodeBlockParser("console", console), PythonCodeBlockParser((), LENIENT), files)
    return Document.parse(str(page), *parsers)


def console(example):
    """Run the commands of a block (`$ ...`) and compare what each prints with the lines after it."""
    for block in re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)[1:]:
        command, _, expected = block.partition("\n")
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.strip()], capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            return f"{command}\n{result.stdout}{result.stderr}"
        if not OutputChecker().check_output(expected.strip(), result.stdout.strip(), LENIENT):
            return f"{command}\nexpected:\n{expected}\ngot:\n{result.stdout}\n{result.stderr}"
    return None


def files(document):
    """Find the blocks that are a file's content."""
    lexer = FencedCodeBlockLexer(r'\w+ title="[^"\n]+"', mapping={"language": "title", "source": "source"})
    for region in lexer(document):
        path = re.search(r'"(.+)"', region.lexemes["title"]).group(1)
        yield Region(region.start, region.end, parsed=(Path(path), region.lexemes["source"]), evaluator=write)


def write(example):
    """Write a block's content to the file that its title names."""
    path, content = example.parsed
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
