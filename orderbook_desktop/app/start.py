"""The entry point of the console script, of `python -m orderbook_desktop` and of the bundle.

Loading the program takes a good part of a second. A request to end, such as Ctrl-C, also ends it
during that time, with the exit code that the command has when it is stopped later. Until this
module is loaded, a request ends in a traceback, so it imports as little as possible.
"""

from __future__ import annotations

import sys

from orderbook_desktop.app.early_end import EndAtOnce

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

# Commands whose work is undone when they are stopped. The other commands run until stopped.
_UNDONE: Final = {
    "import": "Stopped; nothing was imported.",
    "export": "Stopped; nothing was exported.",
    "verify": "Stopped; nothing was proven.",
    "pack": "Stopped; nothing was packed.",
    "unpack": "Stopped; nothing was unpacked.",
    "recordings": "Stopped; nothing was listed.",
    "remove": "Stopped; nothing was removed.",
    "doctor": "Stopped; not everything was examined.",
}
_UNBEGUN: Final = {"record": "Nothing was recorded: it was stopped before it could begin."}


def early_end() -> EndAtOnce:
    """Return how a request ends the command of `sys.argv` while that is being loaded."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    undone = _UNDONE.get(command)
    return EndAtOnce(0, _UNBEGUN.get(command, "")) if undone is None else EndAtOnce(1, undone)


def main(prepare: Callable[[], None] = lambda: None) -> None:
    """Call `prepare`, run the command line and end the process."""
    with early_end():
        prepare()
        from orderbook_desktop.app.cli import main as run  # noqa: PLC0415 (a slow import)

        run()
