"""Drift of runs: what falls, how fast, and what is not said without chance, an interval or a second order."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support import synthetic
from tests.support.composed import compose_run
from valstab.analysis.load import load_runs
from valstab.analysis.runs import Runs
from valstab.compare.drift import drift
from valstab.compare.drift_sentences import describe_drift
from valstab.errors import ConfigError
from valstab.protocol.ask import option_orders
from valstab.protocol.plan import make_plan
from valstab.run import run

SIZE = {"seeds": 1, "contexts": 3, "personas": 5, "keys": 5}


def talks(label, *scores, lengths=(1, 3, 7)):
    """Return runs of one label; with four arrays the first is without conversation."""
    lengths = (0, *lengths) if len(scores) > len(lengths) else lengths
    return [
        synthetic.run(label, each if n else each.isel(context=[0]), n_messages=n)
        for n, each in zip(lengths, scores, strict=True)
    ]


def found_in(runs, resamples=99):
    found = drift(Runs(tuple(runs)), "zero", resamples)
    return found, describe_drift(found)


def finding(found, measure, reference):
    rows = found.half_lives[(found.half_lives["measure"] == measure) & (found.half_lives["reference"] == reference)]
    return rows["finding"].tolist()


def test_people_who_stay_as_they_are_do_not_fall():
    stays = synthetic.scores(noise=0, **SIZE)
    found, said = found_in(talks("steady", *[stays] * 4))
    assert found.overview()["rank_order"].dropna().tolist() == pytest.approx([1, 1])
    assert found.overview()["neutral_points"].tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert set(found.half_lives["finding"]) == {"no fall is shown"}
    assert np.isinf(found.half_lives["half_life"]).all()
    assert "is 1.000 after 3 messages" in said[0]
    assert "no fall is shown" in said[0]


def test_without_stability_nothing_falls():
    runs = talks("random", *(synthetic.scores(persona=0, random=n, **SIZE) for n in range(4)))
    found, said = found_in(runs)
    assert not found.curves["shown"].any()
    assert set(found.half_lives["finding"]) == {"no stability is shown"}
    assert all("never beyond chance; there is no stability that could fall" in each for each in said[:3])


def test_what_limits_the_reading_is_said():
    two_topics = {**SIZE, "contexts": 2}
    found, said = found_in(talks("model", *(synthetic.scores(random=n, **two_topics) for n in range(3))))
    assert found.curves["low"].isna().all()
    assert not found.half_lives["finding"].eq("falls").any()
    assert said[-3:] == (
        "model: no interval and no test of a fall, since fewer than 3 topics.",
        "model: each question was asked once, with its options in one order at all lengths, so a preference for some "
        "letters also looks like stability between lengths. retests=1 asks again in other orders.",
        "model: no run without conversation (n_messages=0), so nothing is said of the neutral profile.",
    )


def test_two_lengths_have_no_fall_towards_the_first():
    stays = synthetic.scores(noise=0, **SIZE)
    found, said = found_in(talks("steady", stays, stays, lengths=(1, 7)))
    assert set(found.half_lives["reference"]) == {"topics"}
    assert found.persona_half_lives.empty
    assert said[0].endswith("beyond chance at each length.")


def test_labels_are_told_apart_at_each_length():
    stays = synthetic.scores(noise=0, **SIZE)
    loses = [stays, stays, synthetic.scores(persona=0, random=9, **SIZE)]
    found, said = found_in([*talks("keeps", stays, stays, stays), *talks("loses", *loses)])
    of_people = found.differences.query("measure == 'rank_order' and reference == 'first'").set_index("n_messages")
    assert of_people["significant"].to_dict() == {3: False, 7: True}
    assert of_people.loc[3, "difference"] == 0
    assert of_people.loc[7, "low"] > 0.3
    assert any(
        each.startswith("keeps less loses, the order of people") and "they differ after 7" in each for each in said
    )


def test_the_run_without_conversation_belongs_to_all_labels_with_its_words():
    stays = synthetic.scores(noise=0, **SIZE)
    silent, *first = talks("model", *[stays] * 4)
    renamed = [replace(run, label="model reminded") for run in first]
    found, _ = found_in([silent, *first, *renamed])
    assert found.curves.query("reference == 'neutral'")["label"].unique().tolist() == ["model", "model reminded"]


def test_a_run_that_is_not_fit_is_left_out():
    runs = talks("model", *[synthetic.scores(noise=0, **SIZE)] * 4)
    runs[1] = replace(runs[1], withheld="too many answers are unread")
    _, said = found_in(runs)
    assert "model (n=1): left out, since too many answers are unread." in said
    assert "after 7 messages" in said[0]
    with pytest.raises(ConfigError, match=r"need two or more lengths of conversation \(n_messages\) of one label"):
        found_in(runs[:3])


def test_a_question_has_the_same_option_orders_at_every_length():
    plans = [make_plan(compose_run("model=random", "population.limit=1", f"n_messages={n}")) for n in (1, 43)]
    first, last = (option_orders(plan, plan.sessions[0]) for plan in plans)
    assert np.array_equal(first, last)
    assert not np.array_equal(first, option_orders(plans[0], plans[0].sessions[0], retest=1))


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_a_control_that_drifts_is_found_to(launch_folder):
    lengths = (0, 1, 3, 11, 23)
    for model in ("control_drifts", "random"):
        for length in lengths:
            settings = compose_run("+experiment=drift", f"model={model}", "population.limit=12", f"n_messages={length}")
            run(settings, make_plan(settings), launch_folder / model / str(length))
    drifts, none = (
        drift(load_runs(folders=[launch_folder / model]), "zero", 99) for model in ("control_drifts", "random")
    )
    rates = drifts.half_lives.query("measure == 'rank_order'").set_index("reference")
    # The share of the variance halves every 8 messages, so a correlation of two lengths every 16.
    for reference, truth in (("first", 16), ("neutral", 16), ("topics", 8)):
        assert rates.loc[reference, "finding"] == "falls"
        assert rates.loc[reference, "low"] < truth < rates.loc[reference, "high"]
    assert set(none.half_lives["finding"]) == {"no stability is shown"}
    assert not none.curves["shown"].any()


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("slot", ["user", "system"])
def test_a_reminder_is_found_to_keep_what_drifts(launch_folder, slot):
    for every in (0, 4):
        for length in (1, 23):
            settings = compose_run(
                *("+experiment=drift", "model=control_drifts", f"n_messages={length}", "retests=0"),
                *(f"reminder.every={every}", f"reminder.slot={slot}"),
            )
            run(settings, make_plan(settings), launch_folder / f"{every}" / f"{length}")
    runs = load_runs(folders=[launch_folder / "0", launch_folder / "4"])
    found = drift(runs, "zero", 99)
    tests = found.differences.query("measure == 'ipsative' and reference == 'first' and n_messages == 23")
    (row,) = tests.to_dict("records")
    # Four messages after a reminder, as after 1 message, the share is 0.71 and 0.92; after 23 it is 0.14.
    truth = np.sqrt(2 ** (-1 / 8) * 2 ** (-23 / 8)) - np.sqrt(2 ** (-1 / 8) * 2 ** (-4 / 8))
    assert [row["one"], row["other"]] == ["control_drifts reminders=0", "control_drifts reminders=4"]
    assert row["low"] < truth < row["high"] < 0
    assert row["significant"]
