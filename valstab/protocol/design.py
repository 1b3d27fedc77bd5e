"""What a study of a given size can't show, known before it runs."""

from collections.abc import Iterator

from valstab.protocol.plan import Plan

TWO = 2
"""Two personas or keys have only two orders, so their correlation is 1, -1 or undefined."""


MIN_PEOPLE = 10
"""Number of people below which chance alone often gives a large stability."""


MIN_TOPICS = 3
"""Number of topics below which other topics can't be generalised to: two make a single pair."""


def shortcomings(plan: Plan) -> Iterator[str]:
    """Yield what limits the conclusions from a study of this size, one sentence each."""
    n_people, n_topics = len(plan.personas), len(plan.contexts)
    if n_topics == 1:
        yield "there is one context only, so there will be no stability between contexts"
    elif n_topics < MIN_TOPICS:
        yield f"{n_topics} topics make one pair: with fewer than {MIN_TOPICS}, nothing can be said of other topics"
    if len(plan.task.keys) == TWO:
        yield "with 2 keys, an ipsative correlation can only be 1, -1 or undefined"
    if n_people == 1 and not plan.without_personas:
        yield "there is one persona only, so there will be no order of people"
    elif n_people == TWO and not plan.without_personas:
        yield "with 2 personas, a rank-order correlation can only be 1, -1 or undefined"
    elif n_people < MIN_PEOPLE and not plan.without_personas:
        yield f"{n_people} people are few: with fewer than {MIN_PEOPLE}, chance alone often gives a large stability"
