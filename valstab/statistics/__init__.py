"""Statistics as pure functions of labelled arrays and tables.

`scores` turns answers into scores, and `stability` computes stabilities from them. The other modules estimate
uncertainty, noise and data quality. Imports `inputs` and `errors`.
"""
