"""``python -m mheap``: the same as the command ``mheap``."""

from mheap.cli import main

if __name__ == "__main__":
    main()
