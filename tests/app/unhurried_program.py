"""The program whose window may take longer to close than it promises: the machine may be busy.

`python -m tests.app.unhurried_program ARGUMENTS…` is `orderbook-desktop ARGUMENTS…`. With
PATIENT_PARTS in the environment, each part behind the window has longer to end, too.
"""

from __future__ import annotations

import os

from orderbook_desktop.app import window
from orderbook_desktop.app.cli import main
from orderbook_desktop.engine.engine import Engine, EngineTimes

_WHOLE = {"_CLOSE_WITHIN_S": 30.0}
_PARTS = EngineTimes(write_s=5.0, part_s=5.0, jobs_s=5.0, server_s=5.0)

if __name__ == "__main__":
    assert _WHOLE.keys() <= vars(window).keys()
    vars(window).update(_WHOLE)
    if "PATIENT_PARTS" in os.environ:
        Engine.__init__.__defaults__ = (None, _PARTS)
    main()
