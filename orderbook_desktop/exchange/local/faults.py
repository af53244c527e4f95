"""Faults on command: what the exchange does wrong, how often, and how it changes a diff."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.exchange.local.source import StreamEvent
from orderbook_desktop.formats.single_trades import AGGREGATED

REST_PREFIX: Final = "/api/v3/"
REST_PATHS: Final = ("ping", "time", "exchangeInfo", "depth", "ticker/24hr", "aggTrades")
# The streams whose events may be faulty, as `Fault.stream` names them.
_DEPTH: Final = "depth"
_STREAMS: Final = (_DEPTH, AGGREGATED)

_LOG_LENGTH: Final = 1_000

Mangle = Callable[[bytes], bytes]


class FaultKind(Enum):
    """The kinds of faults. The values are those of `/control/fault?kind=…`."""

    DISCONNECT = "disconnect"
    CLOSE = "close"
    SHUTDOWN = "shutdown"
    SILENCE = "silence"
    DROP = "drop"
    DUPLICATE = "duplicate"
    SWAP = "swap"
    MALFORMED = "malformed"
    REPEAT = "repeat"
    FORGET = "forget"
    HTTP = "http"
    HANG = "hang"
    STALE = "stale"
    DELAY = "delay"
    REFUSE = "refuse"


class Shape(Enum):
    """What is wrong with a malformed frame."""

    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    TYPES = "types"


_OF_EVENTS: Final = (
    *(FaultKind.DROP, FaultKind.DUPLICATE, FaultKind.SWAP),
    *(FaultKind.MALFORMED, FaultKind.REPEAT),
)
# The REST paths that are of one market, and the faults of their answers beside `http`.
_MARKET_PATHS: Final = {
    "depth": (FaultKind.HANG, FaultKind.STALE, FaultKind.DELAY),
    "aggTrades": (FaultKind.HANG, FaultKind.DELAY),
}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One ordered fault; its `kind` decides which fields count.

    disconnect: every connection is cut off without a closing frame. close: with the close code
    `code`. shutdown: `serverShutdown` is announced, and after `seconds` the connections are
    closed. silence: open connections get no event for `seconds`; with `deliver` they get them
    afterwards, else never. refuse: new connections are reset for `seconds`.

    drop, duplicate: the next `count` events of `stream`, which is `depth` or `aggTrade`. swap: the
    next `count` pairs of them change places. malformed: before each of the next `count` of them, or
    `instead` of it, comes a frame of `shape`. repeat: after each of the next `count` aggregated
    trades comes one with the same id and other trades in it.

    http: the next `count` requests of `path`, one of `REST_PATHS` with or without its
    prefix (any, if it is empty), are answered with `status`, and Retry-After if `retry_after`
    is not negative. For requests of books (`depth`) and trades (`aggTrades`) only: hang: never
    answered; delay: answered after `seconds`. stale: a depth request is answered from an older
    book. forget: aggregated trades older than `seconds` are served no more; a request for an older
    id is refused.

    Faults of events and of requests of books and trades can be confined to one `symbol`, faults of
    connections and events to one `connection`: 0 is the one that has been open for longest, -1
    means all.
    """

    kind: FaultKind
    count: int = 1
    seconds: float = 0.0
    symbol: str = ""
    connection: int = -1
    code: int = 1001
    deliver: bool = False
    shape: Shape = Shape.GARBAGE
    instead: bool = False
    status: int = 503
    retry_after: int = -1
    path: str = _DEPTH
    stream: str = _DEPTH

    def __post_init__(self) -> None:
        """Remove the prefix of the path; raise `ValueError` for an unknown path or stream."""
        path = self.path.removeprefix(REST_PREFIX)
        if path not in ("", *REST_PATHS):
            raise ValueError(f"path is {path!r}, but must be one of {', '.join(REST_PATHS)}")
        if self.stream not in _STREAMS:
            raise ValueError(f"stream is {self.stream!r}, but must be {' or '.join(_STREAMS)}")
        msgspec.structs.force_setattr(self, "path", path)

    def concerns(self, market: str) -> bool:
        """Whether the fault is for `market`."""
        return not self.symbol or self.symbol.upper() == market


class Happened(msgspec.Struct, frozen=True):
    """A fault that happened: the time (ms since the epoch), its market, and detail."""

    kind: FaultKind
    at_ms: int
    market: str = ""
    detail: str = ""


class FaultBoard:
    """The pending faults, and a record of those that happened.

    `counts` has how often each kind happened, `log` the newest of them.
    """

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self.counts: Counter[FaultKind] = Counter()
        self.log: deque[Happened] = deque(maxlen=_LOG_LENGTH)
        self._pending: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Let `fault` happen at the next `fault.count` occasions."""
        self._pending.append((fault, fault.count))

    @property
    def pending(self) -> list[tuple[Fault, int]]:
        """The pending faults, and how often each will happen."""
        return list(self._pending)

    def note(self, fault: Fault, market: str = "", detail: str = "") -> None:
        """Record that `fault` has happened."""
        self.counts[fault.kind] += 1
        self.log.append(Happened(fault.kind, self._now_ns() // 1_000_000, market, detail))

    def take(self, market: str, stream: str) -> Fault | None:
        """Return the next fault of the events of a stream, and reduce its count by one."""
        for index, (fault, left) in enumerate(self._pending):
            is_meant = fault.kind in _OF_EVENTS and fault.stream == stream
            if is_meant and fault.concerns(market):
                return self._use(index, fault, left)
        return None

    def take_http(self, path: str, market: str) -> Fault | None:
        """Return the next fault for a request of `/api/v3/<path>`."""
        for index, (fault, left) in enumerate(self._pending):
            # Requests of other paths need not name a symbol.
            is_meant = path not in _MARKET_PATHS or fault.concerns(market)
            if fault.kind is FaultKind.HTTP and fault.path in ("", path) and is_meant:
                return self._use(index, fault, left)
        for index, (fault, left) in enumerate(self._pending):
            is_of_path = fault.kind in _MARKET_PATHS.get(path, ()) and fault.path == path
            if is_of_path and fault.concerns(market):
                return self._use(index, fault, left)
        return None

    def _use(self, index: int, fault: Fault, left: int) -> Fault:
        if left > 1:
            self._pending[index] = (fault, left - 1)
        else:
            del self._pending[index]
        return fault


class _Parcel(Struct, frozen=True):
    """An event to send, and the change to its frame right before, if any."""

    event: StreamEvent
    mangle: Mangle | None = None


class Delivery(Struct, frozen=True):
    """The parcels to send for an event, in order.

    If `connection` is not -1 they are for this one only, and the others get the event itself.
    """

    parcels: list[_Parcel]
    connection: int = -1


class EventFaults:
    """Applies the faults of a `FaultBoard` to the events that pass through."""

    def __init__(self, board: FaultBoard) -> None:
        self._board = board
        self._held: dict[str, tuple[StreamEvent, int]] = {}

    def through(self, event: StreamEvent) -> Delivery:
        """Return what to send for `event`."""
        stream = _DEPTH if event.is_diff else event.kind
        if stream not in _STREAMS:
            return Delivery([_Parcel(event)])
        if event.stream in self._held:
            earlier, connection = self._held.pop(event.stream)
            return Delivery([_Parcel(event), _Parcel(earlier)], connection)
        fault = self._board.take(event.market, stream)
        if fault is None:
            return Delivery([_Parcel(event)])
        name = "update" if event.is_diff else "trade"
        self._board.note(fault, event.market, f"{name} id {event.final_id}")
        return Delivery(self._faulty(event, fault), fault.connection)

    def _faulty(self, event: StreamEvent, fault: Fault) -> list[_Parcel]:
        match fault.kind:
            case FaultKind.DROP:
                return []
            case FaultKind.DUPLICATE:
                return [_Parcel(event), _Parcel(event)]
            case FaultKind.REPEAT:
                return [_Parcel(event), _Parcel(event, _with_other_trades)]
            case FaultKind.SWAP:
                self._held[event.stream] = event, fault.connection
                return []
            case _:
                if fault.shape is Shape.TYPES:
                    wrong = _WRONG_TYPES if event.is_diff else _WRONG_TRADE
                    bad = _Parcel(replace(event, payload=wrong, frame=b""))
                else:
                    bad = _Parcel(event, _MANGLERS[fault.shape])
                return [bad] if fault.instead else [bad, _Parcel(event)]


def _garbage(_frame: bytes) -> bytes:
    return b"\x07\x13]}this is not JSON\x1b{["


def _truncated(frame: bytes) -> bytes:
    # All frames of the exchange are ASCII, so that half of one is still valid UTF-8.
    return frame[: len(frame) // 2]


def _with_other_trades(frame: bytes) -> bytes:
    """Return a frame of an aggregated trade that has one more trade in it."""
    return _LAST_TRADE.sub(lambda match: b"%s%d" % (match[1], int(match[2]) + 1), frame)


_LAST_TRADE: Final = re.compile(rb'("l":\s?)(\d+)')
_MANGLERS: Final[dict[Shape, Mangle]] = {Shape.GARBAGE: _garbage, Shape.TRUNCATED: _truncated}
_WRONG_TYPES: Final = (
    b'{"e":"depthUpdate","E":"soon","s":12,"U":null,"u":[],"b":{"price":1},"a":"none"}'
)
_WRONG_TRADE: Final = b'{"e":"aggTrade","E":"soon","s":12,"a":null,"p":1,"q":[],"f":{},"m":"no"}'
