"""The old spelling of `python -m valstab compare`."""

from valstab.commands.compare import main

if __name__ == "__main__":
    main()
