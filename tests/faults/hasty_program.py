"""The program, its archiver and repair in a hurry, for markets in which a minute takes a second.

`python -m tests.faults.hasty_program ARGUMENTS…` is `orderbook-desktop ARGUMENTS…`.
"""

from __future__ import annotations

from orderbook_desktop.app.cli import main
from orderbook_desktop.app.process.stopping import ProgramTimes
from orderbook_desktop.desk.settings import DeskTimes
from orderbook_desktop.engine.settings import EngineTimes, RepairTimes
from orderbook_desktop.storage.archive.times import ArchiveTimes

_HASTE = ArchiveTimes(first_look_s=0.3, look_every_s=0.2, running_every_s=0.4)
# It keeps to what the exchange grants; but it looks soon whether anything is missing.
_SOON = RepairTimes(look_every_s=0.1, with_news_s=0.3)

if __name__ == "__main__":
    main(ProgramTimes(desk=DeskTimes(engine=EngineTimes(archive=_HASTE, repair=_SOON))))
