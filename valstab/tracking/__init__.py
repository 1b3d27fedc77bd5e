"""A run in MLflow, and its record on disk for the time when MLflow cannot be reached.

`run.tracked_run` opens a run, `publish.publish` brings MLflow up to date with a record, and
`comparison.tracked_comparison` logs a comparison. Every call to MLflow goes through `client.mlflow_errors`. Imports
`results`, `protocol`, `config`, `hashing` and `errors`.
"""
