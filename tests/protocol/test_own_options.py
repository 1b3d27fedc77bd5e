"""Items with their own number of options, and items that are asked but not scored: by hand."""

import numpy as np
import pandas as pd
import pytest

from tests.protocol.test_option_settings import PlaceEngine
from tests.support.composed import compose_run
from valstab.commands.validate import notes, report
from valstab.errors import ConfigError
from valstab.inputs.task import load_task
from valstab.protocol.ask import ask, choice_requests, option_orders
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import RecordLog
from valstab.statistics.position import offered_labels, position_effect
from valstab.statistics.psychometrics import cronbach_alpha
from valstab.statistics.scores import score

SMALL = (
    "model=random",
    "population.limit=2",
    "topics.names=[joke]",
    "seeds=[0]",
    "task.name=own",
    "task.centred=false",
)
OWN = """\
item,trait,reversed,a,b,c,d
1,x,,No,Yes,,
2,x,true,Never,Rarely,Often,Always
3,y,,No,Perhaps,Yes, """
FILLED = """\
item,trait,filler
1,x,
2,,true
3,y,false
4,x,"""


def settings_of(file, text, n_items, *options):
    """Write a file of items, and return the settings of a task with them and these options and scores."""
    file.write_text(text, encoding="utf-8")
    items = (f"task.items={file}", f"task.n_items={n_items}")
    return (*SMALL, *items, "task.key=trait", "task.keys=null", "task.text=Q", *options)


@pytest.fixture
def own(tmp_path):
    """The settings of a task whose items have 2, 4 and 3 options."""
    return settings_of(tmp_path / "own.csv", OWN, 3, "task.options=['{a}','{b}','{c}','{d}']", "task.scores=[0,1,2,4]")


@pytest.fixture
def filled(tmp_path):
    """The settings of a task whose second item is a filler."""
    return settings_of(tmp_path / "filled.csv", FILLED, 4, "task.options=[No,Yes]", "task.scores=[0,1]")


def asked(plan, engine, log=None):
    conversations = [Conversation(session, ("Hi.", "Ho.")) for session in plan.sessions]
    return ask(plan, conversations, engine, RecordLog(None) if log is None else log, Stage("", "", 0))


def test_a_model_reads_each_item_s_own_options(own):
    plan = make_plan(compose_run(*own, "option_order=fixed"))
    session = plan.sessions[0]
    requests = choice_requests(plan, Conversation(session, ("Hi.", "Ho.")), option_orders(plan, session))
    assert [request.options for request in requests] == ["AB", "ABCD", "ABC"]
    questions = [request.prompt.messages[-1].text.rpartition("Q\n")[2] for request in requests]
    assert questions == [
        "(A) No\n(B) Yes",
        "(A) Never\n(B) Rarely\n(C) Often\n(D) Always",
        "(A) No\n(B) Perhaps\n(C) Yes",
    ]


@pytest.mark.parametrize("how", ["letter", "sampled"])
def test_answers_are_recorded_and_scored_on_each_item_s_own_scale(own, how):
    plan = make_plan(compose_run(*own, "option_order=fixed", f"answer={how}", "answer_samples=2"))
    log = RecordLog(None)
    answers = asked(plan, PlaceEngine(1), log).answers
    person = answers.iloc[:3]
    assert person["letter"].tolist() == ["B", "B", "B"]
    assert person["letters"].tolist() == ["AB", "ABCD", "ABC"]
    # The second option of the reversed item, which counts 4 2 1 0.
    assert person["score"].tolist() == [1, 2, 1]
    assert np.isnan(person[["logprob_1", "logprob_2", "logprob_3", "logprob_4"]]).sum(axis=1).tolist() == [2, 0, 1]
    scores = score(answers, plan.task).isel(seed=0, context=0, persona=0)
    assert scores.to_numpy().tolist() == [1.5, 1]
    again, reused = asked(plan, PlaceEngine(0), log)
    assert reused == len(answers) == 6
    pd.testing.assert_frame_equal(again, answers)


def test_rescaled_items_count_alike(own):
    raw, alike = (make_plan(compose_run(*own, "option_order=fixed", f"task.rescaled={each}")) for each in (False, True))
    assert [alike.task.scores_of(item) for item in alike.task.items] == [(0, 1), (1, 0.5, 0.25, 0), (0, 0.5, 1)]
    scores = score(asked(alike, PlaceEngine(1)).answers, alike.task).isel(seed=0, context=0, persona=0)
    assert scores.to_numpy().tolist() == [0.75, 0.5]
    assert raw.task.digest != alike.task.digest
    assert [sum("scores are raw" in note for note in notes(plan)) for plan in (raw, alike)] == [1, 0]


def test_orders_are_of_the_item_s_own_options(own):
    plan = make_plan(compose_run(*own, "population.limit=30"))
    orders = np.array([option_orders(plan, session) for session in plan.sessions])
    for place, number in enumerate((2, 4, 3)):
        assert (np.sort(orders[:, place, :number]) == np.arange(number)).all()
        assert (orders[:, place, number:] == np.arange(number, 4)).all()
        assert len({tuple(order) for order in orders[:, place]}) > 1
    answers = asked(plan, PlaceEngine(0)).answers
    assert answers["letter"].eq("A").all()
    own_labels = answers["letters"].map(offered_labels)
    assert sorted({len(labels) for labels in own_labels}) == [2, 3, 4]
    effect = position_effect(answers, resamples=99)
    assert (effect.same_letter, effect.dominates) == (1, True)
    assert effect.chance == pytest.approx((1 / 2 + 1 / 4 + 1 / 3) / 3)
    reverse = option_orders(make_plan(compose_run(*own, "option_order=reversed")), plan.sessions[0])
    assert reverse.tolist() == [[1, 0, 2, 3], [3, 2, 1, 0], [2, 1, 0, 3]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,x,,No,,,\n2,x,,a,b,c,d\n3,y,,a,b,,", "item 1 needs 2 options at least"),
        ("1,x,,No,,Yes,\n2,x,,a,b,c,d\n3,y,,a,b,,", "item 1 has an option without a text before another"),
        ("1,x,,No,Yes,,\n2,x,,a,b,c,\n3,y,,a,b,,", "no item has a text for option 4"),
    ],
)
def test_options_that_are_missing_are_refused(own, tmp_path, rows, message):
    (tmp_path / "own.csv").write_text(OWN.partition("\n")[0] + "\n" + rows)
    with pytest.raises(ConfigError, match=message):
        load_task(compose_run(*own).task)


def test_items_that_can_t_be_rescaled(own):
    with pytest.raises(ConfigError, match=r"task\.rescaled=true: the options of item 1 all have the same score"):
        load_task(compose_run(*own, "task.scores=[1,1,2,3]", "task.rescaled=true").task)


def test_a_filler_is_asked_and_in_no_score(filled):
    task = load_task(compose_run(*filled).task)
    assert task.keys == ("x", "y")
    assert [item.is_filler for item in task.items] == [False, True, False, False]
    answers = table_of([5, 9, 1, 3])
    assert score(answers, task).to_numpy().ravel().tolist() == [4, 1]


@pytest.mark.parametrize(("items", "expected"), [("scored", [1, -2]), ("all", [-0.5, -3.5])])
def test_a_filler_counts_in_the_mean_as_the_manual_says(filled, items, expected):
    # The mean of 5, 1 and 3 is 3, that of 5, 9, 1 and 3 is 4.5.
    task = load_task(compose_run(*filled, "task.centred=true", f"task.centred_on={items}").task)
    assert score(table_of([5, 9, 1, 3]), task).to_numpy().ravel().tolist() == expected


def test_alpha_is_centred_as_the_scores_are(filled):
    # Less the scored items' means (2, 0 and 1): x has 1 and 1, 0 and 0, and -1 and 2. Variances 1 and 1, of sums 1.
    answers = pd.concat(
        [table_of(each, name) for name, each in zip("abc", ([3, 9, 0, 3], [0, 5, 0, 0], [0, 1, 0, 3]), strict=True)]
    )
    task = load_task(compose_run(*filled, "task.centred=true", "task.centred_on=scored").task)
    assert cronbach_alpha(answers, task, centred=True)["x"] == pytest.approx(2 * (1 - (1 + 1) / 1))


def test_fillers_and_centring_are_part_of_the_digest(filled):
    settings = ((), ("task.centred=true", "task.centred_on=all"), ("task.centred=true", "task.centred_on=scored"))
    assert len({load_task(compose_run(*filled, *each).task).digest for each in settings}) == len(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("task.centred=true",), r"task\.centred_on=None: item 2 is asked but not scored; .*; allowed: all, scored"),
        (("task.centred=true", "task.centred_on=both"), r"task\.centred_on=both: allowed: all, scored"),
    ],
)
def test_centring_with_fillers_has_to_be_said(filled, settings, message):
    with pytest.raises(ConfigError, match=message):
        load_task(compose_run(*filled, *settings).task)


def test_an_item_without_a_key_is_a_filler_only_if_it_says_so(filled, tmp_path):
    (tmp_path / "filled.csv").write_text(FILLED.replace("2,,true", "2,,"))
    with pytest.raises(ConfigError, match="item 2 has no trait, and is no filler"):
        load_task(compose_run(*filled).task)
    (tmp_path / "filled.csv").write_text(FILLED.replace("2,,true", "2,,yes"))
    with pytest.raises(ConfigError, match="item 2 has filler 'yes'; allowed: true, false"):
        load_task(compose_run(*filled).task)


def test_validate_says_what_is_not_scored_and_whose_options_are_shown(filled, own):
    described = report(compose_run(*filled, "task.centred=true", "task.centred_on=scored"))
    assert "asked but not scored: 2\n" in described
    assert "scores: mean of a key's items, less the person's mean over all scored items\n" in described
    described = report(compose_run(*own, "task.rescaled=true"))
    assert "items have 2 to 4 options of their own; those of item 1:\n" in described
    assert "options: No = 0, Yes = 1\n" in described
    assert "scores: mean of a key's items, each from 0 to 1\n" in described


def table_of(values, persona="Ada"):
    """The answers of one person."""
    labels = {"seed": 0, "context": "joke", "persona": persona}
    return pd.DataFrame([{**labels, "item": item, "score": float(value)} for item, value in enumerate(values, 1)])
