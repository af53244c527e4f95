"""How long the program waits for what."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from orderbook_desktop.desk.times import DESK_TIMES, DeskTimes


@dataclass(frozen=True, slots=True)
class ProgramTimes:
    """How long the program and its parts wait for what, in seconds.

    `desk` are the times of what is behind a window; `record` and `serve` have those of its
    engine. A window is gone within `close_s`; a process that has not ended `grace_s` later is
    ended. When `record` stops, what it has received may be written for `write_s`. `now` is the
    clock of all that.
    """

    desk: DeskTimes = DESK_TIMES
    close_s: float = 2.7
    grace_s: float = 2.0
    write_s: float = 5.0
    now: Callable[[], float] = time.monotonic


PROGRAM_TIMES: Final = ProgramTimes()
