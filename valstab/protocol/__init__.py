"""The paper's protocol: sessions, prompts, conversations, questions, and the store of messages and answers.

`plan.make_plan` lists the sessions of a run, `converse.converse` generates their conversations and `ask.ask_all` asks
the questions. `store` keeps every message and answer on disk. `docs/protocol.md` describes the protocol. Imports
`inputs`, `engines.base`, `config`, `hashing` and `errors`.
"""
