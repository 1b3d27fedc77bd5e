"""The paper's protocol: sessions, prompts, conversations, questions, and the store of what was said and answered.

`plan` lists what a run does, `converse` and `ask` do it, `store` keeps every message and answer. Imports `inputs`,
`engines.base`, `config`, `hashing` and `errors`.
"""
