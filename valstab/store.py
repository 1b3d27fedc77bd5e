"""The old spelling of `python -m valstab store`."""

from functools import partial

from valstab.commands.main import start_command

main = partial(start_command, "store")

if __name__ == "__main__":
    main()
