"""The program with more time to close its window, since the machine may be busy.

`python -m tests.app.unhurried_program ARGUMENTS…` is `orderbook-desktop ARGUMENTS…`. With
PATIENT_PARTS in the environment, each part behind the window also has more time to end.
"""

from __future__ import annotations

import os

from orderbook_desktop.app.cli import main
from orderbook_desktop.app.process.stopping import ProgramTimes
from orderbook_desktop.desk.settings import DeskTimes
from orderbook_desktop.engine.settings import EngineTimes

_PARTS = EngineTimes(write_s=5.0, part_s=5.0, jobs_s=5.0, server_s=5.0)

if __name__ == "__main__":
    engine = _PARTS if "PATIENT_PARTS" in os.environ else EngineTimes()
    main(ProgramTimes(desk=DeskTimes(engine=engine), close_s=30.0))
