"""Parse the arguments of subcommands without Hydra settings, and word what a parser of options refuses."""

import argparse
import re
import sys
from collections.abc import Mapping
from typing import NoReturn

from valstab.errors import one_line

PARSER_TEXTS: Mapping[str, str] = {
    r"argument (\S+?)(?:/\S+)?: ignored explicit argument '(.*)'": "{0} takes no value; leave out {1}",
    r"argument (\S+?)(?:/\S+)?: expected one argument": "{0} needs a value after it",
    r"argument (\S+?)(?:/\S+)?: invalid choice: '(.*)' \(choose from (.+)\)": "{0} {1}: allowed: {2}",
    r"argument (\S+): invalid (?:int|float) value: '(.*)'": "{0} {1}: must be a number",
    r"ambiguous option: (\S+) could match (.+)": "{0} may mean {1}",
    r"the following arguments are required: (.+)": "needs {0}",
    r"unrecognized arguments: (.+)": "{0}: no such option",
}
"""The texts of Python's parser of options, as patterns, and ours."""


class Parser(argparse.ArgumentParser):
    """A parser that answers a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """End the command with the mistake."""
        sys.exit(f"valstab: {self.prog.removeprefix('python -m valstab ')}: {in_own_words(message)}; see --help")


def in_own_words(message: str) -> str:
    """Return a message of Python's parser of options in our words.

    Example:
        >>> in_own_words("argument --port: invalid int value: 'x'")
        '--port x: must be a number'
    """
    for pattern, words in PARSER_TEXTS.items():
        if found := re.fullmatch(pattern, message):
            return one_line(words.format(*found.groups()).replace("'", ""))
    return one_line(message)
