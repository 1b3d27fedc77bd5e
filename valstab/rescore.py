"""The old spelling of `python -m valstab rescore`."""

from functools import partial

from valstab.commands.main import start_command

main = partial(start_command, "rescore")

if __name__ == "__main__":
    main()
