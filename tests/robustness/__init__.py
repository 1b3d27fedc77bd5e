"""Faults, kills and load."""
