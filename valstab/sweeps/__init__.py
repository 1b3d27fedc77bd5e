"""A sweep as one MLflow run, the parent of its jobs' runs.

`callback` opens and closes the sweep's run, `job` runs one job, and `table` makes a table of all jobs. May import
`tracking`, `results`, `config` and `errors`.
"""
