"""What is written to a terminal fits it."""

import pytest

from valstab.config import terminal


@pytest.fixture
def of_width(monkeypatch):
    """Let standard output be a terminal of some columns."""
    return lambda columns: monkeypatch.setattr(terminal, "terminal_width", lambda: columns)


def test_long_lines_break_between_words_and_short_ones_stay(of_width, capsys):
    of_width(20)
    terminal.say("one two three four five\nkey   value  next\n\naverylongwordthatcannotbebroken x")
    assert capsys.readouterr().out.splitlines() == [
        *("one two three four", "  five", "key   value  next", "", "averylongwordthatcannotbebroken", "  x"),
    ]


def test_elsewhere_lines_stay_whole(capsys):
    line = "word " * 100 + "end"
    terminal.say(line)
    assert capsys.readouterr().out == f"{line}\n"
