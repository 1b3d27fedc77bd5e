"""Records of answers: what the store gives is checked as what an engine gives, and how each was read stays with it."""

import math

import numpy as np
import pytest

from tests.support.composed import compose_run
from tests.support.scripted import PersonaEngine
from valstab.engines.received import Reads
from valstab.protocol.ask import ask
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.records import received_answers, record_reader, stored_answers
from valstab.protocol.store import RecordLog, Store

NAN, INF = math.nan, math.inf
ROWS = [[-0.1, -3.0], [-0.2, NAN], [INF, NAN], [NAN, NAN]]
MASS_233 = [[math.log(233), -1.0]]


def test_a_record_keeps_how_each_answer_was_read():
    record = received_answers(ROWS, Reads("listed", "structured"), ["a", "b", "c", "d"])
    assert record.readings == ["listed", "listed", "structured", "missing"]
    again = stored_answers(record.to_json())
    assert again.readings == record.readings
    assert again.thoughts == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(again.logprobs, ROWS)


def test_records_of_version_0_1_are_read():
    assert stored_answers(ROWS, Reads("listed")).readings == ["listed", "listed", "text", "missing"]
    with_thoughts = stored_answers([ROWS[:2], ["a", "b"]])
    assert (with_thoughts.readings, with_thoughts.thoughts) == (["exact", "exact"], ["a", "b"])


@pytest.mark.parametrize(
    "record",
    [
        MASS_233,
        [[-INF, -INF]],
        [[NAN, INF], [INF, -1.0]],
        [[-0.1], [-0.1, -3.0]],
        [["-0.1", "-3.0"]],
        [[True, False]],
        [[None, -0.1]],
        [[-(10**400), -0.1]],
        [],
        [[]],
        [1, 2],
        [-0.1, -3.0],
        [[[-0.1]]],
        5,
        None,
        {},
        {"logprobs": MASS_233, "read": ["exact"]},
        {"logprobs": [[-0.1, -3.0]], "read": ["guessed"]},
        {"logprobs": [[-0.1, -3.0]], "read": []},
        {"logprobs": [[-0.1, -3.0]], "read": "exact"},
        {"logprobs": [[-0.1, -3.0]], "read": ["exact"], "thoughts": [5]},
        {"logprobs": [[-0.1, -3.0]], "read": [["exact"]]},
    ],
)
def test_what_is_no_record_of_answers(record):
    assert stored_answers(record) is None
    assert record_reader("answers-pvq-n3")(record) is None


def test_answers_are_read_into_arrays_and_copied_as_they_stand(tmp_path):
    key, old = "a", "of version 0.1"
    log = Store(tmp_path / "one", {}).log("answers-pvq-n3")
    log.put({key: received_answers(ROWS, Reads("listed")), old: [[-0.1, -3.0]]})
    (file,) = tmp_path.glob("one/*/answers-pvq-n3/*")
    again = RecordLog(file.parent, record_reader("answers-pvq-n3"))
    assert again.get(key).logprobs.dtype == float
    assert again.get(key).readings[0] is again.get(key).readings[1]  # one text, however often
    assert again.get(old) == [[-0.1, -3.0]]
    again.copy_to(tmp_path / "two")
    (copied,) = tmp_path.glob("two/*")
    assert copied.read_bytes() == file.read_bytes()


class FaultyEngine(PersonaEngine):
    """Gives numbers for one question of a conversation that are no log-probabilities, as often as it is told."""

    faults = 0
    asked = 0

    def score_options(self, dialogues):
        for index, rows in super().score_options(dialogues):
            type(self).asked += len(rows)
            if self.faults:
                type(self).faults -= 1
                rows[5 if len(rows) > 5 else 0][0] = 5.0
            yield index, rows


@pytest.fixture
def asked():
    """Return a function that asks after two conversations, and returns the answers and the number of questions."""
    plan = make_plan(compose_run("model=random", "population.limit=2", "topics.names=[joke]", "seeds=[0]"))
    conversations = [Conversation(session, ("Tell me a joke.", "No.")) for session in plan.sessions]

    def answers(log, faults=0):
        FaultyEngine.faults, FaultyEngine.asked = faults, 0
        result = ask(plan, conversations, FaultyEngine(None, None), log, Stage("", "", 0))
        return result.answers, FaultyEngine.asked

    return answers


def test_a_failed_answer_is_a_missing_one_and_asked_again_at_the_next_start(asked, tmp_path):
    whole, _ = asked(RecordLog(None))
    log = Store(tmp_path, {}).log("answers-pvq-n3")
    first, _ = asked(log, faults=1)
    failed = first[first["reading"] == "failed"]
    assert [(row.persona, row.item) for row in failed.itertuples()] == [(whole["persona"].iloc[0], 6)]
    assert failed[["letter", "score", "answer_mass", "logprob_1"]].isna().all(axis=None)
    rest = first.index.difference(failed.index)
    assert first.loc[rest].equals(whole.loc[rest])
    # Only this one is asked again, and fails again; then it does not.
    again, n_asked = asked(Store(tmp_path, {}).log("answers-pvq-n3"), faults=1)
    assert (again.equals(first), n_asked) == (True, 1)
    for questions in (1, 0):
        again, n_asked = asked(Store(tmp_path, {}).log("answers-pvq-n3"))
        assert (again.equals(whole), n_asked) == (True, questions)


def test_a_failed_answer_after_a_thought_gets_another_thought():
    first = received_answers([[-0.1, -3.0], [5.0, -3.0]], Reads(), ["a", "b"])
    mended = first.mended(received_answers([[-0.2, -2.0]], Reads(), ["c"]))
    assert (mended.readings, mended.thoughts) == (["exact", "exact"], ["a", "c"])
    assert mended.logprobs.tolist() == [[-0.1, -3.0], [-0.2, -2.0]]


@pytest.mark.parametrize("damage", ["a mass of 233", "an item too few"])
def test_an_impossible_record_is_computed_again(asked, tmp_path, damage):
    whole, _ = asked(Store(tmp_path, {}).log("answers-pvq-n3"))
    (file,) = tmp_path.glob("*/answers-pvq-n3/*")
    log = RecordLog(file.parent)
    wrong = {key: dict(record) for key, record in log._records.items()}  # noqa: SLF001
    for record in wrong.values():
        if damage == "a mass of 233":
            record["logprobs"][3] = [math.log(233 / 6)] * 6
        else:
            record["logprobs"].pop()
            record["read"].pop()
    file.unlink()
    RecordLog(file.parent).put(wrong)
    again, n_asked = asked(Store(tmp_path, {}).log("answers-pvq-n3"))
    assert (again.equals(whole), n_asked) == (True, 2 * 40)
