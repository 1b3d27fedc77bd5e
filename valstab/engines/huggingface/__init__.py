"""The engine that runs a model with Hugging Face transformers, in batches.

`engine` is the entry; `generation` samples messages, `scoring` scores options after a shared prefix. Imports as
`valstab.engines`.
"""
