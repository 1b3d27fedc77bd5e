"""Statistics as pure functions of labelled arrays and tables.

`scores` turns answers into scores, `stability` measures them; the rest says how sure that is. Imports `inputs` and
`errors`.
"""
