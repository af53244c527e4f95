"""The intervals of the archiver. The command line reads them, and loads no archiver for that."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class ArchiveTimes(Struct, frozen=True):
    """The intervals of the archiver, in seconds.

    - `ready_after_s`: how long after the connection it prepares the database.
    - `first_look_s`: how long after that it begins to archive; the program's start is busy enough.
    - `look_every_s`: how often it looks for events to archive.
    - `behind_after_s`: if one round takes longer than this, the archiver is behind, and no longer
      pauses between its steps.
    - `soon_s`: how soon it looks again if it is behind.
    - `busy_pause_s`: how much longer it pauses while events wait to be written, which come first.
    - `running_every_s`: how often it looks at a running segment, which fills a chunk a minute.
    - `loose_after_s`: when it archives a run without a book.
    - `account_every_s`: how often it looks for events that are in no segment and no list.
    """

    ready_after_s: float = 1.0
    first_look_s: float = 10.0
    look_every_s: float = 10.0
    soon_s: float = 1.0
    running_every_s: float = 30.0
    account_every_s: float = 600.0
    loose_after_s: float = 180.0
    behind_after_s: float = 15.0
    busy_pause_s: float = 0.1


ARCHIVE_TIMES: Final = ArchiveTimes()
