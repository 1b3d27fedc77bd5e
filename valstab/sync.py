"""The old spelling of `python -m valstab sync`."""

from functools import partial

from valstab.commands.main import start_command

main = partial(start_command, "sync")

if __name__ == "__main__":
    main()
