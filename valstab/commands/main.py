"""Start the subcommand that the first argument names, such as `valstab compare`; without one, start a run."""

import gc
import importlib
import os
import re
import sys
from importlib.metadata import version

from valstab.commands.interruption import interruptible
from valstab.commands.process import guard_process
from valstab.errors import allowed, one_line

COMMANDS = ("bundle", "compare", "rerun", "rescore", "store", "sync", "ui", "validate")
"""The subcommands, each a module of this package with a function `main`."""

OBJECTS_BEFORE_COLLECTION = 50_000
"""New objects after which Python looks for garbage. After its own 700, that is a fifth of the time of all imports."""


HYDRA_COMMANDS = ("compare", "rescore", "validate")
"""The subcommands with Hydra settings, as a run has them."""


def main() -> None:
    """Start the subcommand that the first argument names, or else a run.

    Raises:
        SystemExit: if the first argument is a word, but no subcommand.
    """
    first, *others = [*sys.argv[1:], ""]
    name = "run"
    if first in COMMANDS:
        name = first
        del sys.argv[1]
    elif first == "-sc" and others[0].startswith("query="):
        name = _completed_command(os.environ.get("COMP_LINE", ""))
    elif first == "--version":
        sys.stdout.write(f"valstab {version('valstab')}\n")
        return
    elif re.fullmatch(r"\w+", first):
        from valstab.commands.arguments import missing_value

        if advice := missing_value(first):
            sys.exit(f"valstab: {advice}")
        sys.exit(f"valstab: {one_line(first)}: no such command; {allowed(first, COMMANDS)}; settings are KEY=VALUE")
    start_command(name)


def start_command(name: str) -> None:
    """Start the subcommand of this name, or `run`, without secrets in what it prints; signals end it."""
    guard_process()
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION)
    with interruptible():
        importlib.import_module(f"valstab.commands.{name}").main()


def _completed_command(line: str) -> str:
    """Return the command whose settings Hydra is to complete. Print the subcommands that complete a first word.

    The subcommand is removed from `COMP_LINE`, where Hydra reads the line.

    Args:
        line: the text typed so far.
    """
    program, *words = line.split(" ")
    if len(words) == 1 and words[0]:
        sys.stdout.writelines(f"{command}\n" for command in COMMANDS if command.startswith(words[0]))
    elif words and words[0] in HYDRA_COMMANDS:
        os.environ["COMP_LINE"] = " ".join([program, *words[1:]])
        return words[0]
    return "run"
