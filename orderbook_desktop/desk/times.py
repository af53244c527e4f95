"""How long what is behind a window waits for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orderbook_desktop.desk.demo_exchange import DEMO_TIMES, DemoTimes
from orderbook_desktop.engine.engine import ENGINE_TIMES, EngineTimes


@dataclass(frozen=True, slots=True)
class DeskTimes:
    """How long a desk and its parts wait for what, in seconds.

    `engine` and `demo` are the times of these parts. A recording that another program makes is
    looked at every `look_again_s`: it is taken over when that program ends.
    """

    engine: EngineTimes = ENGINE_TIMES
    demo: DemoTimes = DEMO_TIMES
    look_again_s: float = 5.0


DESK_TIMES: Final = DeskTimes()
