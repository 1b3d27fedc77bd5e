"""The old spelling of `python -m valstab compare`."""

from functools import partial

from valstab.commands.main import start_command

main = partial(start_command, "compare")

if __name__ == "__main__":
    main()
