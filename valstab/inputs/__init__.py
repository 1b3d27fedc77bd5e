"""Inputs of a run: the task's items, the personas and the topics, and the data files that come with valstab.

`task.load_task`, `population.load_population` and `topics.load_contexts` load what a configuration names; `files`
finds and reads any file. Imports `config` and `errors`.
"""
