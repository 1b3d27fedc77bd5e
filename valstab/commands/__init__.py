"""The commands: `valstab` and its subcommands.

`main` chooses one, `start` runs a Hydra app and answers a mistake with one line. Imports everything.
"""
