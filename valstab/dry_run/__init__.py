"""What a run will take, estimated before it starts (`dry_run=true`).

`estimate` measures a few conversations and projects the rest with `cost_model`. Imports `protocol`, `engines` and
`config`.
"""
