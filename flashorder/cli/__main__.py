"""``python -m flashorder.cli``."""

from flashorder.cli import main

if __name__ == "__main__":
    main()
