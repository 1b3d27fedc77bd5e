"""Estimates what a run will take, before it starts (`dry_run=true`).

`preview` prints the estimate. `estimate` projects it with `cost_model` and `disk` from the few conversations that
`sampling` times. Imports `protocol`, `engines`, `config` and `errors`.
"""
