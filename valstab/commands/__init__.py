"""The commands: `valstab` and its subcommands.

`main` chooses the subcommand, and `start` runs a Hydra app and reports a mistake in one line. May import every package.
"""
