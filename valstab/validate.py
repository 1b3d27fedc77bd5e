"""The old spelling of `python -m valstab validate`."""

from valstab.commands.validate import main

if __name__ == "__main__":
    main()
