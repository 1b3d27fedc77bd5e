"""The engine that runs a model with Hugging Face transformers, in batches.

`engine.TransformersEngine` is the entry; `generation` samples messages, `scoring` scores options after a shared prefix.
May import `config`, `errors` and the modules of `engines` that all engines share.
"""
