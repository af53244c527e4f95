"""How long a desk and its parts wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orderbook_desktop.desk.demo_exchange import DEMO_TIMES, DemoTimes
from orderbook_desktop.engine.engine import ENGINE_TIMES, EngineTimes


@dataclass(frozen=True, slots=True)
class DeskTimes:
    """How long a desk and its parts wait, in seconds.

    `engine` and `demo` are the times of these parts. While another program records the market of a
    kept recording, the desk looks every `look_again_s` whether that program has ended.
    """

    engine: EngineTimes = ENGINE_TIMES
    demo: DemoTimes = DEMO_TIMES
    look_again_s: float = 5.0


DESK_TIMES: Final = DeskTimes()
