"""The store: a message or answer is computed once, survives kills and damage, and is never computed again."""

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.composed import compose_run
from tests.support.scripted import CountingEngine, InterruptedEngine, PersonaEngine
from valstab.commands.store import main as store_command
from valstab.engines.base import Cache
from valstab.engines.factory import load_engine
from valstab.errors import ConfigError
from valstab.hashing import content_hash
from valstab.protocol.converse import conversations_per_batch, converse
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import RecordLog, Store
from valstab.run import collect, run

ROOT = str(Path(__file__).parents[2])
SCRIPTED = ("engine=random", "engine._target_=tests.support.scripted.CountingEngine", "model.name=scripted")
SMALL = ("population.limit=3", "topics.names=[joke,chess]", "seeds=[0]")


@pytest.fixture
def spent(launch_folder):
    """Return a function that collects a scripted run's data and returns the numbers of computed messages and questions."""
    results = launch_folder / "results"
    results.mkdir()

    def small_run(*overrides):
        CountingEngine.messages = CountingEngine.questions = 0
        config = compose_run(*SCRIPTED, *SMALL, *overrides)
        small_run.data = collect(config, make_plan(config), load_engine(config), results)
        return CountingEngine.messages, CountingEngine.questions

    return small_run


def test_a_record_is_read_by_others(tmp_path):
    log = RecordLog(tmp_path / "log")
    log.put({"a": "naïve\n“quoted”\u2028", "b": [[0.1, -1e300], [2.5, 3.0]]})
    again = RecordLog(tmp_path / "log")
    assert again.get("a") == "naïve\n“quoted”\u2028"
    assert again.get("b") == [[0.1, -1e300], [2.5, 3.0]]
    assert again.get("c") is None


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = Store(None, {"weights": "x"}).log("conversations")
    log.put({"a": 1})
    assert log.get("a") == 1
    assert list(tmp_path.iterdir()) == []


def test_models_do_not_share_records(tmp_path):
    Store(tmp_path, {"weights": "x", "dtype": "float32"}).log("conversations").put({"a": "text"})
    assert Store(tmp_path, {"weights": "x", "dtype": "float32"}).log("conversations").get("a") == "text"
    assert Store(tmp_path, {"weights": "x", "dtype": "bfloat16"}).log("conversations").get("a") is None
    assert Store(tmp_path, {"weights": "y", "dtype": "float32"}).log("conversations").get("a") is None
    said = [json.loads(path.read_text()) for path in tmp_path.glob("*/identity.json")]
    assert {"weights": "y", "dtype": "float32"} in said


def test_a_damaged_record_is_skipped_and_the_rest_read(tmp_path):
    RecordLog(tmp_path).put({"a": 1, "b": 2, "c": 3})
    (file,) = tmp_path.iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    flipped = bytearray(lines[1])
    flipped[-3] ^= 1
    # A flipped bit, and a line that a killed process did not finish.
    file.write_bytes(lines[0] + bytes(flipped) + lines[2] + lines[0][:20])
    log = RecordLog(tmp_path)
    assert [log.get(key) for key in "abc"] == [1, None, 3]
    assert log.damaged == [f"{file}:2", f"{file}:4"]
    log.put({"b": 2})
    assert RecordLog(tmp_path).get("b") == 2


ODD_LINES = [
    b"[]",
    b'["key"]',
    b'["key", "text", 1]',
    b'[["key"], "text"]',
    b'[1, "text"]',
    b"{}",
    b"no JSON",
    b"\xff",
    b"[" * 100_000,
    b'["key", 5]',
    b'["key", ["text", 5]]',
    b'["key", {"text": "text"}]',
    b'["key", null]',
]
"""Lines that no version wrote, each with a right checksum."""


@pytest.mark.parametrize("content", ODD_LINES)
def test_an_odd_line_is_named_and_the_rest_is_read(tmp_path, content):
    log = Store(tmp_path, {}).log("conversations")
    log.put({"a": "before", "b": ["said", "thought"]})
    (file,) = tmp_path.glob("*/conversations/*")
    check = hashlib.sha256(content).hexdigest()[:16].encode()
    file.write_bytes(check + b" " + content + b"\n" + file.read_bytes())
    log = Store(tmp_path, {}).log("conversations")
    assert (log.get("a"), log.get("b"), len(log)) == ("before", ["said", "thought"], 2)
    assert log.damaged == [f"{file}:1"]


def test_odd_files_and_folders_of_a_shelf_are_named_and_the_rest_is_read(tmp_path):
    Store(tmp_path, {}).log("conversations").put({"a": "text"})
    (folder,) = tmp_path.glob("*/conversations")
    (folder / "old.jsonl").mkdir()
    (folder / "notes.txt").write_text("Not a log.")
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    log = Store(tmp_path, {}).log("conversations")
    assert log.get("a") == "text"
    assert log.damaged == [str(folder / "gone.jsonl"), str(folder / "old.jsonl")]


def test_a_file_in_place_of_a_log_is_named_in_one_line(tmp_path):
    store = Store(tmp_path, {})
    (folder,) = tmp_path.iterdir()
    (folder / "conversations").touch()
    with pytest.raises(ConfigError, match=r"store\.path=.*has a file in place of the folder .*/conversations"):
        store.log("conversations")


def test_a_right_record_is_found_behind_an_impossible_one(tmp_path):
    log = RecordLog(tmp_path, lambda record: None if record == "impossible" else record)
    RecordLog(tmp_path).put({"a": "impossible"})
    log.put({"a": "possible"})
    for _ in range(2):
        log = RecordLog(tmp_path, lambda record: None if record == "impossible" else record)
        assert (log.get("a"), len(log.damaged)) == ("possible", 1)


def test_any_byte_may_be_damaged(tmp_path):
    RecordLog(tmp_path).put({"a": "some text", "b": "another"})
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        log = RecordLog(tmp_path)
        assert log.get("a") in {"some text", None}
        assert log.get("b") in {"another", None}
    for length in range(len(content)):
        file.write_bytes(content[:length])
        assert RecordLog(tmp_path).get("a") in {"some text", None}


def test_an_interruption_keeps_the_generated_messages(tmp_path):
    plan = make_plan(compose_run(*SCRIPTED, *SMALL))
    with pytest.raises(KeyboardInterrupt):
        converse(plan, InterruptedEngine(None, None), RecordLog(tmp_path), Stage("conversing", "messages", 18))
    assert len(RecordLog(tmp_path)) == 3


def test_each_message_is_stored_before_the_next_is_begun(tmp_path):
    """A kill in a long conversation costs one message, not the whole conversation."""
    stored = []

    class WatchingEngine(PersonaEngine):
        def generate(self, requests):
            for reply in super().generate(requests):
                stored.append(len(RecordLog(tmp_path)))
                yield reply

    plan = make_plan(compose_run(*SCRIPTED, *SMALL))
    converse(plan, WatchingEngine(None, None), RecordLog(tmp_path), Stage("conversing", "messages", 18))
    assert stored == list(range(18))


@pytest.mark.parametrize(
    ("n_messages", "cache_tokens", "together"),
    [(3, 0, 128), (3, 40_000, 128), (11, 40_000, 36), (43, 43_000, 10), (43, 100, 1), (0, 100, 128)],
)
def test_a_batch_has_as_many_conversations_as_the_cache_holds(n_messages, cache_tokens, together):
    assert conversations_per_batch(n_messages, 100, Cache(cache_tokens)) == together
    assert conversations_per_batch(n_messages, 100, Cache(cache_tokens, rows=20)) == min(20, together)
    assert conversations_per_batch(n_messages, 100, Cache(10**9, rows=512)) == 512


class SmallEngine(PersonaEngine):
    """Holds some tokens, and counts the requests that it has at a time."""

    def __init__(self, tokens):
        super().__init__(None, None)
        self.cache = Cache(tokens)
        self.waiting = []

    def generate(self, requests):
        for index, text in super().generate(requests):
            self.waiting.append(len(requests) - index)
            yield index, text


class RoundsEngine(SmallEngine):
    """Takes no requests that come while it works."""

    def generate(self, requests):
        return super().generate(list(requests))


def test_a_few_conversations_at_a_time_are_the_same_conversations():
    """Six conversations of three messages of at most 100 tokens, where 700 tokens fit: two at a time."""
    plan = make_plan(compose_run(*SCRIPTED, *SMALL))
    stage = Stage("conversing", "messages", 18)

    def conversations(engine):
        return converse(plan, engine, RecordLog(None), stage), engine.waiting

    all_at_once, waiting = conversations(SmallEngine(0))
    assert waiting == [6] * 13 + [5, 4, 3, 2, 1]
    assert conversations(SmallEngine(700)) == (all_at_once, [2] * 17 + [1])
    assert conversations(RoundsEngine(0)) == (all_at_once, [6, 5, 4, 3, 2, 1] * 3)


def test_many_processes_write_at_once(light_process, tmp_path):
    environment = {**os.environ, "PYTHONPATH": ROOT}
    writers = [
        light_process.start("tests.support.writes_records", [str(tmp_path), str(i)], tmp_path, environment)
        for i in range(6)
    ]
    assert [writer.wait().returncode for writer in writers] == [0] * 6
    log = RecordLog(tmp_path)
    assert log.damaged == []
    assert all(log.get(f"{writer}-{i}") == "x" * 5000 for writer in range(6) for i in range(50))


def test_different_contents_have_different_keys():
    assert content_hash(["a", 1]) == content_hash(["a", 1])
    assert len({content_hash(content) for content in (["a", 1], ["a", "1"], [["a"], 1], ["a", 1, None])}) == 4


def test_the_same_run_again_computes_nothing(spent):
    assert spent() == (2 * 3 * 3, 2 * 3 * 40)
    first = spent.data.answers
    assert spent() == (0, 0)
    assert spent.data.answers.equals(first)


def test_damaged_records_are_computed_again_and_reported_in_one_line(spent, launch_folder, capsys):
    spent()
    answers = spent.data.answers
    (file,) = launch_folder.glob(".valstab/*/answers-pvq-n3/*.jsonl")
    content = bytearray(file.read_bytes())
    content[content.index(b"\n") + 100] ^= 1  # in the second of six lines
    file.write_bytes(content)
    config = compose_run(*SCRIPTED, *SMALL)
    CountingEngine.questions = 0
    results = run(config, make_plan(config), launch_folder / "results")
    assert CountingEngine.questions == 40
    assert (
        f"1 damaged lines of the store were ignored ({file.relative_to(launch_folder)}:2), and"
        in capsys.readouterr().out
    )
    assert results.answers.equals(answers)


def test_a_second_task_reuses_the_conversations(spent):
    spent()
    assert spent("task=donation") == (0, 2 * 3 * 100)


def test_a_longer_conversation_goes_on_from_a_shorter_and_contains_it(spent):
    assert spent("n_messages=1") == (6, 240)
    assert spent("n_messages=5") == (6 * 4, 240)
    assert spent("n_messages=3") == (0, 240)


def test_more_personas_topics_and_seeds_cost_only_themselves(spent):
    spent()
    assert spent("population.limit=4", "topics.names=[chess,joke,poem]", "seeds=[0,1]") == ((24 - 6) * 3, (24 - 6) * 40)


@pytest.mark.parametrize(
    "change",
    [
        "population.introduction='{name} the Great.'",
        "model.system_prompt=false",
        "seeds=[1]",
        "topics.openings=mine.yaml",
        "store.path=elsewhere",
        "store.path=null",
    ],
)
def test_what_determines_a_conversation_makes_another(spent, launch_folder, change):
    (launch_folder / "mine.yaml").write_text("joke: Another joke, please.\nchess: 1. d4\n")
    spent()
    assert spent(change) == (18, 240)


def test_longer_messages_are_others_but_the_same_texts_get_the_same_answers(spent):
    spent()
    # The scripted engine says the same, whatever the limit.
    assert spent("max_new_tokens=50") == (18, 0)


def test_another_wording_asks_again_after_the_same_conversations(spent):
    spent()
    assert spent("task.description=Read carefully.") == (0, 240)


def test_the_command_lists_exports_and_prunes(spent, valstab_light, launch_folder):
    spent()
    spent("task=religion")
    (identity,) = [path.parent.name for path in launch_folder.glob(".valstab/*/identity.json")]
    listed = valstab_light("list", module="valstab.store").stdout.splitlines()
    today = time.strftime("%Y-%m-%d")
    assert listed[0] == f"{identity}  scripted, last written on {today}"
    assert listed[1] == "  engine CountingEngine"
    assert listed[-1].startswith("total: 1 model, 30 records, 0.")
    assert [line.split()[:3] for line in listed[2:-1]] == [
        ["answers-pvq-n3", "6", "records"],
        ["answers-religion-n3", "6", "records"],
        ["conversations", "18", "records"],
    ]
    assert valstab_light("export", "copy", module="valstab.store").returncode == 0
    assert len(list((launch_folder / "copy" / identity / "answers-pvq-n3").iterdir())) == 1
    wrong = valstab_light("prune", "nobody", module="valstab.store")
    assert (wrong.returncode, wrong.stderr) == (
        1,
        "valstab: prune nobody: no such model in .valstab; `list` names them\n",
    )
    assert valstab_light("prune", identity, module="valstab.store").returncode == 0
    assert not list(launch_folder.glob(".valstab/*/identity.json"))
    assert spent("store.path=copy") == (0, 0)


@pytest.mark.parametrize("identity", [None, "", "[]", "{"])
def test_a_model_without_a_readable_identity_is_listed_and_exported(identity, tmp_path, capsys):
    store = tmp_path / "store"
    Store(store, {"weights": "x"}).log("conversations").put({"a": "text"})
    (folder,) = store.iterdir()
    if identity is None:
        (folder / "identity.json").unlink()
    else:
        (folder / "identity.json").write_text(identity)
    store_command(["--path", str(store), "list"])
    name, first, second, total = capsys.readouterr().out.splitlines()
    assert name.startswith(f"{folder.name}  a model without a name, last written on ")
    assert total.startswith("total: 1 model, 1 records, ")
    assert first == "  identity.json can't be read; the next run of the model writes it again"
    assert second.split()[:3] == ["conversations", "1", "records"]
    store_command(["--path", str(store), "export", str(tmp_path / "copy")])
    assert Store(tmp_path / "copy", {"weights": "x"}).log("conversations").get("a") == "text"


def test_a_second_export_copies_only_what_is_new(tmp_path):
    store, copy = tmp_path / "store", tmp_path / "copy"
    log = Store(store, {}).log("conversations")
    files = []
    for records in ({"a": "1"}, {}, {"b": "2"}):
        log.put(records)
        store_command(["--path", str(store), "export", str(copy)])
        files.append([len(file.read_bytes().splitlines()) for file in copy.glob("*/conversations/*")])
    assert files == [[1], [1], [1, 1]]
    assert len(Store(copy, {}).log("conversations")) == 2


def test_a_model_that_is_pruned_while_it_runs_stays_in_the_list(tmp_path, capsys):
    log = Store(tmp_path, {}).log("conversations")
    log.put({"a": "text"})
    (folder,) = tmp_path.iterdir()
    store_command(["--path", str(tmp_path), "prune", folder.name])
    log.put({"b": "text"})
    store_command(["--path", str(tmp_path), "list"])
    assert capsys.readouterr().out.splitlines()[-2].split()[:3] == ["conversations", "1", "records"]


@pytest.fixture
def three_models(tmp_path):
    """A store of three models with 1 MB each, last written 1, 10 and 100 days ago."""
    for name, days in (("new", 1), ("middle", 10), ("old", 100)):
        Store(tmp_path, {"weights": name}, name).log("conversations").put({"a": "x" * 1_000_000})
        for file in (tmp_path / content_hash({"weights": name}) / "conversations").iterdir():
            os.utime(file, (0, time.time() - days * 86_400))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--older", "9"], {"new"}),
        (["--older", "11"], {"new", "middle"}),
        (["--to", "2.5"], {"new", "middle"}),
        (["--to", "1.5"], {"new"}),
        (["--to", "0"], set()),
        (["--to", "4"], {"new", "middle", "old"}),
        (["new", "--to", "2.5"], {"middle", "old"}),
        (["new", "--older", "50"], {"middle"}),
    ],
)
def test_a_store_is_pruned_by_name_age_and_size(three_models, arguments, left, capsys):
    store_command(["--path", str(three_models), "prune", *arguments])
    assert {path.read_text().strip() for path in three_models.glob("*/names.txt")} == left
    removed = capsys.readouterr().out.splitlines()
    assert {line.split()[2].rstrip(",") for line in removed} == {"new", "middle", "old"} - left


def test_names_of_a_model_are_kept_once(tmp_path):
    for name in ("smol", "other", "smol"):
        Store(tmp_path, {}, name)
    assert (tmp_path / content_hash({}) / "names.txt").read_text() == "smol\nother\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "valstab: store: needs command; see --help"),
        (["prune"], "valstab: store prune: needs a MODEL, --older DAYS or --to MB; see --help"),
        (["prune", "--older", "x"], "valstab: store prune: --older x: must be a number; see --help"),
    ],
)
def test_a_mistake_is_answered_in_one_line(arguments, line):
    with pytest.raises(SystemExit) as caught:
        store_command(arguments)
    assert caught.value.code == line


def results_of(folder):
    (found,) = folder.glob("outputs/*/*/results/stability.json")
    names = ("answers.parquet", "conversations.jsonl", "profiles.csv", "stability.json")
    return [(found.parent / name).read_bytes() for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 4])
def test_a_killed_run_goes_on_where_it_was(kills, heavy_process, tmp_path, migrated_database):
    """Kill a run, at whatever it is doing: its results equal those of an uninterrupted run."""
    settings = [
        *("engine=random", "engine._target_=tests.support.scripted.SlowEngine"),
        *("model.name=scripted", "population.limit=8", "topics.names=[joke,chess]", "seeds=[0,1]"),
    ]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    folders = []
    for name, times in (("alone", 0), ("killed", kills)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "mlflow.db").write_bytes(migrated_database.read_bytes())
        for _ in range(times):
            command = heavy_process.start("valstab", settings, folder, environment)
            before = len(list(folder.glob(".valstab/*/answers*/*")))
            while not command.has_ended() and len(list(folder.glob(".valstab/*/answers*/*"))) == before:
                time.sleep(0.05)
            time.sleep(0.2)
            os.kill(command.pid, signal.SIGKILL)
            assert command.wait().returncode == -signal.SIGKILL
        finished = heavy_process.run("valstab", settings, folder, environment)
        assert finished.returncode == 0, finished.stderr
        folders.append(folder)
    assert "reused from the store" in finished.stdout
    assert results_of(folders[0]) == results_of(folders[1])
