"""Whether a run's answers and messages are fit for a headline. A run that is not keeps its files, but fails."""

from collections.abc import Sequence

from valstab.config.schema import Config
from valstab.errors import UserError
from valstab.protocol.collected import CollectedData
from valstab.protocol.converse import Conversation
from valstab.results.results import Results


class UnfitRunError(UserError):
    """Too many answers can't be read, or too many messages are empty; the files of the run are all there."""


def why_withheld(data: CollectedData, config: Config) -> str:
    """Return why a run's data give no headline, as a clause; empty if they do.

    Args:
        data: what the run collected. The test's answers count, and all generated messages, of both speakers.
        config: its limits are `max_unread_answers` and `max_empty_messages`, shares between 0 and 1.
    """
    unread = float(data.answers["score"].isna().mean())
    n_empty, n_messages = count_empty(data.conversations)
    empty = n_empty / max(1, n_messages)
    reasons = []
    if unread > config.max_unread_answers:
        reasons.append(
            f"{unread:.1%} of the answers can't be read, more than max_unread_answers={config.max_unread_answers}"
        )
    if empty > config.max_empty_messages:
        reasons.append(
            f"{empty:.1%} of the messages are empty, more than max_empty_messages={config.max_empty_messages}"
        )
    return ", and ".join(reasons)


def count_empty(conversations: Sequence[Conversation]) -> tuple[int, int]:
    """Return how many of the generated messages have no text, and how many messages there are."""
    messages = [text for conversation in conversations for text in conversation.texts[1:]]
    return sum(not text.strip() for text in messages), len(messages)


def unfit_error(results: Results) -> UnfitRunError | None:
    """Return why the results have no headline, for lack of answers or messages; None if they have one."""
    if not results.withheld:
        return None
    return UnfitRunError(
        f"no headline, since {results.withheld}; report.html shows what the model said; with a higher limit the "
        "same command takes all from the store"
    )
