"""A run in MLflow, and its record on disk for the time when MLflow can't be reached.

`run.tracked_run` opens a run, `publish` brings MLflow up to date with a record. Imports `results`, `protocol`,
`config`, `hashing` and `errors`.
"""
