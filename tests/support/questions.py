"""Questions and conversations of the protocol, to compare engines; also imported where pytest is missing."""

from tests.support.composed import compose_run
from valstab.protocol.ask import choice_requests, option_orders
from valstab.protocol.converse import Conversation, reply_request
from valstab.protocol.plan import make_plan

PLAN = make_plan(compose_run("population.limit=2", "topics.names=[joke,chess]", "seeds=[0]", "n_messages=1"))
MESSAGE = "I think that one should be true to oneself and help others whenever one can, even if it takes long."
CONVERSATIONS = [Conversation(session, (session.context.opening, MESSAGE)) for session in PLAN.sessions]
CHOICES = [choice_requests(PLAN, each, option_orders(PLAN, each.session)) for each in CONVERSATIONS]
TALKS = [reply_request(PLAN, session, [session.context.opening]) for session in PLAN.sessions]
