"""`python -m valstab [COMMAND] [KEY=VALUE ...]`."""

from valstab.commands.main import main

if __name__ == "__main__":
    main()
