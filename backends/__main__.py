"""`python -m backends` is `samestep backends`: a door into the house, which no room imports."""

import sys
from collections.abc import Sequence

from samestep.__main__ import list_backends


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints every adapter, or those named; with `--check` starts each usable one. Returns 1 where one is broken."""
    return list_backends(sys.argv[1:] if arguments is None else arguments, "python -m backends")


if __name__ == "__main__":
    sys.exit(main())
