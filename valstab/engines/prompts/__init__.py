"""What a model reads: its chat template, the start of its turn, the markers of a thought, and the tokens of it all.

`tokenizer.PromptTokenizer` renders and encodes prompts, `chat_template.ChatTemplate` is its template, and
`prompt_check` checks both before a run. May import `config`, `errors` and the modules that all engines share.
"""
