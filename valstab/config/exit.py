"""End a command at a user's mistake, with one line instead of a traceback."""

import sys
from typing import NoReturn

from valstab.config.explain import explain


def fail(error: Exception) -> NoReturn:
    """End the command with one line on standard error that describes the mistake.

    Raises:
        SystemExit: always.
    """
    sys.exit(f"valstab: {explain(error, sys.argv[1:])}")
