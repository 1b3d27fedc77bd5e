"""What people bring: task items, personas, topics, and the data files that come with valstab.

`task`, `population` and `topics` load what a configuration names; `files` finds and reads any file. Imports `config`
and `errors`.
"""
