"""The engine that asks OpenAI-compatible servers.

`openai.OpenaiEngine` is the entry; `dialect` makes the body of a request, `openai_client` sends it, `repetition` says
when again, and `completions` reads the answer. May import `config`, `errors` and the modules that all engines share.
"""
