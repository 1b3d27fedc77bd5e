"""Keys and passwords: wherever they are, nothing that a command prints or writes has them."""

import io
import logging
import os

import pytest
from requests.utils import get_netrc_auth

from tests.support.composed import compose_run
from tests.support.openai_server import chat_completion, openai_servers
from valstab.commands import process
from valstab.config.secrets import find_secret, redact
from valstab.errors import ConfigError
from valstab.protocol.plan import make_plan

CANARY = "c4nary-4nd-n0-w0rd-of-any-text"
PLANTED = {
    name: f"{name.lower()}-{CANARY}"
    for name in (
        *("OPENAI_API_KEY", "TEAM_LOGIN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY"),
        *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "DB_PASS", "MYSQL_PWD", "GITHUB_PAT"),
    )
}
"""MLFLOW_TRACKING_USERNAME is not of them: MLflow logs it as the run's user."""
SMALL = ("population.limit=2", "topics.names=[joke,chess]", "seeds=[0]", "n_messages=1", "task=religion")
NOBODY = "http://127.0.0.1:9/v1"
LOGIN = f"http://me:{CANARY}@127.0.0.1:9/v1"
ADDRESSES = (LOGIN, f"{NOBODY}?api_key={CANARY}", f"{NOBODY}?token={CANARY}", f"{NOBODY}?x={CANARY}")
GOOD = chat_completion("B", A=0.2, B=0.7)


def leaks(folder, *results):
    """Name every output with a canary in it, or with half of one."""
    half = CANARY[: len(CANARY) // 2]
    printed = [one for result in results for one in (result.stdout, result.stderr) if half in one]
    files = [path for path in folder.rglob("*") if path.is_file() and half.encode() in path.read_bytes()]
    names = [path for path in folder.rglob("*") if half in path.name]
    return [*printed, *files, *names]


@pytest.fixture
def serve():
    with openai_servers() as start:
        yield start


@pytest.fixture
def command(valstab_light):
    """Run a command, which is to end early, with a canary in each variable: twice, the second time with tracebacks."""

    def run(*arguments, module="valstab", **environment):
        return [
            valstab_light(*arguments, module=module, **{**PLANTED, **environment, **full})
            for full in ({}, {"HYDRA_FULL_ERROR": "1"})
        ]

    return run


def option(folder, group, name, text):
    file = folder / "mine" / group / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.slow
def test_a_run_a_sweep_and_a_comparison_keep_the_key_to_themselves(serve, valstab, launch_folder):
    server = serve(GOOD)
    settings = ("engine=openai", "model=auto", "model.path=served", f"engine.url={server.url}", *SMALL)
    done = valstab("-m", *settings, "engine.key_variable=TEAM_LOGIN", "seeds=[0],[1]", **PLANTED)
    assert done.returncode == 0, done.stderr
    assert server.headers[0]["Authorization"] == f"Bearer {PLANTED['TEAM_LOGIN']}"
    compared = valstab(module="valstab.compare", **PLANTED)
    assert compared.returncode == 0, compared.stderr
    assert leaks(launch_folder, done, compared) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "content", "full"),
    [
        (401, {"error": f"wrong key: {PLANTED['OPENAI_API_KEY']}"}, "1"),
        # The message is cut within the key.
        (401, {"error": "x" * 255 + f" {PLANTED['OPENAI_API_KEY']}"}, ""),
        (500, {"error": f"wrong key: {PLANTED['OPENAI_API_KEY']}"}, ""),
        (200, {"choices": f"{PLANTED['OPENAI_API_KEY']}"}, "1"),
    ],
)
def test_a_server_that_repeats_the_key(serve, valstab_forked, launch_folder, status, content, full):
    server = serve((status, content))
    settings = ("engine=openai", "model=auto", "model.path=served", f"engine.url={server.url}", *SMALL)
    result = valstab_forked(*settings, "engine.max_away=0", **PLANTED, **({"HYDRA_FULL_ERROR": full} if full else {}))
    assert result.returncode == 1
    assert len(server.bodies) >= 1
    assert leaks(launch_folder, result) == []


@pytest.mark.slow
def test_a_server_that_is_not_there_in_a_sweep(valstab_forked, launch_folder):
    settings = (
        "engine=openai",
        "model=auto",
        "model.path=served",
        f"engine.url={NOBODY}",
        "engine.max_away=0",
        *SMALL,
    )
    result = valstab_forked("-m", *settings, "seeds=[0],[1]", **PLANTED, HYDRA_FULL_ERROR="1")
    assert result.returncode == 1
    assert leaks(launch_folder, result) == []


@pytest.mark.parametrize(("address", "sweep"), [(LOGIN, []), (ADDRESSES[3], []), (ADDRESSES[1], ["-m"])])
def test_an_address_on_the_command_line(command, launch_folder, address, sweep):
    results = command(*sweep, "engine=openai", "model=auto", "model.path=served", f"engine.url='{address}'", *SMALL)
    for result in results:
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith("valstab: engine.url=...: may hold no")
    assert leaks(launch_folder, *results) == []
    assert not list(launch_folder.glob("[om]u*"))  # outputs, multirun


@pytest.mark.parametrize(
    ("text", "sweep"),
    [
        (f"url: {LOGIN}", []),
        pytest.param(f"url: {LOGIN}", ["-m"], marks=pytest.mark.slow),
        pytest.param(f"url: {ADDRESSES[2]}", [], marks=pytest.mark.slow),
        pytest.param(f"key_variable: {CANARY}", ["-m"], marks=pytest.mark.slow),
        ("url: http://127.0.0.1:9/${oc.env:OPENAI_API_KEY}", []),
        pytest.param("url: http://127.0.0.1:9/${oc.env:OPENAI_API_KEY}", ["-m"], marks=pytest.mark.slow),
        pytest.param(f"url: ${{oc.env:NOT_SET,{LOGIN}}}", [], marks=pytest.mark.slow),
    ],
)
def test_an_address_in_an_option_of_ones_own(command, launch_folder, text, sweep):
    option(launch_folder, "engine", "mine", f"# Ours.\ndefaults:\n  - openai\n{text}\n")
    (launch_folder / "mine").rename(launch_folder.parent / f"{launch_folder.name}-mine")
    folder = launch_folder.parent / f"{launch_folder.name}-mine"
    engine = "engine=openai,mine" if sweep else "engine=mine"
    results = command("--config-dir", str(folder), *sweep, engine, "model=auto", "model.path=served", *SMALL)
    for result in results:
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith("valstab: engine.")
        assert "=...: " in line
    assert leaks(launch_folder, *results) == []
    assert not list(launch_folder.glob("outputs/*/*/.hydra"))
    assert not list(launch_folder.glob("multirun/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        "hydra.job.env_copy=[OPENAI_API_KEY]",
        f"+hydra.job.env_set.OPENAI_API_KEY={CANARY}",
        f"tracking.experiment={PLANTED['HF_TOKEN']}",
        f"'engine.url={LOGIN}[",
    ],
)
def test_a_secret_in_any_other_setting(command, launch_folder, setting):
    uri = f"http://me:{CANARY}@127.0.0.1:9"
    results = command("model=random", setting, *SMALL, MLFLOW_TRACKING_URI=uri)
    for result in results:
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
    assert leaks(launch_folder, *results) == []


@pytest.mark.slow
def test_a_tracking_server_s_password(valstab_forked, launch_folder):
    place = {
        "MLFLOW_TRACKING_URI": f"http://me:{CANARY}@127.0.0.1:9/mine",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    results = [
        valstab_forked("model=random", *SMALL, **PLANTED, **place, HYDRA_FULL_ERROR="1"),
        valstab_forked("-m", "model=random", *SMALL, "seeds=[0],[1]", **PLANTED, **place),
        valstab_forked(module="valstab.compare", **PLANTED, **place, HYDRA_FULL_ERROR="1"),
    ]
    assert [result.returncode for result in results] == [0, 1, 1]  # `valstab sync` logs the results of a run later
    assert leaks(launch_folder, *results) == []


@pytest.mark.parametrize(
    ("module", "setting", "others"),
    [("valstab.compare", "figure.title", []), ("valstab.rescore", "task.description", ["answers=x"])],
)
def test_a_comparison_and_a_rescoring_refuse_secrets_too(valstab_light, launch_folder, module, setting, others):
    secret = f"long-{CANARY}"
    result = valstab_light(*others, f"{setting}=${{oc.env:DB_PASS}}", module=module, DB_PASS=secret)
    assert result.returncode == 1
    assert f"{setting}=...: holds what the environment variable DB_PASS holds" in result.stderr
    assert not leaks(launch_folder, result)


def test_the_guard_is_for_a_notebook_too():
    with pytest.raises(ConfigError, match=r"^engine\.url=\.\.\.: may hold no name") as caught:
        make_plan(compose_run("engine=openai", f"engine.url={LOGIN}"))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("engine.url=http://me:word@host:8000/v1 n=3", "engine.url=http://host:8000/v1 n=3"),
        ("postgresql+psycopg://me:w%40rd@host/base", "postgresql+psycopg://host/base"),
        ("postgresql://me:w/or#d?@host/base", "postgresql://host/base"),
        ("postgresql://me:p@ss@host/base", "postgresql://host/base"),
        ("GET /v1?page=2&API_KEY=abc&x=1 failed", "GET /v1?page=2&API_KEY=...&x=1 failed"),
        ("key long-enough-to-tell of HF_TOKEN", "key (HF_TOKEN) of HF_TOKEN"),
        ("sqlite:///mine@home.db, a//b and c@d", "sqlite:///mine@home.db, a//b and c@d"),
        ("hunter2 failed, hunter23 and shunter2 did not", "(PGPASSWORD) failed, hunter23 and shunter2 did not"),
        ("a wrong p@ss/w, not a password", "a wrong (DATABASE_URL), not a password"),
        ("quantization=none, PIN 4711, 0.4711", "quantization=none, PIN (DB_PASS), 0.4711"),
        ("http://h/#/r?a=b&viewStateShareKey=valstab", "http://h/#/r?a=b&viewStateShareKey=valstab"),
        ("user mlflow of mlflow.db, cat", "user mlflow of mlflow.db, cat"),
    ],
)
def test_what_is_left_out(text, shown, monkeypatch):
    for name, value in {
        "HF_TOKEN": "long-enough-to-tell",
        "PGPASSWORD": "hunter2",
        "DB_PASS": "4711",
        "OPENAI_API_KEY": "none",
        "MY_TOKEN": "cat",  # too short to be told from a word
        "DATABASE_URL": "postgresql://me:p%40ss%2Fw@host/base",
        "MLFLOW_TRACKING_URI": "postgresql://mlflow:mlflow@host/base",
    }.items():
        monkeypatch.setenv(name, value)
    assert redact(text) == shown


def test_a_setting_with_a_short_secret_is_refused_and_a_longer_word_is_not(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    assert find_secret("figure.title", "hunter2 and others").startswith(
        "holds what the environment variable PGPASSWORD"
    )
    assert find_secret("figure.title", "hunter23") is None


@pytest.fixture
def guarded(monkeypatch):
    """Returns a function that makes this process one of a command, and returns what it prints."""
    monkeypatch.setenv("HF_TOKEN", "long-enough-to-tell")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "another-long-one")
    for name in ("NETRC", *process.NO_TELEMETRY):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    factory = logging.getLogRecordFactory()

    def guard():
        printed = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed, "ascii", write_through=True))
        process.guard_process()
        return printed

    yield guard
    logging.setLogRecordFactory(factory)


def test_what_a_command_prints_and_logs_has_no_secret_and_does_not_move_the_cursor(guarded, tmp_path):
    printed = guarded()
    process.guard_process()  # as a job does again
    print("token", "long-enough-to-tell", "\u05d0")  # noqa: T201 - it is what is tested
    log = logging.getLogger("test_secrets")
    log.addHandler(handler := logging.FileHandler(tmp_path / "log"))
    error = ValueError("long-enough-to-tell \x1b[2J")
    log.error("model %s, by http://me:word@host", "\x1b]0;owned\x07long-enough-to-tell", exc_info=error)
    log.removeHandler(handler)
    handler.close()
    assert printed.getvalue() == b"token (HF_TOKEN) \\u05d0\n"
    first, *_, last = (tmp_path / "log").read_text().splitlines()
    assert first == "model \\x1b]0;owned\\x07(HF_TOKEN), by http://host"
    assert last == "ValueError: (HF_TOKEN) \\x1b[2J"


def test_a_command_reports_nothing_and_a_netrc_file_does_not_replace_a_token(guarded, tmp_path, monkeypatch):
    from mlflow.telemetry.utils import is_telemetry_disabled

    guarded()
    (tmp_path / ".netrc").write_text("machine host login me password other", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_netrc_auth("http://host") is None
    assert is_telemetry_disabled()
    assert {name: os.environ[name] for name in process.NO_TELEMETRY} == process.NO_TELEMETRY


@pytest.mark.parametrize("setting", ["model.path=OWNER/NAME@main", "store.path=/a/b@c", "tracking.experiment=who?"])
def test_what_only_looks_like_a_secret(setting):
    make_plan(compose_run("model=random", setting))
