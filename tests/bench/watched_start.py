"""Started by `startup`: the window's program, telling when it paints, and then ending."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from orderbook_desktop.app.cli import main


def _watch_paints() -> None:
    """Tell of the ladder's first paint event, and of the first that shows a book.

    The ladder's module is imported for that before the command runs; it would be anyway.
    """
    told: set[str] = set()

    def tell(name: str) -> None:
        if name not in told:
            told.add(name)
            print(f"{name} {time.time_ns()}", flush=True)
            if name == "live book":
                os.kill(os.getpid(), signal.SIGTERM)

    from orderbook_desktop.gui.panes.ladder.widget import DepthLadder  # noqa: PLC0415

    watched: Any = DepthLadder
    paint = watched.paintEvent

    def painted(ladder: Any, event: Any) -> None:
        paint(ladder, event)
        tell("first paint")
        if ladder.scene is not None:
            tell("live book")

    watched.paintEvent = painted


if __name__ == "__main__":
    _watch_paints()
    sys.argv = ["orderbook-desktop"]
    main()
