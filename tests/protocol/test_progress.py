"""Progress of a run, as it is shown."""

import io
from time import sleep

import numpy as np
import pandas as pd
import pytest

from tests.support.composed import compose_run
from valstab.engines.factory import load_engine
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
    assert str(stage) == "asking 9,250 of 10,000 questions · 25.0 a second · 0:00:30 left"
    stage.note = "rank-order so far 0.25"
    clock(30)
    stage.advance(750)
    assert str(stage) == "asking 10,000 of 10,000 questions · 25.0 a second · rank-order so far 0.25"


def test_the_time_of_one_unit_is_shown_where_it_takes_more_than_a_second(clock):
    stage = Stage("conversing", "messages", 5)
    clock(24)
    stage.advance(2)
    assert str(stage) == "conversing 2 of 5 messages · 12 s a message · 0:00:36 left"


def test_time_is_left_for_this_stage_and_the_next_is_named_while_its_rate_is_unknown(clock):
    log = io.StringIO()
    with display("run", log) as begin:
        stage = begin("conversing", "messages", 50, "2,000 questions")
        clock(20)
        stage.advance(40)
        clock(5)
        stage.advance(10)
    assert log.getvalue().splitlines() == [
        "run: conversing 40 of 50 messages · 2.0 a second · 0:00:05 left for messages, then 2,000 questions",
        "run: conversing 50 of 50 messages · 2.0 a second",
    ]


def test_off_a_terminal_a_plain_line_now_and_then_and_at_the_end(clock):
    log = io.StringIO()
    with display("run [a]", log) as begin:
        stage = begin("asking", "questions", 100)
        for _ in range(10):
            clock(10)
            stage.advance(10)
    assert log.getvalue().splitlines() == [
        "run [a]: asking 20 of 100 questions · 1.0 a second · 0:01:20 left",
        "run [a]: asking 40 of 100 questions · 1.0 a second · 0:01:00 left",
        "run [a]: asking 60 of 100 questions · 1.0 a second · 0:00:40 left",
        "run [a]: asking 80 of 100 questions · 1.0 a second · 0:00:20 left",
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
    assert "40/100 questions · 4.0 a second · 0:00:15 left" in screen.getvalue()
    assert "run:" not in screen.getvalue()


def rows(scores):
    """Return a table of the score of every item, from scores by seed, context and persona."""
    return pd.DataFrame(
        {"seed": seed, "context": context, "persona": persona, "item": item, "score": score}
        for (seed, context, persona), items in scores.items()
        for item, score in enumerate(items, 1)
    )


def everybody(seed, context, levels):
    """Return the answers of a few people to the five items of religion; each answers all alike."""
    return {(seed, context, str(person)): [level] * 5 for person, level in enumerate(levels)}


def plan_of(*overrides):
    return make_plan(compose_run(*overrides))


def test_the_stability_so_far_is_of_contexts_that_everybody_has_answered_and_stands_beside_chance():
    plan = plan_of("task=religion", "population.limit=4")
    one = everybody(0, "joke", (1, 2, 3, 4))
    assert estimate_so_far(rows(one), plan, "zero") == ""
    three = one | everybody(0, "chess", (4, 3, 2))  # one person has not answered
    assert estimate_so_far(rows(three), plan, "zero") == ""
    # rho of 1 2 3 4 and 1 2 4 3 is 0.8. Of the 24 orders of four people one has 1.0 and three have 0.8.
    two = one | everybody(0, "chess", (1, 2, 4, 3))
    assert estimate_so_far(rows(two), plan, "zero") == "rank-order so far 0.80, where chance alone reaches 0.80"
    # The second seed has one context only.
    more = two | everybody(1, "joke", (4, 3, 2, 1))
    assert estimate_so_far(rows(more), plan, "zero") == estimate_so_far(rows(two), plan, "zero")
    # Then it has both, with -0.8: the mean is 0.
    all_of_them = more | everybody(1, "chess", (1, 2, 4, 3))
    assert estimate_so_far(rows(all_of_them), plan, "zero").startswith("rank-order so far 0.00, where")


def test_constant_sides_count_so_far_as_they_do_at_the_end():
    plan = plan_of("task=religion", "population.limit=3")
    contexts = {"joke": (1, 2, 3), "chess": (2, 2, 2), "poem": (1, 2, 3), "grammar": (1, 2, 3)}
    answers = rows({at: each for name, levels in contexts.items() for at, each in everybody(0, name, levels).items()})
    # Three pairs of six are 1, the others have a side where all are equal.
    assert estimate_so_far(answers, plan, "zero").startswith("rank-order so far 0.50")
    assert estimate_so_far(answers, plan, "drop").startswith("rank-order so far 1.00")
    # Of the first three contexts two pairs of three are undefined, so there is nothing to report.
    assert estimate_so_far(answers[answers["context"] != "grammar"], plan, "zero") == ""


def test_without_personas_it_is_the_ipsative_stability():
    plan = plan_of("task=pvq", "population=none", "population.permutations=1")
    items = np.random.default_rng(0).permutation(40).astype(float).tolist()
    same = {(0, context, "1"): items for context in ("joke", "chess")}
    assert estimate_so_far(rows(same), plan, "zero").startswith("ipsative so far 1.00, where chance alone reaches 0.")


def test_estimates_are_rare(monkeypatch):
    plan = make_plan(compose_run("task=religion", "population.limit=3"))
    now = [0.0]
    monkeypatch.setattr(interim.time, "monotonic", lambda: now[0])
    calls = []

    def slow(given, planned, _):
        assert planned is plan
        calls.append(now[0])
        now[0] += 1.0
        return f"estimate {len(calls)} of {given}"

    monkeypatch.setattr(interim, "estimate_so_far", slow)
    estimate = InterimEstimate(plan, "zero")
    texts = []
    for second in range(61):
        now[0] = max(now[0], second)
        texts.append(estimate.text(lambda: f"{now[0]:.0f} answers"))
    # After 5 s; it took 1 s, so the next only 50 s after its end.
    assert calls == [5.0, 56.0]
    assert texts == [""] * 5 + ["estimate 1 of 5 answers"] * 51 + ["estimate 2 of 56 answers"] * 5
