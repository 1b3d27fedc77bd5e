"""Finished runs as tidy tables, for notebooks and comparisons.

`load.load_runs` finds and reads them, `runs.Runs` holds them. Imports `statistics`, `inputs`, `config` and `errors`.
"""
