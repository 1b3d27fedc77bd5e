"""What runs a language model.

`base` says what an engine does, `factory` makes the one that a configuration names. An engine knows nothing of
psychology: it generates text and scores options. Imports `config` and `errors`.
"""
