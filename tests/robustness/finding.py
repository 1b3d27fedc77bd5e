"""What one kind of attack came to."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One row of the table."""

    what: str
    tried: int
    held: int
    """How often the outcome was what is promised."""
    lost: str
    """What was lost, or has to be done again, where it held."""
