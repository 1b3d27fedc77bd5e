"""The old spelling of `python -m valstab store`."""

from valstab.commands.store import main

if __name__ == "__main__":
    main()
