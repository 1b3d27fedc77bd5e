"""From finished runs to the paper's figures, and to what the paper does not ask: `python -m valstab.compare`.

`kinds` says what each comparison is made of: `tables` (tidy pandas tables of runs), `figures` (pictures of such
tables), `appraisal` (what the numbers can bear) and `findings` (all of it in words).
"""
