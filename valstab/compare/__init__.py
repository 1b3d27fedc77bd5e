"""Comparisons of finished runs: the paper's figures, and diagnostics that the paper does not have.

`figure_kinds.compare` makes tables, pictures and sentences of runs. Imports `analysis`, `statistics`, `results`,
`inputs`, `config` and `errors`.
"""
