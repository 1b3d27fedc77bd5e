"""Engines, which run language models.

`base` defines an engine's interface, `factory` creates the engine that a configuration names, and each other engine is
a module or a package: `huggingface`, `servers`, `vllm` and `random`. `prompts` is what a model reads, and `received`
checks what comes from outside. An engine generates text and scores options; it knows nothing of psychology. May import
`config` and `errors`.
"""
