"""The old spelling of `python -m valstab validate`."""

from functools import partial

from valstab.commands.main import start_command

main = partial(start_command, "validate")

if __name__ == "__main__":
    main()
