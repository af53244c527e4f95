"""The program with an archiver in a hurry, for markets in which a minute takes a second.

`python -m tests.faults.hasty_program ARGUMENTS…` is `orderbook-desktop ARGUMENTS…`.
"""

from __future__ import annotations

from orderbook_desktop.app.cli import main
from orderbook_desktop.app.process.stopping import ProgramTimes
from orderbook_desktop.desk.settings import DeskTimes
from orderbook_desktop.engine.settings import EngineTimes
from orderbook_desktop.storage.archive.times import ArchiveTimes

_HASTE = ArchiveTimes(first_look_s=0.3, look_every_s=0.2, running_every_s=0.4)

if __name__ == "__main__":
    main(ProgramTimes(desk=DeskTimes(engine=EngineTimes(archive=_HASTE))))
