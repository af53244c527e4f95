"""Times for tests in which the program's parts end at leisure: the machine may be busy.

A window has to be gone soon, so a part that is slow to end is cut short, and that is logged. In a
test it would be a failure of the machine's. A test of such a limit sets it itself.
"""

from __future__ import annotations

from orderbook_desktop.desk.settings import DemoTimes, DeskTimes
from orderbook_desktop.engine.settings import EngineTimes
from orderbook_desktop.storage.server.times import ServerTimes

# The writing waits for a database that may never come, so it has no longer than it needs.
SERVER_TIMES = ServerTimes(stop_s=20.0)
ENGINE_TIMES = EngineTimes(
    write_s=4.0, part_s=30.0, jobs_s=30.0, server_s=30.0, server=SERVER_TIMES
)
DESK_TIMES = DeskTimes(engine=ENGINE_TIMES, demo=DemoTimes(ready_s=60.0, stop_s=30.0))
