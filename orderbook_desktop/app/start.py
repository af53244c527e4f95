"""Where the program begins: console script, `python -m orderbook_desktop` and bundle.

Loading the program takes a good part of a second. From here on a request to end, Ctrl-C for
one, ends it also meanwhile, with the exit code that the command has where it is stopped later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from orderbook_desktop.system.early_end import EndAtOnce

# What a command that is stopped has not done; the others go on until they are stopped.
_UNDONE: Final = {
    "import": "Stopped; nothing was imported.",
    "export": "Stopped; nothing was exported.",
    "verify": "Stopped; nothing was proven.",
    "recordings": "Stopped; nothing was listed.",
    "doctor": "Stopped; not everything was examined.",
}
_UNBEGUN: Final = {"record": "Nothing was recorded: it was stopped before it could begin."}


def main(prepare: Callable[[], None] = lambda: None) -> None:
    """Call `prepare`, run the command line and end the process."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    undone = _UNDONE.get(command)
    with EndAtOnce(0, _UNBEGUN.get(command, "")) if undone is None else EndAtOnce(1, undone):
        prepare()
        from orderbook_desktop.app.cli import main as run  # noqa: PLC0415 (only now: it is slow)

        run()
