"""Try everything that valstab is to survive, and print what was tried, what held, and what was lost.

uv run python -m tests.robustness
uv run python -m tests.robustness kills load
"""

import argparse
import importlib
import sys

PARTS = ("kills", "faults", "servers", "checkpoints", "inputs", "load", "postgres", "models")
"""Modules beside this one, each with `findings()`, which yields `tests.robustness.finding.Finding`."""


def main() -> None:
    """Print one table for all parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, choices=PARTS)
    print("| part | what | tried | held | lost |\n|---|---|---|---|---|")
    failed = False
    for part in parser.parse_args().parts:
        for finding in importlib.import_module(f"tests.robustness.{part}").findings():
            failed |= finding.held < finding.tried
            print(f"| {part} | {finding.what} | {finding.tried:,} | {finding.held:,} | {finding.lost} |", flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
