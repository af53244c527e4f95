"""SecantusDB of another version, for the files that only that version reads.

    other_secantus LIBRARY serve|make|reset ARGUMENTS…   (see `secantus_child`)

LIBRARY is the folder in which that version is installed. What it builds on is the program's own.
Like `secantus_child`, this module runs only in the child.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run the SecantusDB in the folder `arguments[0]`; return its exit code."""
    library, *rest = arguments
    sys.path.insert(0, library)
    from secantus.storage import Storage  # noqa: PLC0415 (only now it is the other one)

    from orderbook_desktop.storage.server import secantus_child  # noqa: PLC0415

    return secantus_child.main(rest, Storage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
