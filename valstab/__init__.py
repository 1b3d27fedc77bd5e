"""Measure how stable the values that a language model expresses are when only the topic before changes."""

from importlib.metadata import version

__version__ = version("valstab")
