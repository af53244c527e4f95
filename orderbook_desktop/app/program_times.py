"""How long the program waits for its parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from orderbook_desktop.desk.times import DESK_TIMES, DeskTimes


@dataclass(frozen=True, slots=True)
class ProgramTimes:
    """How long the program and its parts wait, in seconds.

    `desk` are the times of a window's desk; `record` and `serve` use the times of its engine. A
    window closes within `close_s`. If the process has not ended `grace_s` later, it ends at once.
    When `record` stops, received events may be written for `write_s`. `now` is the clock of the
    program.
    """

    desk: DeskTimes = DESK_TIMES
    close_s: float = 2.7
    grace_s: float = 2.0
    write_s: float = 5.0
    now: Callable[[], float] = time.monotonic


PROGRAM_TIMES: Final = ProgramTimes()
