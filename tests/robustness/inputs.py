"""Bad input: files that users write, and settings, mutated by hypothesis and, by what they reach, by atheris.

What is promised of each is a result, or a `UserError` whose one line names the key or the file; anything else, a hang
too, is a violation. Coverage-guided runs need `uv run --group fuzz python -m tests.robustness inputs`.
"""

import contextlib
import copy
import hashlib
import importlib.util
import io
import json
import random
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.robustness.finding import Finding
from valstab.analysis.published_code import published_answers, read_published
from valstab.analysis.read import read_run
from valstab.commands.rescore import rescore
from valstab.config.compose import compose_run
from valstab.config.explain import USER_ERRORS, explain
from valstab.config.schema import RescoreConfig
from valstab.errors import ConfigError, UserError
from valstab.inputs.files import DATA
from valstab.inputs.task import load_task
from valstab.protocol.plan import make_plan
from valstab.protocol.records import AnswerRecord, record_reader
from valstab.protocol.store import CHECKSUM_DIGITS, RecordLog

EXAMPLES = 500
GUIDED = 3_000
LONGEST = 20
"""Seconds after which an input counts as a hang."""
LONGEST_LINE = 10_000
NASTY = (
    *(
        b"",
        b"\0",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\r",
        b"\n\n",
        b'"',
        b"'",
        b",",
        b"{",
        b"}",
        b"[" * 50,
        b"{" * 50,
        b"\xff\xfe",
    ),
    *(b"\xed\xa0\x80", b"\\ud800", b"\\u0000", "\u202e\u2028".encode(), b"NaN", b"-Infinity", b"1e999", b"9" * 400),
    *(b"9" * 5000, b"null", b"true", b"{name}", b"{__class__}", b"&a *a", b"<<: *a", b"!!python/object:os.system x"),
    *(b"${oc.env:HOME}", b"? ", b"- ", b": ", b"../../x", b"=1+1", "e\u0301\U0001f9d9".encode(), b"a" * 200_000),
)
"""What is put into valid files."""


class Loader(NamedTuple):
    """One kind of input: what reads it, and valid ones to begin from."""

    load: Callable[[Path, bytes], object]
    """Reads what has these bytes, given a folder to write them to."""
    valid: tuple[bytes, ...]


def violation(loader: Loader, content: bytes) -> str | None:
    """Return a description of any outcome other than a result or a one-line `UserError`; None if there is none."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        previous = signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(LONGEST)
        try:
            loader.load(Path(folder), content)
        except UserError as error:
            line = str(error)
            named = line.partition("=")[0].replace(".", "").replace("_", "").isalnum()
            return (
                None if named and line.isprintable() and len(line) <= LONGEST_LINE else f"not one line: {line[:200]!r}"
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            return f"{type(error).__name__}: {str(error)[:200]}"
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, previous)
    return None


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {LONGEST} s")


def _file(setting: str, *more: str, name: str = "input") -> Callable[[Path, bytes], object]:
    """Make a plan with a file of a setting."""

    def load(folder: Path, content: bytes) -> object:
        path = folder / name
        path.write_bytes(content)
        config = copy.deepcopy(_composed("model=random", *more))
        section, key = setting.split(".")
        setattr(getattr(config, section), key, str(path))
        return make_plan(config)

    return load


_composed = cache(compose_run)


def _rescored(folder: Path, content: bytes) -> None:
    path = folder / "answers.parquet"
    path.write_bytes(content)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        rescore(RescoreConfig(answers=str(path), task=_composed("task=religion").task))
    json.loads(printed.getvalue(), parse_constant=_no_number)


def _no_number(name: str) -> None:
    raise ArithmeticError(f"{name} in what is printed")


def _published(folder: Path, content: bytes) -> None:
    (folder / "results.json").write_bytes(content)
    try:
        read_published(folder)
    finally:
        published_answers(folder, load_task(_composed("task=religion").task))


def _part_of_run(name: str) -> Callable[[Path, bytes], object]:
    """Read a run of which one file is other than it was."""

    def load(folder: Path, content: bytes) -> object:
        for other, valid in _run().items():
            (folder / other).write_bytes(valid)
        (folder / name).write_bytes(content)
        return read_run(folder)

    return load


def _shelf(folder: Path, content: bytes) -> None:
    """Read lines whose checksums are right, and check that what is accepted can be an answer."""
    lines = (hashlib.sha256(line).hexdigest()[:CHECKSUM_DIGITS].encode() + b" " + line for line in content.split(b"\n"))
    (folder / "a.jsonl").write_bytes(b"\n".join([*lines, b""]))
    record = RecordLog(folder, record_reader("answers-x")).get("x")
    record = record.to_json() if isinstance(record, AnswerRecord) else record
    if isinstance(record, dict):
        probabilities = np.exp(np.minimum(np.array(record["logprobs"], float), 1))
        known = np.where(np.isposinf(record["logprobs"]), 0, np.nan_to_num(probabilities))
        if not (known.sum(axis=1) < 1.01).all():
            raise ArithmeticError("an accepted record with a mass above 1")


def _command(_: Path, content: bytes) -> None:
    """Compose settings, one a line, as the command does; what Hydra raises the command explains in a line."""
    overrides = content.decode("utf-8", "surrogateescape").split("\n")
    try:
        make_plan(compose_run("model=random", *overrides))
    except UserError:
        raise
    except (*USER_ERRORS, ValueError) as error:
        # A ValueError of the bare class is what Hydra raises where an option's name is none: see `cli.start`.
        if not isinstance(error, USER_ERRORS) and not str(error).startswith("Config group override"):
            raise
        raise ConfigError("command", "line", explain(error, overrides)) from None


def _answers() -> pd.DataFrame:
    places = [
        (s, c, p, i) for s in (0, 1) for c in ("joke", "chess") for p in ("Ada", "Bob", "Cy") for i in range(1, 6)
    ]
    table = pd.DataFrame(places, columns=["seed", "context", "persona", "item"])
    return table.assign(letter="A", score=np.random.default_rng(0).integers(1, 7, len(table)).astype(float))


def _parquet() -> bytes:
    return bytes(_answers().to_parquet(index=False))


def _run() -> dict[str, bytes]:
    """Return the files of a small run's results."""
    keys = {str(number): "Religion" for number in range(1, 6)}
    document = {
        "task": "religion",
        "wording": "w",
        "wording_sha256": "0" * 64,
        "centred": False,
        "key_of_item": keys,
        "keys": ["Religion"],
        "seeds": [0, 1],
        "contexts": ["joke", "chess"],
        "personas": ["Ada", "Bob", "Cy"],
    }
    table = _answers().groupby(["seed", "context", "persona"], sort=False)["score"].mean().rename("Religion")
    said = {"seed": 0, "context": "joke", "persona": "Ada", "messages": [{"role": "user", "text": "Hello"}]}
    return {
        "stability.json": json.dumps(document).encode(),
        "config.yaml": b"model:\n  name: random\n  quantization: none\nquantization: none\nn_messages: 3\n",
        "profiles.csv": table.to_csv().encode(),
        "answers.parquet": _parquet(),
        "conversations.jsonl": json.dumps(said).encode() + b"\n",
    }


def _results_json() -> bytes:
    args = {"engine": "m", "simulated_conversation_theme": "joke", "permute_options_seed": "1_seed"}
    return json.dumps(
        {
            "args": {**args, "simulated_conversation_n_messages": 3, "simulated_population_type": "tolkien_characters"},
            "simulated_population": ["Ada", "Bob", "Cy"],
            "per_simulated_participant_metrics": [{"q": {}}] * 3,
            "answers": [{"q": [["A", 1], ["B", 2], ["C", 3], ["A", 4], ["B", 5]]}] * 3,
        }
    ).encode()


PEOPLE = 'name,gender,job\nAda,F,sailor\n"Bob, the ""Q""",M,\u05e9\u05dc\u05d5\u05dd\n'.encode()
TOPICS = (DATA / "openings.yaml").read_bytes()
ITEMS = (DATA / "religious_activities.csv").read_bytes()
SETTINGS = (
    b"n_messages=3\nseeds=[0,1]\npopulation.limit=3",
    b"task=donation\ntopics.names=[joke]\nengine=openai\nengine.url=http://localhost:8000/v1",
    b"population=none\npopulation.permutations=4\nretests=1\nmodel.sampling.top_p=0.9",
    b"task.scores=[1,2,3,4,5,6]\ntask.keys=null\n+model.template.a=1\nstore.path=null",
)

STORED = (
    b'["x", {"logprobs": [[-0.1, -3.0], [-0.2, NaN], [Infinity, NaN]], "read": ["listed", "listed", "text"]}]',
    b'["x", {"logprobs": [[-0.1, -3.0]], "read": ["exact"], "thoughts": ["Well."]}]\n["x", "ABBA"]',
)
LOADERS = {
    "population": Loader(_file("population.personas", "population.introduction='{name}, who is {gender}.'"), (PEOPLE,)),
    "population in JSON": Loader(
        _file("population.personas", "population.introduction='{job}.'", name="input.jsonl"),
        (b'[{"job": "sailor", "age": 3}]', b'{"job": "a\\ud83e\\uddd9"}\n{"job": null, "gender": "F"}\n'),
    ),
    "items": Loader(_file("task.items", "task=religion"), (ITEMS,)),
    "topics": Loader(
        _file("topics.openings", "topics.names=null"), (TOPICS, b"joke: Hi\nchess: |\n  Let us\n  talk\n")
    ),
    "saved answers": Loader(_rescored, (_parquet(),)),
    "published results": Loader(_published, (_results_json(),)),
    **{f"run: {name}": Loader(_part_of_run(name), (content,)) for name, content in _run().items()},
    "store": Loader(_shelf, STORED),
    "command line": Loader(_command, SETTINGS),
}


def mutated(valid: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Return a strategy: valid content with parts cut, doubled, replaced or re-encoded, or arbitrary bytes."""

    @st.composite
    def edited(draw: st.DrawFn) -> bytes:
        content = draw(st.sampled_from(valid))
        for _ in range(draw(st.integers(1, 4))):
            start = draw(st.integers(0, len(content)))
            end = draw(st.integers(start, min(len(content), start + 40)))
            middle = draw(
                st.one_of(
                    st.sampled_from(NASTY),
                    st.binary(max_size=8),
                    st.just(content[start:end] * 2),
                    st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
                )
            )
            kept = draw(st.sampled_from(["both", "both", "both", "before", "after"]))
            content = content[: start if kept != "after" else 0] + middle + (content[end:] if kept != "before" else b"")
        if draw(st.integers(0, 19)) == 0:
            content = content.decode("utf-8", "replace").encode(
                draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]))
            )
        return content

    return st.one_of(edited(), edited(), edited(), _retyped(valid[0]), st.binary(max_size=200))


def _retyped(valid: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy: a JSON document with one value retyped, dropped or doubled; other content unchanged."""
    try:
        document = json.loads(valid)
    except ValueError:
        return st.just(valid)
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    )

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        whole = json.loads(valid)
        place, holder = whole, None
        while isinstance(place, dict | list) and place and (holder is None or draw(st.integers(0, 2))):
            name = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            holder, place = (place, name), place[name]
        if holder is None:
            return json.dumps(draw(values)).encode()
        outer, name = holder
        if draw(st.integers(0, 3)) == 0:
            del outer[name]
        else:
            outer[name] = draw(values)
        return json.dumps(whole).encode()

    return changed() if isinstance(document, dict) else st.just(valid)


def tried(loader: Loader, examples: int, start: int = 0) -> tuple[int, dict[str, bytes]]:
    """Try mutated inputs; give how many, and an input for each kind of violation."""
    count, found = 0, {}

    @seed(start)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(loader.valid))
    def attempt(content: bytes) -> None:
        nonlocal count
        count += 1
        if said := violation(loader, content):
            found.setdefault(said[:60], content)

    attempt()
    return count, found


def guided(name: str, runs: int) -> tuple[int, dict[str, bytes]]:
    """Search with atheris, in a new process, for inputs that reach more code; return the same as `tried`."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, content in enumerate(LOADERS[name].valid):
            (corpus / str(number)).write_bytes(content)
        log = Path(folder) / "log.jsonl"
        command = [sys.executable, "-m", "tests.robustness.guided", name, str(log)]
        limits = [f"-runs={runs}", "-seed=1", "-max_len=8192", "-verbosity=0", str(corpus)]
        ended = subprocess.run([*command, *limits], capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    found = {line["said"]: bytes.fromhex(line["content"]) for line in lines if "said" in line}
    counted = [line["count"] for line in lines if "count" in line]
    if not counted or ended.returncode:
        found[f"ended with {ended.returncode}: {ended.stderr[-200:]}"] = b""
    return max(counted, default=0), found


def findings() -> Iterator[Finding]:
    """Try every loader."""
    with_atheris = importlib.util.find_spec("atheris") is not None
    for name, loader in LOADERS.items():
        count, found = tried(loader, EXAMPLES, start=random.Random(name).randrange(1000))  # noqa: S311
        yield _finding(f"{name}, mutated", count, found)
        if with_atheris:
            count, found = guided(name, GUIDED)
            yield _finding(f"{name}, coverage-guided", count, found)


def _finding(what: str, count: int, found: dict[str, bytes]) -> Finding:
    for said, content in found.items():
        sys.stderr.write(f"{what}: {said}: {content[:300]!r}\n")
    return Finding(what, count, count - len(found), f"{len(found)} kinds of violation")
