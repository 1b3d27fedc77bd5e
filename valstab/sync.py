"""The old spelling of `python -m valstab sync`."""

from valstab.commands.sync import main

if __name__ == "__main__":
    main()
