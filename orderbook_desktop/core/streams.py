"""Streams of a market's events, and the kinds of them.

A stream is `(market, kind)`. A kind is one declaration, a `StreamKind`; what subscribes to a
stream, delivers its events and records them reads that, and is the same for all kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from orderbook_desktop.core.depth_sync import may_follow
from orderbook_desktop.core.events import DepthDiff, decode_diff, refuse_futures

_NS_A_MS: Final = 1_000_000


class MarketEvent(Protocol):
    """An event of a stream, of any kind. The ids of a stream go on without a hole."""

    @property
    def market(self) -> str:
        """The exchange's symbol, such as `BTCUSDT`."""
        ...

    @property
    def first_id(self) -> int:
        """The first id that the event covers."""
        ...

    @property
    def final_id(self) -> int:
        """The last id that the event covers."""
        ...

    @property
    def event_ms(self) -> int:
        """The exchange's time (ms since the epoch)."""
        ...

    @property
    def received_ns(self) -> int:
        """Our time of receipt (ns since the epoch; 0 if unknown)."""
        ...

    @property
    def payload(self) -> bytes:
        """The event's JSON object exactly as it was sent."""
        ...


class Continuity(Enum):
    """How an event continues the stream after an event that came before it."""

    NEXT = auto()
    """It brings new ids, and leaves none out."""
    OLD = auto()
    """It brings no new id."""
    HOLE = auto()
    """It leaves out ids."""
    IMPLAUSIBLE = auto()
    """Its ids can't be of the same stream."""


_Event = TypeVar("_Event", bound=MarketEvent)


def _accept(_event: object) -> None:
    pass


class StreamKind(Struct, Generic[_Event], frozen=True, eq=False, kw_only=True):
    """What is particular to a kind of streams.

    - `name` is its name in what is stored.
    - `channel` and `speed` are what the exchange's name of a stream has after the market.
    - `event_name` is the `e` of its events, `id_name` what messages call its ids.
    - `event` is the class of its events, and of no other kind's.
    - `decode` returns the event of a payload that was received at a time (ns). It raises
      `MalformedMessage`.
    - `check` raises `MalformedMessage` for an event that can't be of the exchange's own stream.
    - `continuity` says how an event continues the stream after an earlier event.
    - `may_be_quiet` is whether an active market may have no event for as long as it likes.
    """

    name: str
    channel: str
    speed: str = ""
    event_name: str
    id_name: str
    event: type[_Event]
    decode: Callable[[bytes, int], _Event]
    check: Callable[[_Event], None] = _accept
    continuity: Callable[[_Event, _Event], Continuity]
    may_be_quiet: bool = False

    def misfit_of(self, known: MarketEvent, event: MarketEvent) -> str:
        """Return a sentence that says why `event` can't be of one stream with an earlier event."""
        name = self.id_name.capitalize()
        if event.final_id == known.final_id:
            return f"{name} {event.final_id} came again with other contents."
        return f"{name} {event.final_id} can't follow {self.id_name} {known.final_id}."

    def decode_sent(self, payload: bytes, received_ns: int) -> _Event:
        """Return the event of a payload that came by a stream. Raises `MalformedMessage`."""
        event = self.decode(payload, received_ns)
        self.check(event)
        return event


class Stream(NamedTuple):
    """What the exchange sends of `market`, of one `kind`."""

    market: str
    kind: StreamKind[Any]

    @property
    def name(self) -> str:
        """The exchange's name of the stream, such as `btcusdt@depth@100ms`."""
        return f"{self.market.lower()}{self.kind.channel}{self.kind.speed}"


# Each event needs one, and to read a member of an enumeration takes longer than all else in the
# rule (Python 3.11).
_NEXT, _OLD, _HOLE, _IMPLAUSIBLE = Continuity


def _diff_continuity(known: DepthDiff, diff: DepthDiff) -> Continuity:
    known_id, final_id = known.final_id, diff.final_id
    # The receive times are of one clock, the times of the exchange may be odd.
    known_ms, now_ms = known.received_ns // _NS_A_MS, diff.received_ns // _NS_A_MS
    if not may_follow(final_id, now_ms, known_id, known_ms):
        return _IMPLAUSIBLE
    if final_id <= known_id:
        return _OLD
    return _NEXT if diff.first_id <= known_id + 1 else _HOLE


DEPTH: Final = StreamKind(
    name="depth",
    channel="@depth",
    speed="@100ms",
    event_name="depthUpdate",
    id_name="update id",
    event=DepthDiff,
    decode=decode_diff,
    check=refuse_futures,
    continuity=_diff_continuity,
)
