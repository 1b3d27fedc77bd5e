"""Answers in the model's own words: how they are asked for, stored, and shown to a judge."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from scipy.special import ndtr

from tests.support.composed import compose_run
from valstab.config.engines import OpenaiConfig
from valstab.config.schema import JudgeConfig, ModelConfig
from valstab.engines.base import Window
from valstab.engines.factory import load_engine
from valstab.engines.random import RandomEngine
from valstab.errors import ConfigError
from valstab.inputs.population import Persona
from valstab.inputs.task import load_task
from valstab.protocol.ask import ask_all, choice_requests, option_orders
from valstab.protocol.context_window import require_fit, require_judge_fit
from valstab.protocol.converse import Conversation, converse
from valstab.protocol.open_answers import answer_openly, open_key, open_request, without_name
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import RecordLog
from valstab.statistics.inference import conclude
from valstab.statistics.resampling import StabilitySpec
from valstab.statistics.scores import score

SMALL = ("population.limit=2", "topics.names=[joke,chess]", "seeds=[0]")
OPEN = ("model=random", "task=dilemmas", "judge=same", *SMALL)
OTHER = JudgeConfig("other", ModelConfig(name="other"), OpenaiConfig(name="far"))
JUDGE = ("judge=model", "engine@judge.engine=random", "model@judge.model=phi_2")
TEXTS = ("Tell me a joke.", "Ho ho.", "Another.", "No.")
PLAIN = "instruction: Good or bad? {answer}\noptions: [bad, good]\nscores: [0, 1]\n"


def configured(**changes):
    """Return the configuration with settings changed, whose dots are written as two underscores."""
    config = compose_run(*OPEN)
    for name, value in changes.items():
        *sections, last = name.split("__")
        part = config
        for section in sections:
            part = getattr(part, section)
        setattr(part, last, value)
    return config


@pytest.fixture(scope="module")
def plan():
    return make_plan(configured())


class Recorder(RandomEngine):
    """Keeps what it is asked."""

    def __init__(self, words="words"):
        super().__init__(None, "none")
        self.words, self.asked, self.rated = words, [], []

    def generate(self, requests):
        for index, request in enumerate(requests):
            self.asked.append(request)
            yield index, f"{self.words} {len(self.asked)}"

    def score_options(self, dialogues):
        for index, choices in enumerate(dialogues):
            self.rated += choices
            others = len(choices[0].options) - 1
            yield index, np.log(np.tile([0.6, *[0.4 / others] * others], (len(choices), 1)))


def stage():
    return Stage("", "", 0)


def conversations(plan):
    return [Conversation(session, TEXTS) for session in plan.sessions]


def test_the_model_is_asked_as_in_the_conversation(plan):
    request = open_request(plan, conversations(plan)[0], plan.task.items[4])
    *before, (role, question) = request.prompt.messages
    assert [message.text for message in before] == [f"You are {plan.personas[0].introduction}", *TEXTS]
    assert (role, request.prompt.text, request.max_new_tokens, request.stop) == ("user", "", 150, None)
    assert question == (
        "Here is a situation. Say what you do in it, in two or three sentences.\n\nA friend asks you to help with moving "
        "house on the only free day that you have had for weeks. What do you do?"
    )


def test_a_base_model_writes_after_its_label_and_stops_at_the_next():
    plan = make_plan(compose_run(*OPEN, "model=phi_2", "engine=random"))
    request = open_request(plan, conversations(plan)[0], plan.task.items[0])
    assert request.prompt.text.endswith("What do you do?\nGANDALF:")
    assert request.cut("I stay.\nUSER: And then?") == "I stay."


def test_a_judge_knows_neither_the_persona_nor_the_conversation(plan):
    session = plan.sessions[0]
    said = [f"As GANDALF I do {number}. (Gandalfs do.)" for number in range(10)]
    orders = option_orders(plan, session)
    (first, *_) = choice_requests(plan, Conversation(session, TEXTS), orders, said=said)
    ((role, text),) = first.prompt.messages
    assert (role, first.prompt.text, first.options) == ("user", "Answer: (", "ABCDE")
    assert "What to look for: They choose what is safe and certain over what might go wrong.\n" in text
    assert f"The situation: {plan.task.items[0].text['M']}\n\nThe answer: As [name] I do 0. (Gandalfs do.)\n" in text
    assert "Gandalf " not in text
    assert not any(each in text for each in TEXTS)
    offered = [line[4:] for line in text.splitlines() if line.startswith("(")]
    assert offered == [plan.task.rubric.options[place] for place in orders[0]]


@pytest.mark.parametrize(
    ("persona", "shown"),
    [
        (Persona("Tom Bombadil", "M", "Tom Bombadil."), "[name] and Tom"),
        (Persona("Tom", "M", "Tom."), "[name] Bombadil and [name]"),
        (Persona("person_1", "M", "a poet.", is_named=False), "Tom Bombadil and Tom"),
    ],
)
def test_whole_names_are_hidden(persona, shown):
    assert without_name("Tom Bombadil and Tom", persona) == shown


def test_nothing_is_written_or_rated_twice(plan):
    engine, judge, logs = Recorder(), Recorder(), [RecordLog(None), RecordLog(None)]
    talked = conversations(plan)

    def rated(judge, log, of=plan):
        said = answer_openly(of, talked, engine, logs[0], stage())
        return ask_all(of, talked, judge, log, stage(), note=lambda _: "", said=said)

    first = rated(judge, logs[1])
    assert (len(engine.asked), len(judge.rated), first.reused) == (40, 40, 0)
    again = rated(judge, logs[1])
    assert (len(engine.asked), len(judge.rated), again.reused) == (40, 40, 40)
    assert again.answers.equals(first.answers)
    assert first.answers["open_answer"].tolist() == [f"words {number}" for number in range(1, 41)]
    assert (first.answers["letter"] == "A").all()
    other = Recorder()
    rated(other, RecordLog(None))  # another judge
    assert (len(engine.asked), len(other.rated)) == (40, 40)


def test_another_rubric_rates_the_same_answers(plan, tmp_path):
    (tmp_path / "plain.yaml").write_text(PLAIN, encoding="utf-8")
    other = make_plan(configured(task__rubric=str(tmp_path / "plain.yaml")))
    engine, judge, log, ratings = Recorder(), Recorder(), RecordLog(None), RecordLog(None)
    for each in (plan, other, plan):
        said = answer_openly(each, conversations(each), engine, log, stage())
        found = ask_all(each, conversations(each), judge, ratings, stage(), note=lambda _: "", said=said)
    assert (len(engine.asked), len(judge.rated), found.reused) == (40, 80, 40)
    assert [choice.options for choice in judge.rated[40:]] == ["AB"] * 40


def test_a_retest_is_another_answer_in_another_order(plan):
    retested = make_plan(configured(retests=1))
    engine = Recorder()
    said = answer_openly(retested, conversations(retested), engine, RecordLog(None), stage())
    assert np.shape(said) == (2, 4, 10)
    assert len({request.seed for request in engine.asked}) == 80
    one = conversations(plan)[0], plan.task.items[0]
    assert open_key(retested, *one) == open_key(plan, *one) != open_key(retested, *one, 1)


def write_task(folder, rubric):
    """Return the configuration of a task with three items, of which the last is not scored."""
    (folder / "rubric.yaml").write_text(rubric, encoding="utf-8")
    (folder / "items.csv").write_text("text,scale,filler\nA fox?,care,\nA well?,care,\nA coin?,,true\n", "utf-8")
    return configured(
        task__items=str(folder / "items.csv"),
        task__n_items=3,
        task__key="scale",
        task__keys=None,
        task__rubric=str(folder / "rubric.yaml"),
        task__description=None,
    )


OWN = """
instruction: "{criterion} | {item} | {key} | {answer}"
options: ["No", "{text} Yes", 3]
scores: [-1, 0.5, 2]
criteria: {care: Kindness., 2: Caution., 3: Thrift.}
"""


def test_a_rubric_of_ones_own(tmp_path):
    plan = make_plan(write_task(tmp_path, OWN))
    orders = np.tile(np.arange(3), (3, 1))
    said = ["I feed {it}.", "I \\1 jump.", ""]
    texts = [
        request.prompt.messages[0].text
        for request in choice_requests(plan, Conversation(plan.sessions[0], TEXTS), orders, said=said)
    ]
    assert texts == [
        "Kindness. | A fox? | care | I feed {it}.\n(A) No\n(B) A fox? Yes\n(C) 3",
        "Caution. | A well? | care | I \\1 jump.\n(A) No\n(B) A well? Yes\n(C) 3",
        "Thrift. | A coin? |  | \n(A) No\n(B) A coin? Yes\n(C) 3",
    ]
    assert plan.task.scores == (-1, 0.5, 2)
    assert plan.task.digest != make_plan(write_task(tmp_path, OWN.replace("Thrift", "Care"))).task.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("scores: [-1, 0.5, 2]", ""), "must have an instruction, options and scores"),
        (("criteria", "criterion"), "has criterion; did you mean criteria"),
        (("{answer}", "{reply}"), "must have {answer}, where the judge reads the answer"),
        (("{key}", "{kee}"), r"\{kee\} is unknown; did you mean key"),
        (("0.5", "half"), "its scores must be numbers"),
        (("-1, 0.5, 2", "1, 2"), "needs one score for each of 3 options"),
        (("Caution.", "''"), "must be texts that are not empty"),
        (("2: Caution.", "4: Caution."), "is a criterion of no item"),
        ((", 3: Thrift.", ""), "task.rubric=3: has no criterion, which item 3 needs"),
        (("options: [", "options: [["), "must be a YAML file"),
        (('["No", "{text} Yes", 3]', "none"), "its options a list"),
    ],
)
def test_rubrics_that_can_not_be_used(tmp_path, change, message):
    assert change[0] in OWN
    with pytest.raises(ConfigError, match=message):
        load_task(write_task(tmp_path, OWN.replace(*change, 1)).task)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"judge__name": "none"}, "judge=none: task=dilemmas needs one; allowed: same, or model"),
        ({"answer": "thinking"}, "with task.rubric the judge reads the answer; allowed: letter"),
        ({"answer": "sampled"}, "with task.rubric the judge reads the answer; allowed: letter"),
        ({"task__dialogue": "value"}, "with task.rubric allowed: null"),
        ({"task__options": ["a", "b"], "task__scores": [1, 2]}, "are those of task.rubric"),
        ({"task__max_answer_tokens": 0}, "must be at least 1"),
        ({"task__rubric": "none.yaml"}, "no such file"),
        ({"judge__model": ModelConfig(name="x")}, "judge.model=x: needs a model and its engine"),
        ({"judge": OTHER, "dry_run": True}, "judge=other: a dry run measures the model alone: set judge=same for it"),
        ({"judge": replace(OTHER, model=ModelConfig(name="x", dtype="float8"))}, r"judge\.model\.dtype=float8"),
        ({"judge": OTHER, "option_labels": "words"}, "engine=far reads the first token only"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(configured(**settings))


def test_other_tasks_need_no_judge():
    config = compose_run("model=random", *SMALL)
    without = make_plan(config)
    config.judge = OTHER
    assert make_plan(config) == without
    assert without.judge_format is None


def test_the_judge_has_its_own_format():
    plan = make_plan(compose_run(*OPEN, *JUDGE))
    assert [each.name for each in (plan.chat_format, plan.judge_format)] == ["SYSTEM", "BASE"]
    (first, *_) = choice_requests(
        plan, Conversation(plan.sessions[0], ()), option_orders(plan, plan.sessions[0]), said=["So."] * 10
    )
    assert first.prompt.text.startswith("USER:Somebody was told")
    assert first.prompt.text.endswith("\nCHATBOT:Answer: (")


def test_answers_and_ratings_that_may_not_fit_the_windows(plan):
    window = Window(300, lambda prompt: sum(len(message.text.split()) for message in prompt.messages))
    question = len(open_request(plan, conversations(plan)[0], plan.task.items[3]).prompt.messages[-1].text.split())
    with pytest.raises(ConfigError, match="but the model can read 300") as error:
        require_fit(plan, window, "the model")
    words = int(str(error.value).split("up to ")[1].split()[0])
    assert words > 3 * 100 + 150 + question  # three messages, the answer and the item
    with pytest.raises(ConfigError, match="but the judge X can read 200"):
        require_judge_fit(plan, window._replace(tokens=200), "X")
    require_judge_fit(plan, window, "X")


def test_a_control_s_answers_are_as_stable_as_it_is():
    config = compose_run("model=control_writes", "engine.share=1", *OPEN[1:])
    plan, engine = make_plan(config), load_engine(config)
    talked = [Conversation(session, (session.opening, *TEXTS[1:])) for session in plan.sessions]
    said = answer_openly(plan, talked, engine, RecordLog(None), stage())
    answers = ask_all(plan, talked, engine, RecordLog(None), stage(), note=lambda _: "", said=said).answers
    written = answers["open_answer"].str.partition(": ")[2]
    options = plan.task.rubric.options
    assert answers["score"].tolist() == [options.index(text) + 1 for text in written]
    by_context = answers.set_index(["context", "persona", "item"])["score"].unstack("context")
    assert (by_context["joke"] == by_context["chess"]).all()
    assert answers["score"].nunique() > 2


@pytest.mark.slow
def test_a_real_model_answers_and_judges(embedded, tmp_path):
    (tmp_path / "plain.yaml").write_text(PLAIN, encoding="utf-8")
    short = {"n_messages": 1, "max_new_tokens": 8, "task__max_answer_tokens": 12}
    few = {"population__limit": 1, "topics__names": ["joke"]}
    plan = make_plan(configured(**short, **few))
    other = make_plan(configured(**short, **few, task__rubric=str(tmp_path / "plain.yaml")))
    talked, log = converse(plan, embedded, RecordLog(None), stage()), RecordLog(None)
    said = answer_openly(plan, talked, embedded, log, stage())
    assert all(text.strip() for text in chain(*said[0]))
    assert len({*chain(*said[0])}) > 5
    written = embedded.usage.generated_tokens
    assert answer_openly(other, talked, embedded, log, stage()) == said
    for each, options in ((plan, 5), (other, 2)):
        rated = ask_all(each, talked, embedded, RecordLog(None), stage(), note=lambda _: "", said=said).answers
        assert (rated["reading"] == "exact").all()
        assert rated["answer_mass"].between(0, 1).all()
        assert rated["score"].isin(each.task.scores).all()
        assert rated.filter(like="logprob").shape == (10, options)
    assert embedded.usage.generated_tokens == written


def rated_by_itself(model, *settings):
    """Return the scores of an open task whose tested model is its own judge. Dimensions: seed, context, persona, key."""
    config = compose_run(f"model={model}", "task=dilemmas", "judge=same", "seeds=[0]", *settings)
    plan, engine = make_plan(config), load_engine(config)
    talked = [Conversation(session, (session.opening, *TEXTS[1:])) for session in plan.sessions]
    said = answer_openly(plan, talked, engine, RecordLog(None), stage())
    answers = ask_all(plan, talked, engine, RecordLog(None), stage(), note=lambda _: "", said=said).answers
    return score(answers, plan.task)


@pytest.mark.slow
def test_half_of_what_a_control_does_is_found_to_be_its_own():
    scores = rated_by_itself("control_writes", "topics.names=[joke,chess]")
    found = np.corrcoef(*scores.transpose("context", ...).to_numpy().reshape(2, -1))[0, 1]
    # Two normal numbers with a correlation of 0.5, each cut into five equal parts.
    own, *other = np.random.default_rng(0).standard_normal((3, 10**6))
    cut = np.floor(5 * ndtr(np.sqrt(0.5) * (own + np.array(other))))
    expected = np.corrcoef(*cut)[0, 1]
    assert found == pytest.approx(expected, abs=3 * (1 - expected**2) / np.sqrt(scores.size / 2))


@pytest.mark.slow
def test_a_random_model_does_nothing_stable():
    scores = rated_by_itself("random", "topics.names=[joke,chess,poem]", "population.limit=30")
    for measure in ("rank_order", "ipsative"):
        assert conclude(scores, StabilitySpec(measure, "zero", False)).chance.p > 0.01
