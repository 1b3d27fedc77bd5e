"""Choose the command: `valstab` alone runs, `valstab compare` and the like do something else."""

import importlib
import sys

COMMANDS = ("compare", "rescore", "validate", "store", "sync")
"""The subcommands, each a module of this package with a function `main`."""


def main() -> None:
    """Start the subcommand that the first argument names, or else a run."""
    name = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] in COMMANDS else "run"
    if name != "run":
        del sys.argv[1]
    importlib.import_module(f"valstab.commands.{name}").main()
