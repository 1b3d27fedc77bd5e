"""A sweep as one MLflow run, the parent of its jobs' runs.

`callback` opens and closes it, `job` runs one job, `table` lays the jobs out. Imports `tracking`, `results`,
`config` and `errors`.
"""
