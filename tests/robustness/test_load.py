"""Large runs, and many at once."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest

from tests.robustness import postgres
from tests.robustness.load import STUDY, large_study, lost_at_once, sqlite
from valstab.config.compose import compose_run
from valstab.protocol.ask import ask, option_orders
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import RecordLog


class FirstLetterEngine:
    """Takes the first letter with 90%, and gives the second nothing."""

    identity: Mapping[str, str] = MappingProxyType({})
    properties = identity

    def score_options(self, dialogues):
        for index, choices in enumerate(dialogues):
            yield (
                index,
                np.log([[0.9, 0.0, *[0.1 / (len(each.options) - 2)] * (len(each.options) - 2)] for each in choices]),
            )


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_thousands_of_answers_are_those_worked_out_by_hand():
    plan = make_plan(compose_run("task=donation", "population.limit=8", "topics.names=[joke,chess]", "seeds=[0,1]"))
    conversations = [Conversation(session, ("Hello.",)) for session in plan.sessions]
    answers = ask(plan, conversations, FirstLetterEngine(), RecordLog(None), Stage("asking", "questions", 3200)).answers
    assert len(answers) == 2 * 2 * 8 * 100
    rows = answers.to_dict("records")
    for conversation in conversations:
        seed, context, persona = conversation.session.labels
        for item, order in zip(plan.task.items, option_orders(plan, conversation.session), strict=True):
            row = rows.pop(0)
            assert (row["seed"], row["context"], row["persona"], row["item"]) == (seed, context, persona, item.number)
            assert (row["letter"], row["score"]) == ("A", plan.task.scores[order[0]])
            assert row["answer_mass"] == pytest.approx(1)
            for letter, option in zip("ABCDEF", order, strict=True):
                assert row["letters"][option] == letter
                expected = {"A": 0.9, "B": 0}.get(letter, 0.025)
                assert np.exp(row[f"logprob_{option + 1}"]) == pytest.approx(expected)


@pytest.mark.slow
def test_a_study_of_420_000_questions_stays_small(tmp_path):
    assert [finding.held for finding in large_study(tmp_path, STUDY)] == [1, 1]


@pytest.mark.slow
def test_many_runs_at_once_share_a_store_and_a_database(tmp_path):
    with sqlite(tmp_path) as uri:
        assert lost_at_once(tmp_path, uri, 8) == []


@pytest.mark.slow
def test_runs_at_once_survive_a_restart_of_mlflow_on_postgresql(tmp_path):
    if reason := postgres.why_not():
        pytest.skip(reason)
    assert postgres.lost_after_restart(tmp_path, 3, workers=1) == []
