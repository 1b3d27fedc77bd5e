"""The settings: their types, their allowed values, and how Hydra composes them.

`schema` and `engines` define the dataclasses, `check` tests their values, `compose` composes a configuration from the
YAML files, `explain` describes a mistake in one line, and `secrets` finds and hides passwords and keys. May import
`errors` only.
"""
