"""The results of a run: numbers, summary, pictures, report, and the files that hold them.

`results.measure` computes the `Results` from the answers, `summary` words them, `plots` draws them, `write` writes them
to files, and `report` makes one page of them. Imports `statistics`, `protocol`, `inputs` and `config`.
"""
