"""A run's results: numbers, summary, pictures, report, and the files they are written to.

`results.measure` computes everything from the answers, `write` writes it. Imports `statistics`, `protocol` and
`inputs`.
"""
