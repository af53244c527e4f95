"""What goes wrong when, all from one seed; and the gaps that each fault can be the cause of."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from orderbook_desktop.core.segments import GapCause
from tests.faults.chaos.exchange import HostileAnswer, HostileFrame

# So far apart faults begin, on average, unless they are asked for more often.
EVERY_S = 7.0
# The first when everything has begun; the end belongs to recovery.
_FIRST_AT_S = 3.0
_NONE_BEFORE_END_S = 5.0


class Kind(Enum):
    """What can go wrong."""

    KILL_RECORDER = "kill the recorder"
    KILL_DATABASE = "kill the database"
    KILL_BOTH = "kill the recorder and the database"
    STOP_RECORDER = "stop the recorder"
    KILL_VIEWER = "kill the viewer"
    SUSPEND_RECORDER = "suspend the recorder"
    SUSPEND_DATABASE = "suspend the database"
    SUSPEND_EXCHANGE = "suspend the exchange"
    SUSPEND_VIEWER = "suspend the viewer"
    STEP_CLOCK = "step the clock"
    DISCONNECT = "disconnect"
    CLOSE = "close"
    SHUTDOWN = "shutdown"
    SILENCE = "silence"
    REFUSE = "refuse"
    DROP = "drop"
    DUPLICATE = "duplicate"
    SWAP = "swap"
    MALFORMED = "malformed"
    HTTP = "http"
    HANG = "hang"
    STALE = "stale"
    DELAY = "delay"
    HOSTILE_FRAME = "hostile frame"
    HOSTILE_ANSWER = "hostile answer"
    FULL_DISK = "full disk"
    SLOW_DISK = "slow disk"


OF_DISK = {Kind.FULL_DISK, Kind.SLOW_DISK}
OF_DATABASE = {Kind.KILL_DATABASE, Kind.KILL_BOTH, Kind.SUSPEND_DATABASE, *OF_DISK}
# The order of an exchange's own fault is its value.
OF_EXCHANGE = {
    *(Kind.DISCONNECT, Kind.CLOSE, Kind.SHUTDOWN, Kind.SILENCE, Kind.REFUSE, Kind.DROP),
    *(Kind.DUPLICATE, Kind.SWAP, Kind.MALFORMED, Kind.HTTP, Kind.HANG, Kind.STALE, Kind.DELAY),
}

# The causes that a gap may name where this was so at the time. All others cost nothing: the
# events wait, or are there twice, or a book is asked for again.
CAUSES: dict[Kind, set[GapCause]] = {
    Kind.KILL_RECORDER: {GapCause.CRASH},
    Kind.KILL_BOTH: {GapCause.CRASH},
    Kind.STOP_RECORDER: {GapCause.USER},
    Kind.SUSPEND_RECORDER: {GapCause.SUSPENDED},
    Kind.SUSPEND_EXCHANGE: {GapCause.SILENCE},
    Kind.DISCONNECT: {GapCause.DISCONNECT},
    # Code 1001 and its like may be announced as the end of the server.
    Kind.CLOSE: {GapCause.DISCONNECT, GapCause.SERVER_SHUTDOWN},
    Kind.SHUTDOWN: {GapCause.SERVER_SHUTDOWN},
    # A silence that is shorter than the patience shows by the ids that are missing after it.
    Kind.SILENCE: {GapCause.SILENCE, GapCause.FEED_GAP},
    Kind.REFUSE: {GapCause.DISCONNECT},
    Kind.DROP: {GapCause.FEED_GAP},
    Kind.SWAP: {GapCause.FEED_GAP},
    Kind.MALFORMED: {GapCause.MALFORMED, GapCause.FEED_GAP},
    Kind.HOSTILE_FRAME: {
        GapCause.MALFORMED,
        # As it is called once it is there.
        *(cause for cause in GapCause if "cross" in cause.value),
    },
}

_OF_ONE_MARKET = {
    *(Kind.DROP, Kind.DUPLICATE, Kind.SWAP, Kind.MALFORMED, Kind.HANG, Kind.STALE, Kind.DELAY),
    Kind.HOSTILE_FRAME,
}
# How long each lasts, or keeps its victim away: one of these ranges.
_AWAY = ((0.0, 3.0),)
_SUSPENDED = ((0.2, 3.0), (3.0, 14.0))
_SECONDS: dict[Kind, tuple[tuple[float, float], ...]] = {
    Kind.KILL_RECORDER: _AWAY,
    Kind.KILL_BOTH: _AWAY,
    Kind.STOP_RECORDER: _AWAY,
    Kind.KILL_VIEWER: _AWAY,
    Kind.SUSPEND_RECORDER: _SUSPENDED,
    Kind.SUSPEND_EXCHANGE: _SUSPENDED,
    Kind.SUSPEND_VIEWER: _SUSPENDED,
    Kind.SUSPEND_DATABASE: ((0.5, 10.0),),
    Kind.FULL_DISK: ((0.5, 10.0),),
    Kind.SLOW_DISK: ((0.5, 10.0),),
    Kind.SHUTDOWN: ((0.2, 5.0),),
    Kind.REFUSE: ((0.2, 5.0),),
    # The program's patience is ten seconds.
    Kind.SILENCE: ((0.5, 5.0), (11.0, 20.0)),
    Kind.DELAY: ((0.5, 3.0),),
}

# What besides there is to be chosen for each.
_COUNTS = ("1", "2", "3", "4")
_STREAMS = ("depth", "aggTrade")
_PATHS = ("depth", "aggTrades")
_ORDERS: dict[Kind, dict[str, tuple[str, ...]]] = {
    Kind.STEP_CLOCK: {"by": tuple(str(sign * by) for sign in (-1, 1) for by in (1, 20, 300, 3700))},
    Kind.CLOSE: {"code": ("1000", "1001", "1008", "1011")},
    Kind.SILENCE: {"deliver": ("true", "false")},
    Kind.DROP: {"count": _COUNTS, "stream": _STREAMS},
    Kind.DUPLICATE: {"count": _COUNTS, "stream": _STREAMS},
    Kind.SWAP: {"count": _COUNTS, "stream": _STREAMS},
    Kind.MALFORMED: {
        "count": _COUNTS,
        "shape": ("garbage", "truncated", "types"),
        "instead": ("true", "false"),
        "stream": _STREAMS,
    },
    Kind.HTTP: {
        "count": _COUNTS,
        "status": ("418", "429", "500", "502", "503"),
        "retry_after": ("1", "2", "3"),
        "path": _PATHS,
    },
    Kind.HANG: {"path": _PATHS},
    Kind.DELAY: {"path": _PATHS},
    Kind.HOSTILE_FRAME: {"frame": tuple(one.value for one in HostileFrame)},
    Kind.HOSTILE_ANSWER: {"answer": tuple(one.value for one in HostileAnswer)},
}


@dataclass(frozen=True)
class Fault:
    """One fault: when it begins, in seconds of the play, and how long it lasts.

    `market` is empty where it concerns all; `order` is what the exchange is told besides.
    """

    at_s: float
    kind: Kind
    seconds: float = 0.0
    market: str = ""
    order: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        more = [f"{name} {value}" for name, value in self.order.items()]
        if self.market:
            more.append(self.market)
        if self.seconds:
            more.append(f"{self.seconds:.1f} s")
        return ", ".join([self.kind.value, *more])


@dataclass(frozen=True)
class Happened:
    """A fault as it took place: from when until when, in ms since the epoch."""

    fault: Fault
    begin_ms: int
    end_ms: int


def planned(
    seed: int,
    duration_s: float,
    markets: Sequence[str],
    kinds: Iterable[Kind],
    every_s: float = EVERY_S,
) -> list[Fault]:
    """Return the faults of a play, in order: the same for the same arguments."""
    chance, choice = random.Random(seed), list(kinds)
    faults: list[Fault] = []
    deck: list[Kind] = []
    at_s = _FIRST_AT_S
    while at_s < duration_s - _NONE_BEFORE_END_S:
        if not deck:
            # Each kind before any comes again.
            deck = chance.sample(choice, len(choice))
        faults.append(_drawn(chance, at_s, deck.pop(), markets))
        at_s += chance.uniform(0.3, 2 * every_s)
    return faults


def _drawn(chance: random.Random, at_s: float, kind: Kind, markets: Sequence[str]) -> Fault:
    market = chance.choice(markets) if kind in _OF_ONE_MARKET else ""
    return Fault(at_s, kind, _seconds(chance, kind), market, _order(chance, kind))


def _seconds(chance: random.Random, kind: Kind) -> float:
    ranges = _SECONDS.get(kind)
    return chance.uniform(*chance.choice(ranges)) if ranges else 0.0


def _order(chance: random.Random, kind: Kind) -> dict[str, str]:
    return {name: chance.choice(values) for name, values in _ORDERS.get(kind, {}).items()}
