"""The keys of stored records and the random streams, against values of the first release: old stores stay readable."""

import pytest

from tests.support.composed import compose_run
from valstab.hashing import content_hash, derive_seed
from valstab.inputs.task import load_task
from valstab.protocol.ask import answers_key, option_orders
from valstab.protocol.converse import Conversation, message_key
from valstab.protocol.plan import make_plan

TEXTS = ("Tell me a joke.", "Naïve “one”.")
ONE_CONVERSATION = ("population.limit=2", "topics.names=[joke]", "seeds=[3]")


@pytest.fixture(scope="module")
def plan():
    return make_plan(compose_run("model=smollm2_135m", *ONE_CONVERSATION))


@pytest.fixture(scope="module")
def session(plan):
    return plan.sessions[0]


def test_seeds_of_the_streams(session):
    assert session.labels == (3, "joke", "Gandalf")
    assert derive_seed("message", *session.labels, 0) == 4774642502913359922
    assert derive_seed("options", "pvq", *session.labels, 1) == 3232414648818022386
    assert derive_seed("answer", "pvq", 3, *session.labels, 40, "retest 1") == 6103196045998010131


def test_key_of_a_message(plan, session):
    assert message_key(plan, session, TEXTS, 0) == "31777fd5bcf2fc3223cc9a1369ddbefb"
    assert message_key(plan, session, TEXTS, 2) == "4048f8ed48e62f249810e5233ccaecc2"
    base = make_plan(compose_run("model=phi_2", *ONE_CONVERSATION))
    assert message_key(base, base.sessions[0], TEXTS, 0) == "8e918b7ded780a49975ff15a0e7b3c50"


def test_key_of_answers(plan, session):
    whole, truncated = Conversation(session, TEXTS), Conversation(session, TEXTS, n_dropped=2)
    assert answers_key(plan, whole) == "0850dc64cc1803de584abf5e1c7a5c07"
    assert answers_key(plan, whole, 1) == "b739b48336a37846f884ab91bcfccac0"
    assert answers_key(plan, truncated) == "53ce918590733bcce41136fe546b86a6"


def test_orders_of_options(plan, session):
    orders = option_orders(plan, session)
    assert orders[[0, 39]].tolist() == [[2, 3, 5, 0, 4, 1], [3, 5, 1, 0, 4, 2]]
    assert option_orders(plan, session, retest=2)[0].tolist() == [3, 4, 5, 0, 1, 2]


def test_neutral_context_without_personas():
    neutral = make_plan(
        compose_run("model=smollm2_135m", "population=none", "topics=none", "conversation=none", "task=donation")
    )
    session = neutral.sessions[1]
    assert session.labels == (0, "neutral", "permutation_02")
    assert answers_key(neutral, Conversation(session, ())) == "debf485319d5072707903754a049450f"
    assert option_orders(neutral, session)[99].tolist() == [3, 2, 4, 5, 0, 1]


@pytest.mark.parametrize(
    ("task", "digest"),
    [
        ("pvq", "77a3159558caf125b68fb3eb49fe1f63a2007113533b396e5d1804a580fd1a90"),
        ("religion", "97ca441420ca424aa4d54e677d746ac34d078d9bc6c052ef550a390e94e74ba0"),
        ("stealing", "d1ef1b583a0d2d9fccdce7f4c1602de34e7de72df48c432038b18deecfa9b899"),
        ("donation", "4b5163d5ef49c81676f4e9bb36bd6bacbd86cdb4c93a0ae8d4f634ca82ab81cd"),
    ],
)
def test_digest_of_a_task(task, digest):
    assert load_task(compose_run(f"task={task}").task).digest == digest


def test_hash_of_content():
    assert content_hash({"b": [1, None, "é"], "a": "x"}) == "60f416ae161999db132f0050e4e797d6"


def test_orders_and_labels_have_keys_of_their_own(session):
    settings = (
        ("option_order=fixed",),
        ("option_order=reversed",),
        ("option_labels=numbers",),
        ("option_labels=words",),
    )
    plans = [make_plan(compose_run("model=smollm2_135m", *ONE_CONVERSATION, *each)) for each in ((), *settings)]
    keys = [answers_key(each, Conversation(session, TEXTS)) for each in plans]
    assert keys[0] == "0850dc64cc1803de584abf5e1c7a5c07"
    assert len(set(keys)) == len(keys)
    # Messages do not depend on how questions are asked.
    assert {message_key(each, session, TEXTS, 0) for each in plans} == {"31777fd5bcf2fc3223cc9a1369ddbefb"}
