"""The old spelling of `python -m valstab rescore`."""

from valstab.commands.rescore import main

if __name__ == "__main__":
    main()
