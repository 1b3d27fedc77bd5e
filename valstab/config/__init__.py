"""The settings: what can be set, what is allowed, and how Hydra composes them.

`schema` and `engines` hold the dataclasses, `check` tests their values, `compose` makes a configuration from the
YAML files, `explain` words a mistake in one line, `secrets` finds and hides passwords and keys. Imports `errors` only.
"""
