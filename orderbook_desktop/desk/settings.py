"""The settings behind a desk, which the program's settings fulfil, and how long a desk waits."""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol, Self

from msgspec import Struct

from orderbook_desktop.core.disk import Retention
from orderbook_desktop.engine.settings import ENGINE_TIMES, EngineSettings, EngineTimes


class DeskSettings(EngineSettings, Protocol):
    """The settings of the engine behind a desk, and copies of them for another engine."""

    @property
    def env(self) -> Enum:
        """How much is logged; the value is what the option `--env` takes."""
        ...

    @property
    def other_exchange(self) -> str:
        """The exchange's host, if it isn't the usual exchange; else empty."""
        ...

    @property
    def usual_symbol(self) -> str:
        """The symbol that is shown by default."""
        ...

    def with_retention(self, retention: Retention) -> Self:
        """Return these settings with `retention`."""
        ...

    def with_connections(self, connections: int) -> Self:
        """Return these settings with each event coming by so many `connections`."""
        ...

    def with_exchange(self, rest_url: str, ws_url: str, db_name: str) -> Self:
        """Return these settings with another exchange, recorded in a database of its own."""
        ...


class DemoTimes(Struct, frozen=True):
    """How long the demo's exchange may take to be ready and to end, in seconds.

    The desk looks every `poll_s` whether the exchange is ready.
    """

    ready_s: float = 15.0
    stop_s: float = 0.5
    poll_s: float = 0.02


DEMO_TIMES: Final = DemoTimes()


class FollowTimes(Struct, frozen=True):
    """How soon a program notices what other programs record, in seconds.

    It looks every `look_again_s`, and a look may take `look_within_s`. While a look takes longer,
    or the database is away, the program records what it does not know to be recorded. It gives way
    to a program that goes on recording beside it for `patience_s`. That is longer than such a
    program needs to give way itself.
    """

    look_again_s: float = 2.0
    look_within_s: float = 3.0
    patience_s: float = 12.0


FOLLOW_TIMES: Final = FollowTimes()


class DeskTimes(Struct, frozen=True):
    """How long a desk and its parts wait, in seconds.

    `engine` and `demo` are the times of these parts, `follow` those of following other programs. A
    recording that takes `opening_told_s` to open for its replay is told as being opened.
    """

    engine: EngineTimes = ENGINE_TIMES
    demo: DemoTimes = DEMO_TIMES
    follow: FollowTimes = FOLLOW_TIMES
    opening_told_s: float = 0.5


DESK_TIMES: Final = DeskTimes()
