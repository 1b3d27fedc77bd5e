"""Progress of a run, as it is shown."""

import io
from time import sleep

import numpy as np
import pandas as pd
import pytest

from tests.support.composed import compose_run
from valstab.engines.factory import load_engine
from valstab.inputs.task import load_task
from valstab.protocol import progress
from valstab.protocol.converse import converse
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage, display
from valstab.protocol.store import RecordLog
from valstab.results import interim
from valstab.results.interim import InterimEstimate, estimate_so_far


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test advances."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_rate_and_time_left_are_of_what_was_computed_not_of_what_the_store_had(clock):
    stage = Stage("asking", "questions", 10_000)
    stage.skip(9_000)
    assert str(stage) == "asking 9,000 of 10,000 questions"
    clock(10)
    stage.advance(250)
    # 250 in 10 s; 750 are left, which take 30 s.
    assert str(stage) == "asking 9,250 of 10,000 questions · 25.0 a second · 0:00:30 left in this stage"
    stage.note = "rank-order so far 0.25"
    clock(30)
    stage.advance(750)
    assert str(stage) == "asking 10,000 of 10,000 questions · 25.0 a second · rank-order so far 0.25"


def test_the_time_of_one_unit_is_shown_where_it_takes_more_than_a_second(clock):
    stage = Stage("conversing", "messages", 5)
    clock(24)
    stage.advance(2)
    assert str(stage) == "conversing 2 of 5 messages · 12 s a message · 0:00:36 left in this stage"


def test_off_a_terminal_a_plain_line_now_and_then_and_at_the_end(clock):
    log = io.StringIO()
    with display("run [a]", log) as begin:
        stage = begin("asking", "questions", 100)
        for _ in range(10):
            clock(10)
            stage.advance(10)
    assert log.getvalue().splitlines() == [
        "run [a]: asking 20 of 100 questions · 1.0 a second · 0:01:20 left in this stage",
        "run [a]: asking 40 of 100 questions · 1.0 a second · 0:01:00 left in this stage",
        "run [a]: asking 60 of 100 questions · 1.0 a second · 0:00:40 left in this stage",
        "run [a]: asking 80 of 100 questions · 1.0 a second · 0:00:20 left in this stage",
        "run [a]: asking 100 of 100 questions · 1.0 a second",
    ]


def test_a_line_comes_while_nothing_ends(monkeypatch):
    monkeypatch.setattr(progress, "BEAT_SECONDS", 0.002)
    now, tokens, log = [0.0], [500], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with display("run", log, lambda: tokens[0]) as begin:
        begin("conversing", "messages", 100)
        for now[0], tokens[0] in ((19.0, 900), (20.0, 1_700), (39.0, 2_000), (40.0, 2_500)):
            sleep(0.05)
    assert log.getvalue().splitlines() == [
        "run: conversing 0 of 100 messages · 1,200 tokens so far",
        "run: conversing 0 of 100 messages · 2,000 tokens so far",
    ]


def test_each_message_is_stored_as_it_comes(tmp_path):
    config = compose_run("model=random", "population.limit=2", "topics.names=[joke]", "seeds=[0]", "n_messages=1")
    plan, engine = make_plan(config), load_engine(config)
    in_the_store = []

    def slowly(requests):
        for index, _ in enumerate(requests):
            in_the_store.append(len(RecordLog(tmp_path)))
            yield index, "Well."

    engine.generate = slowly
    converse(plan, engine, RecordLog(tmp_path), Stage("conversing", "messages", 2))
    assert in_the_store == [0, 1]


def test_on_a_terminal_one_display(clock, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    screen = io.StringIO()
    with display("run", screen) as begin:
        stage = begin("asking", "questions", 100)
        clock(10)
        stage.advance(40)
    assert "\x1b[" in screen.getvalue()
    assert "40/100 questions · 4.0 a second · 0:00:15 left in this stage" in screen.getvalue()
    assert "run:" not in screen.getvalue()


def rows(scores):
    """Return a table of the score of every item, from scores by seed, context and persona."""
    return pd.DataFrame(
        {"seed": seed, "context": context, "persona": persona, "item": item, "score": score}
        for (seed, context, persona), items in scores.items()
        for item, score in enumerate(items, 1)
    )


def test_the_stability_so_far_is_over_what_is_answered():
    task = load_task(compose_run("task=religion").task)
    one = {(0, "joke", name): [level] * 5 for name, level in zip("abcd", (1, 2, 3, 4), strict=True)}
    assert estimate_so_far(rows(one), task, "zero", without_personas=False) == ""  # one context
    # Of the second context three persons are there: 1 2 3 and 1 3 2, so rho is 0.5.
    two = one | {(0, "chess", name): [level] * 5 for name, level in zip("abc", (1, 3, 2), strict=True)}
    assert estimate_so_far(rows(two), task, "zero", without_personas=False) == "rank-order so far 0.50"


def test_constant_sides_count_so_far_as_they_do_at_the_end():
    task = load_task(compose_run("task=religion").task)
    levels = {"joke": (1, 2, 3), "chess": (2, 2, 2), "poem": (1, 2, 3)}
    everybody = {
        (0, context, name): [level] * 5
        for context, each in levels.items()
        for name, level in zip("abc", each, strict=True)
    }
    # One pair of three is 1, two have a side where all are equal.
    assert estimate_so_far(rows(everybody), task, "zero", without_personas=False) == "rank-order so far 0.33"
    assert estimate_so_far(rows(everybody), task, "drop", without_personas=False) == "rank-order so far 1.00"


def test_without_personas_it_is_the_ipsative_stability():
    task = load_task(compose_run("task=pvq").task)
    items = np.random.default_rng(0).permutation(40).astype(float).tolist()
    same = {(0, context, "1"): items for context in ("joke", "chess")}
    assert estimate_so_far(rows(same), task, "zero", without_personas=True) == "ipsative so far 1.00"


def test_estimates_are_rare(monkeypatch):
    plan = make_plan(compose_run("task=religion", "population.limit=3"))
    now = [0.0]
    monkeypatch.setattr(interim.time, "monotonic", lambda: now[0])
    calls = []

    def slow(given, task, *_, **__):
        assert task is plan.task
        calls.append(now[0])
        now[0] += 1.0
        return f"estimate {len(calls)} of {given}"

    monkeypatch.setattr(interim, "estimate_so_far", slow)
    estimate = InterimEstimate(plan.task, "zero", without_personas=False)
    texts = []
    for second in range(61):
        now[0] = max(now[0], second)
        texts.append(estimate.text(lambda: f"{now[0]:.0f} answers"))
    # After 5 s; it took 1 s, so the next only 50 s after its end.
    assert calls == [5.0, 56.0]
    assert texts == [""] * 5 + ["estimate 1 of 5 answers"] * 51 + ["estimate 2 of 56 answers"] * 5
