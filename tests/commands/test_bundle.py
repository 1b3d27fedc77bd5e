"""Runs in one archive for somebody without valstab."""

import json
import re
import shutil
import zipfile
from html.parser import HTMLParser

import mlflow
import pytest

from tests.support.composed import compose_run
from valstab.commands.bundle import main
from valstab.protocol.plan import make_plan
from valstab.run import run


@pytest.fixture(scope="module")
def two_runs(launch_template):
    """Make two runs, one with a name that would be markup; return the folder that they were started in."""
    for number, name in enumerate(("plain", "<b>&")):
        config = compose_run(
            *(
                "model=random",
                f'population.name="{name}"',
                "population.limit=3",
                "topics.names=[joke,chess]",
                "seeds=[0]",
            )
        )
        run(config, make_plan(config), launch_template / "runs" / str(number) / "results")
    return launch_template


@pytest.fixture
def made(two_runs, launch_folder):
    """Return a folder with a copy of the two runs."""
    shutil.copytree(two_runs, launch_folder, dirs_exist_ok=True)
    return launch_folder / "runs"


class Links(HTMLParser):
    """Collects the texts and the targets of links."""

    def __init__(self):
        super().__init__()
        self.targets, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.targets.append(dict(attrs)["href"])

    def handle_data(self, data):
        self.texts.append(data)


def test_an_archive_has_an_index_and_all_files_of_each_run(made, capsys):
    main([str(made), "--to", "share.zip"])
    assert capsys.readouterr().out == "2 runs in share.zip; open index.html in it\n"
    with zipfile.ZipFile("share.zip") as archive:
        names = archive.namelist()
        page = archive.read("index.html").decode()
        first = archive.read("01_random_plain_pvq_n=3/stability.json")
    assert first == (made / "0" / "results" / "stability.json").read_bytes()
    files = {file.relative_to(made / "1" / "results").as_posix() for file in (made / "1" / "results").rglob("*.*")}
    assert {name.partition("/")[2] for name in names if name.startswith("02_")} == files
    assert "report.html" in files
    links = Links()
    links.feed(page)
    assert [target for target in links.targets if target.endswith("report.html")] == [
        "01_random_plain_pvq_n%3D3/report.html",
        "02_random_b_pvq_n%3D3/report.html",
    ]
    assert "random · <b>& · pvq · n=3" in links.texts  # as text
    document = json.loads(first)
    assert f"{document['rank_order']:.3f}" in links.texts
    assert f"{document['rank_order_chance']:.3f}" in links.texts
    assert "3 x 2 x 1" in links.texts
    assert re.search(r"default-src 'none'; style-src 'sha256-", page)
    assert not re.search(r"<script|https?://", page)


def test_a_folder_and_runs_of_mlflow(made, launch_folder):
    found = mlflow.MlflowClient().search_runs(["1"])
    main([found[0].info.run_id, "--to", "site"])
    (folder,) = [path for path in (launch_folder / "site").iterdir() if path.is_dir()]
    assert (folder / "report.html").is_file()
    with pytest.raises(SystemExit) as taken:
        main([str(made), "--to", "site"])
    assert str(taken.value) == "valstab: --to=site: exists; choose a new folder, or an archive (.zip)"
    (launch_folder / "empty").mkdir()
    for name, said in (("empty", "holds no results"), ("0123", "no such MLflow run")):
        with pytest.raises(SystemExit) as missing:
            main([name])
        assert said in str(missing.value)
    assert not (launch_folder / "valstab-runs.zip").exists()


def test_a_secret_is_not_passed_on(made, launch_folder, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "sk-very-secret")
    said = made / "0" / "results" / "conversations.jsonl"
    said.write_text(said.read_text("utf-8").replace("joke", "sk-very-secret"), "utf-8")
    with pytest.raises(SystemExit) as refused:
        main([str(made)])
    assert str(refused.value) == (
        f"valstab: bundle={said}: holds what the environment variable MY_API_KEY holds; remove it first"
    )
    assert not (launch_folder / "valstab-runs.zip").exists()
