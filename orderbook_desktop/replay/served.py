"""A recording as what the local exchange serves: other programs run against a recorded day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from math import inf
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.archive.chunk import ChunkHeader
from orderbook_desktop.core.archive.decoded import DecodedChunk
from orderbook_desktop.core.archive.trades import TradeHeader
from orderbook_desktop.core.checkpoint import text_levels
from orderbook_desktop.core.errors import BugError, KnownError
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay_status import ReplayOrder
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trades import event_of_repaired
from orderbook_desktop.core.units import DEFAULT_EXPONENT, format_units
from orderbook_desktop.exchange.local.server import LocalExchange
from orderbook_desktop.exchange.local.source import (
    Listing,
    LocalBook,
    Outlet,
    Publish,
    StreamEvent,
)
from orderbook_desktop.formats.single_trades import AGGREGATED
from orderbook_desktop.replay.events import (
    UNKNOWN_BOOK,
    DepthPiece,
    ReplayPart,
    gap_before,
    replayed,
)
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.system.pace import Pace
from orderbook_desktop.system.tasks import one_ahead

# Binance Spot API answers so for a symbol that is listed, but isn't traded.
_NO_BOOK: Final = LocalBook(-1, [], [], None)
# RFC 6455, "Defined Status Codes", and their registry: the service restarts, connect again.
_RESTART: Final = 1012
_CLIENTS_BACK_WITHIN_S: Final = 10.0
# A client that reads slowly slows the replay down, and is not cut off.
_BACKLOG: Final = 2**18
_NAME: Final = "the replay"
_SOON_MS: Final = 60_000


class Play(Struct, frozen=True, kw_only=True):
    """What of a recording is played, and how.

    It is played from `from_ms` to before `to_ms` (None: all; the exchange's times), `speed` times
    as fast as it was (infinity: as fast as it goes). With `waits` it begins `delay_s` after the
    first subscription, so that clients have their books before the first event; else at once. So it
    does behind a gap of the book, and so it ends. Gaps take their time, unless the play
    `skips_gaps`.
    """

    from_ms: int | None = None
    to_ms: int | None = None
    speed: float = 1.0
    order: ReplayOrder = ReplayOrder.RECEIVED
    waits: bool = True
    delay_s: float = 1.0
    skips_gaps: bool = False


class Played(Struct):
    """What has been played: how many depth events and trades, and of how many gaps."""

    events: int = 0
    trades: int = 0
    gaps: int = 0


class NothingToPlay(KnownError):
    """Nothing of `market` is recorded from `from_ms` to before `to_ms`; None: at all.

    `gap` is the one in which all of that time lies; None: in no single one.
    """

    market: str
    from_ms: int | None
    to_ms: int | None
    gap: Gap | None = None

    def __str__(self) -> str:
        since = "" if self.from_ms is None else f" from {time_text(self.from_ms)}"
        until = "" if self.to_ms is None else f" to {time_text(self.to_ms)}"
        symbol, _ = split_symbol(self.market)
        if self.gap is not None:
            gap = f"{time_text(self.gap.from_ms)} to {time_text(self.gap.to_ms)}"
            account = self.gap.account
            return (
                f"Nothing is recorded of {symbol}{since}{until}: all of it lies in the gap from "
                f"{gap} ({account})."
            )
        return (
            f"Nothing is recorded of {symbol}{since}{until}; orderbook-desktop recordings lists "
            "what is."
        )


class RecordedSource:
    """Plays the recording of `market` in `store`; it is a `MarketSource`.

    Payloads are sent byte for byte as they were recorded. A repaired trade was never sent; it is
    sent as an event of the time at which it was traded. A depth request is answered with the book
    after the last event that was sent. At a gap of the book all clients are cut off, as by an
    exchange that starts anew; depth requests wait until the book is known again, and so clients
    take the book behind the gap. `on_gap` is called then.

    `serve_recording` gives it the clients. It plays to the end that the recording had when it was
    opened.
    """

    def __init__(
        self,
        store: RecordingStore,
        market: str,
        play: Play,
        on_gap: Callable[[Gap], None],
    ) -> None:
        self._store = store
        self._market = market
        self._play = play
        self._on_gap = on_gap
        self._pace = Pace(play.speed)
        self._outlet: Outlet | None = None
        self._parts: AsyncGenerator[_Prepared] | None = None
        self._first: _Prepared | None = None
        self._gaps: Sequence[Gap] = ()
        self._listings: dict[str, Listing] = {}
        self._subscribed = asyncio.Event()
        # The chunk and the index of the event after which the book stands.
        self._book: tuple[DecodedChunk, int] | None = None
        self._book_known = asyncio.Event()
        self._is_in_gap = False
        # As fast as it goes, a gap takes no time either.
        self._skips_gaps = play.skips_gaps or play.speed == inf
        self._reached_ns = 0
        self._span_ms = 0, 0
        self.counts = Played()

    @property
    def listings(self) -> Mapping[str, Listing]:
        """The market; its filters are those of the data."""
        return self._listings

    @property
    def played(self) -> int:
        """How many events were played."""
        return self.counts.events + self.counts.trades

    @property
    def _lead_s(self) -> float:
        """How long clients get for taking a book."""
        return self._play.delay_s if self._play.waits else 0.0

    @property
    def progress(self) -> float | None:
        """How much of the time was played (0 to 1); None where no book is recorded."""
        from_ms, to_ms = self._span_ms
        if to_ms <= from_ms:
            return None
        return min(1.0, max(0.0, (self.reached_ms - from_ms) / (to_ms - from_ms)))

    @property
    def reached_ms(self) -> int:
        """The due time (ms) of the last event that was played; 0 before the first one."""
        return self._reached_ns // NS_A_MS

    def attach(self, outlet: Outlet) -> None:
        """Play to the clients of `outlet`."""
        self._outlet = outlet

    async def open(self) -> None:
        """Read the first part. Raises `NothingToPlay`, and what reading a recording raises."""
        play = self._play
        timeline = await Recording(self._store, self._market).timeline()
        self._gaps = timeline.gaps
        begin = None if play.from_ms is None else timeline.at(play.from_ms)
        gap = begin if isinstance(begin, Gap) else None
        part_of_it = timeline.between(play.from_ms, play.to_ms)
        self._span_ms = part_of_it.from_ms, part_of_it.to_ms
        parts = replayed(self._store, self._market, play.from_ms, play.to_ms, play.order)
        self._parts = one_ahead(_prepared(parts, self._market))
        self._first = await anext(self._parts, None)
        if self._first is None:
            is_over = gap is not None and (play.to_ms is None or play.to_ms > gap.to_ms)
            raise NothingToPlay(self._market, play.from_ms, play.to_ms, None if is_over else gap)
        if gap is not None:
            self._on_gap(gap)
        part = self._first.part
        self._listings[self._market] = _listing_of(part, self._market)
        if part.depth is not None:
            self._is_in_gap = not _begins_soon(part.depth, part)
            if self._skips_gaps or not self._is_in_gap:
                self._stand_at(part.depth.slice.chunk, part.depth.slice.begin - 1)

    async def run(self, publish: Publish) -> None:
        """Play. Raises what reading a recording raises."""
        if self._parts is None or self._first is None:
            raise BugError("a source is played that is not open")
        if self._play.waits:
            await self._subscribed.wait()
            await asyncio.sleep(self._lead_s)
        await self._play_part(self._first, publish)
        async for prepared in self._parts:
            if prepared.part.opens:
                await self._begin_gap(prepared.part)
            await self._play_part(prepared, publish)
        await self._drained(0)
        # Clients may compare their books with the last one.
        await asyncio.sleep(self._lead_s)

    def want(self, streams: Collection[str]) -> None:
        """Begin to play once a stream of the market is among `streams`."""
        prefix = f"{self._market.lower()}@"
        if any(stream.startswith(prefix) for stream in streams):
            self._subscribed.set()

    async def book(self, market: str) -> LocalBook:
        """Return the book after the last event; in a gap, wait for its end."""
        del market
        if self._first is None or self._first.part.depth is None:
            return _NO_BOOK
        await self._book_known.wait()
        if self._book is None:
            raise BugError("the book is known, and there is none")
        return await asyncio.to_thread(_text_book, *self._book)

    def older_book(self, market: str) -> LocalBook | None:
        """Return the book that the play began with."""
        del market
        depth = None if self._first is None else self._first.part.depth
        return None if depth is None else _text_book(depth.slice.chunk, depth.slice.begin - 1)

    def update_id(self, market: str) -> int:
        """Return the update id of the last event."""
        del market
        if self._book is None:
            return 0
        chunk, index = self._book
        return (chunk.header.start_id or 0) if index < 0 else int(chunk.numbers.final_ids[index])

    async def close(self) -> None:
        """Stop reading."""
        if self._parts is not None:
            await self._parts.aclose()

    async def _play_part(self, prepared: _Prepared, publish: Publish) -> None:
        part = prepared.part
        columns = part.due_ns.tolist(), part.books.tolist(), prepared.events
        for due_ns, book, event in zip(*columns, strict=True):
            if book != UNKNOWN_BOOK and part.depth is not None:
                if self._is_in_gap:
                    await self._end_gap(part.depth, due_ns)
                await self._pace.wait_for(due_ns, self._give_way)
                self._stand_at(part.depth.slice.chunk, book)
            else:
                if self._is_in_gap and self._skips_gaps:
                    self._pace.skip_to(due_ns)
                await self._pace.wait_for(due_ns, self._give_way)
            if event.is_diff:
                self.counts.events += 1
            else:
                self.counts.trades += 1
            self._reached_ns = due_ns
            publish(event)

    def _stand_at(self, chunk: DecodedChunk, index: int) -> None:
        """Let the book be that after the event at `index` of `chunk`."""
        self._book = chunk, index
        self._book_known.set()

    async def _begin_gap(self, part: ReplayPart) -> None:
        """Cut off all clients; the book is not known until it is the one before `part`."""
        gap = gap_before(part, self.update_id(self._market), self._gaps)
        if gap is not None:
            self._on_gap(gap)
        self._book_known.clear()
        self._is_in_gap = True
        self.counts.gaps += 1
        if self._skips_gaps and part.depth is not None:
            self._stand_at(part.depth.slice.chunk, part.depth.slice.begin - 1)
        if self._outlet is not None:
            await self._outlet.cut_off(_RESTART, _CLIENTS_BACK_WITHIN_S)

    async def _end_gap(self, depth: DepthPiece, due_ns: int) -> None:
        """Let clients take the book behind the gap, before the event that is due at `due_ns`."""
        lead_s = self._lead_s
        if self._skips_gaps:
            self._pace.skip_to(due_ns, lead_s)
        else:
            await asyncio.sleep(max(0.0, self._pace.delay_s(due_ns) - lead_s))
            self._stand_at(depth.slice.chunk, depth.slice.begin - 1)
            if self._pace.delay_s(due_ns) < lead_s:
                # The time that the clients take is not made up for.
                self._pace.skip_to(due_ns, lead_s)
        self._is_in_gap = False

    async def _give_way(self) -> None:
        await self._drained(_BACKLOG)

    async def _drained(self, backlog: int) -> None:
        if self._outlet is not None:
            await self._outlet.drained(backlog)
        else:
            await asyncio.sleep(0)


def serve_recording(source: RecordedSource, host: str, port: int, *, stays: bool) -> LocalExchange:
    """Return an exchange that serves `source`.

    At the end of the recording it closes the websockets; if it `stays` they remain open, and REST
    goes on serving the last book.
    """
    exchange = LocalExchange(source, host=host, port=port, close_at_end=not stays, name=_NAME)
    source.attach(exchange)
    return exchange


class _Prepared(Struct, frozen=True):
    """A part, and what is sent for each of its events."""

    part: ReplayPart
    events: list[StreamEvent]


async def _prepared(parts: AsyncGenerator[ReplayPart], market: str) -> AsyncGenerator[_Prepared]:
    async with aclosing(parts):
        async for part in parts:
            yield _Prepared(part, await asyncio.to_thread(_events_of, part, market))


def _events_of(part: ReplayPart, market: str) -> list[StreamEvent]:
    """Return what is sent for each event of `part`."""
    name = market.lower()
    return [
        StreamEvent(f"{name}@{AGGREGATED}", market, text, final_id=number)
        if is_trade
        else StreamEvent(
            f"{name}@depth@100ms",
            market,
            text,
            also=(f"{name}@depth",),
            is_diff=True,
            final_id=number,
        )
        for is_trade, text, number in _texts_of(part, market)
    ]


def _texts_of(part: ReplayPart, market: str) -> Iterator[tuple[bool, bytes, int]]:
    """Iterate over the events: whether it is a trade, its text as it is sent, and its id."""
    depth, trades = part.depth, part.trades
    for is_trade, at in zip(part.is_trade.tolist(), part.at.tolist(), strict=True):
        if is_trade and trades is not None:
            arrays, text = trades.trades.arrays, trades.payloads[at]
            sent = event_of_repaired(text, market) if arrays.repaired[at] else text
            yield True, sent, int(arrays.ids[at])
        elif depth is not None:
            yield False, depth.payloads[at], int(depth.slice.chunk.numbers.final_ids[at])


def _text_book(chunk: DecodedChunk, index: int) -> LocalBook:
    image = chunk.book_after(index)
    return LocalBook(
        image.last_update_id,
        text_levels(image.bids, image.scale),
        text_levels(image.asks, image.scale),
        None if image.horizon is None else image.horizon.texts(DEFAULT_EXPONENT),
    )


def _begins_soon(depth: DepthPiece, part: ReplayPart) -> bool:
    """Whether the book of `depth` counts as known from the beginning of `part`, the first one.

    A recorder receives trades before its first book; a client may ask for the book before it
    subscribes.
    """
    first_ms = int(part.due_ns[0]) // NS_A_MS if len(part) else depth.begins_ms
    return depth.begins_ms - first_ms <= _SOON_MS


def _listing_of(part: ReplayPart, market: str) -> Listing:
    """Return the market as `exchangeInfo` lists it; its filters are those of `part`."""
    symbol, _ = split_symbol(market)
    base, _, quote = symbol.partition("/")
    if part.depth is not None:
        header: ChunkHeader | TradeHeader = part.depth.slice.chunk.header
    elif part.trades is not None:
        header = part.trades.trades.header
    else:
        raise BugError("a part of nothing")
    return Listing(
        market,
        base,
        quote,
        _step_text(header.price_step, header.price_exponent),
        _step_text(header.quantity_step, header.quantity_exponent),
    )


def _step_text(step: int, exponent: int) -> str:
    """Return the greatest power of ten of which `step` is a multiple."""
    digits = str(step)
    zeros = len(digits) - len(digits.rstrip("0"))
    return format_units(10 ** min(zeros, exponent), exponent, DEFAULT_EXPONENT)
