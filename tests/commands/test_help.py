"""Help and completion: what a user sees before knowing any name."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from valstab.config.meanings import describe_settings
from valstab.config.options import CONFIG_FOLDER, first_comment, format_groups, read_groups
from valstab.config.schema import Config

OPTIONS = sorted(Path(CONFIG_FOLDER).glob("*/*.yaml"))


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_option_is_described_in_a_line(path):
    text = first_comment(path)
    assert 10 <= len(text) <= 115


def test_the_first_comment_that_is_no_directive_describes_an_option(tmp_path):
    for name, content, text in (
        ("plain", "# A scale.\n# More of it.\nname: x\n", "A scale."),
        ("directive", "# @package _global_\n#\n# Everything.\n", "Everything."),
        ("late", "name: x # not this\n#  This.\n", "This."),
        ("silent", "name: x\n", ""),
    ):
        (tmp_path / f"{name}.yaml").write_text(content, encoding="utf-8")
        assert first_comment(tmp_path / f"{name}.yaml") == text
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    assert first_comment(tmp_path / "binary.yaml") == ""


def test_options_of_several_folders_are_listed_together(tmp_path):
    for path, content in {
        "one/task/a.yaml": "# First.",
        "two/task/a.yaml": "# Hidden by the first.",
        "two/task/b.yaml": "# Second.",
        "two/hydra/c.yaml": "# Not ours.",
        "two/top.yaml": "# No option.",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content, encoding="utf-8")
    groups = read_groups([tmp_path / "one", tmp_path / "two"])
    assert groups == {"task": {"a": "First.", "b": "Second."}}
    assert format_groups(groups) == "task=\n  a                          First.\n  b                          Second."


def test_every_setting_has_a_sentence_in_the_help():
    described = describe_settings(Config)
    assert described["seeds"] == "Each seed is a whole repetition, with conversations and option orders of its own."
    assert described["model.sampling.temperature"].startswith("The sampling temperature; 0 is greedy")
    assert all(len(text) > 10 for text in described.values())


def test_help_describes_options_and_the_users_own(valstab_light, launch_folder):
    (launch_folder / "mine" / "task").mkdir(parents=True)
    (launch_folder / "mine" / "task" / "moods.yaml").write_text("# Moods, at $5 and {he}.\n", encoding="utf-8")
    result = valstab_light("--help", "--config-dir", "mine")
    assert result.returncode == 0
    lines = [re.sub(r"\s+", " ", line).strip() for line in result.stdout.splitlines()]
    assert "moods Moods, at $5 and {he}." in lines
    assert "random Uniformly random answers: the chance level." in lines
    assert "seeds Each seed is a whole repetition, with conversations and option orders of its own." in lines
    assert "python -m valstab +experiment=quickstart two small studies, offline" in lines
    assert "n_messages: 3" in lines
    assert "moods" not in valstab_light("--help").stdout


def test_help_may_be_cut_short_by_a_pipe(tmp_path):
    command = f"{sys.executable} -m valstab --help | head -n 1"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("Measure how stable the values")
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_bash_completes_at_the_tab_key(tmp_path):
    """In a terminal: bash, Hydra's own completion, and a press of the key."""
    commands = Path(sys.executable).parent
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        os.environ.update(PATH=f"{commands}:{os.environ['PATH']}", TERM="dumb", PS1="> ", COLUMNS="200")
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])  # noqa: S606
    try:
        os.write(terminal, b'bind "set enable-bracketed-paste off"; eval "$(valstab -sc install=bash)"; echo rea""dy\n')
        seen(terminal, "ready\r\n")
        for typed, shown in (
            ("valstab model=mixtral_base_4", "valstab model=mixtral_base_4bit"),
            ("valstab population.lim", "valstab population.limit="),
            ("valstab -m engine=rand", "valstab -m engine=random"),
        ):
            os.write(terminal, f"{typed}\t".encode())
            seen(terminal, shown)
            os.write(terminal, b"\x15")  # empties the line
    finally:
        os.write(terminal, b"\x03exit\n")
        os.close(terminal)
        os.waitpid(process, 0)


def seen(terminal, text, seconds=30):
    """Read a terminal until it shows a text."""
    end = time.monotonic() + seconds
    output = ""
    while text not in output:
        ready, *_ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        assert ready, f"{text!r} is not in {output!r}"
        output += os.read(terminal, 4096).decode()


def test_completion_lists_every_option_of_a_group(tmp_path):
    line = "valstab task="
    result = subprocess.run(
        [Path(sys.executable).parent / "valstab", "-sc", "query=bash"],
        env={**os.environ, "COMP_LINE": line},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [
        "task=character",
        "task=dilemmas",
        "task=donation",
        "task=ipip_50",
        "task=ipip_neo_120",
        "task=ipip_neo_120_facets",
        "task=ipip_neo_120_german",
        "task=ipip_neo_120_swedish",
        "task=pvq",
        "task=pvq_21",
        "task=pvq_rr",
        "task=pvq_short",
        "task=pvq_short_german",
        "task=religion",
        "task=stealing",
        "task=svs",
    ]
