"""The program with an archiver in a hurry, for markets in which a minute takes a second.

`python -m tests.faults.hasty_program ARGUMENTS…` is `orderbook-desktop ARGUMENTS…`.
"""

from __future__ import annotations

from orderbook_desktop.app.cli import main
from orderbook_desktop.storage.archive import archiver

_HASTE = {"_FIRST_LOOK_S": 0.3, "_LOOK_EVERY_S": 0.2, "_RUNNING_EVERY_S": 0.4}

if __name__ == "__main__":
    assert _HASTE.keys() <= vars(archiver).keys()
    vars(archiver).update(_HASTE)
    main()
