"""Questions and talks for comparing engines, as the protocol makes them; also imported where there is no pytest."""

from valstab.ask import choices_after, option_orders
from valstab.cli import composed
from valstab.converse import Conversation, reply_request
from valstab.plan import make_plan

PLAN = make_plan(composed("population.limit=2", "topics.names=[joke,chess]", "seeds=[0]", "n_messages=1"))
MESSAGE = "I think that one should be true to oneself and help others whenever one can, even if it takes long."
CONVERSATIONS = [Conversation(encounter, (encounter.context.opening, MESSAGE)) for encounter in PLAN.encounters]
CHOICES = [choices_after(PLAN, each, option_orders(PLAN.task, each.encounter)) for each in CONVERSATIONS]
TALKS = [reply_request(PLAN, encounter, [encounter.context.opening]) for encounter in PLAN.encounters]
