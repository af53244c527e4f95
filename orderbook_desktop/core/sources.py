"""The Protocols of the sources of a book, and of a stream's events.

A book is a snapshot plus diffs. The exchange, the database and a recording all serve these.
Drivers combine a `SnapshotSource` and an `EventStream` by `core.depth_sync`; views see only the
result, a `BookSource`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from msgspec import Struct

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.replay_status import ReplayStatus
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import FeedStatus
from orderbook_desktop.core.streams import MarketEvent, Stream
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.trades import Trade


class StreamConnected(Struct, frozen=True):
    """The stream is open (again); events follow."""


class StreamDeepened(Struct, frozen=True):
    """From here on the source serves a book that is known deeper; the stream goes on."""


class StreamBroken(Struct, frozen=True):
    """The stream lost its continuity for `cause`; it reconnects by itself.

    `problem` is the failure that keeps it from doing so, where there is one.
    """

    cause: GapCause
    detail: str
    problem: KnownError | None = None


StreamItem = MarketEvent | StreamConnected | StreamDeepened | StreamBroken


class SnapshotSource(Protocol):
    """Serves whole books."""

    async def snapshot(self, market: str) -> DepthSnapshot:
        """Return the book as it is now.

        Raises a `KnownError` where that fails; the caller tries again later.
        """
        ...


class EventStream(Protocol):
    """Serves the events of streams, reconnecting by itself for ever."""

    def items(self, stream: Stream) -> AsyncGenerator[StreamItem, None]:
        """Iterate over what happens on `stream`; its events are of the class that its kind names.

        The caller closes the iterator (`contextlib.aclosing`) to unsubscribe.
        """
        ...


class RecordingSink(Protocol):
    """Takes what a live feed receives, to record it. None of its methods blocks or raises."""

    def received(self, diff: DepthDiff) -> None:
        """Take an event, in the order of arrival, whether or not the book could use it."""
        ...

    def opened(self, base: DepthSnapshot | BookImage) -> None:
        """A new segment begins: its book is `base` and the `applied` events that follow."""
        ...

    def applied(self, diff: DepthDiff, book: Book) -> None:
        """The event, received before, extends the segment.

        `book` contains it, and also later events where several were applied at once.
        """
        ...

    def answered(
        self, answer: DepthSnapshot, joined_id: int | None, known: Horizon | None, book: Book
    ) -> None:
        """An answer of the exchange came while `book` ran, which was `known` so deep before.

        If `joined_id` is not None, the answer was joined to the book, which is known deeper from
        that update id on (`core.widening`); the segment goes on.
        """
        ...

    def broken(self, cause: GapCause, detail: str) -> None:
        """The segment, if one is open, ended with the last applied event."""
        ...


class TradeSink(Protocol):
    """Takes the trades that a live feed receives, to record them. No method blocks or raises."""

    def received(self, trade: Trade) -> None:
        """Take a trade; after `broken` it may be any later one, else it has the next id."""
        ...

    def broken(self, cause: GapCause, detail: str) -> None:
        """The unbroken stretch of ids, if there is one, ended with the last trade received."""
        ...


class BookLook(Struct, frozen=True):
    """What a source shows at one moment: a book, and how far this very book can be trusted.

    `book` is empty while it is not known; `book.revision` tells whether it changed, and
    `book.horizon` within which prices it is whole: a level beyond is known by itself only, and a
    sum that reaches beyond is a lower bound (`core.horizon`).

    `last` is the last book that was known, where `book` is empty because it was lost. A view may
    show it, but never as current: it says how old it is (`status`).

    `tape` has the market's newest trades; None: trades are not followed. `replay` is the replay
    whose moment this is; None: the book is live. `depth` has the newest minutes of the live book's
    events; None in a replay.
    """

    book: Book
    status: FeedStatus
    last: BookImage | None = None
    tape: Tape | None = None
    replay: ReplayStatus | None = None
    depth: DepthTail | None = None


class BookSource(Protocol):
    """What a view sees of a market.

    A source may change to another book (from the database's to the exchange's, for example) just
    because time passes. So a view looks once for all that one frame shows, looks again for the
    next frame, and compares the book's object as well as its revision.
    """

    @property
    def market(self) -> str:
        """The exchange's symbol, such as `BTCUSDT`."""
        ...

    def look(self) -> BookLook:
        """Return the book as it is now, with its status."""
        ...


class TradeHistory(Protocol):
    """The recorded trades of markets. Both methods raise a `KnownError` where reading fails."""

    async def before(self, market: str, trade_id: int, count: int) -> list[Trade]:
        """Return the last `count` recorded trades before an id, in the order of their ids."""
        ...

    async def after(self, market: str, trade_id: int, count: int) -> list[Trade]:
        """Return the first `count` recorded trades after an id, in the order of their ids."""
        ...
