"""A recording for programs: events, books and trades as numpy arrays, without asyncio."""

from __future__ import annotations

import atexit
import logging
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing
from math import inf
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsIndex, TypeVar

from orderbook_desktop.app.commands.database_session import open_database
from orderbook_desktop.app.commands.packed import market_in
from orderbook_desktop.app.settings import load_settings, symbol_and_market
from orderbook_desktop.core.archive.rows import LevelRows, RowStream
from orderbook_desktop.core.archive.trade_rows import TradeRows
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, Price, PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.replay_status import ReplayOrder
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.replay.events import replayed
from orderbook_desktop.replay.playback import Playback
from orderbook_desktop.storage.exports.exporting import NothingRecorded
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.reading.heatmaps import read_bins
from orderbook_desktop.storage.reading.recorded_trades import RecordedTrades
from orderbook_desktop.storage.reading.recording import Recording, books_at
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packed_store import open_packed
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.system.background_loop import BackgroundLoop
from orderbook_desktop.system.pace import Pace

_T = TypeVar("_T")
# The program that imports this package decides about log output; by default there is none.
logging.getLogger("orderbook_desktop").addHandler(logging.NullHandler())


class RecordingReader:
    """The recording of one symbol, open for reading; `orderbook_desktop.open_recording` opens it.

    Another process may go on recording meanwhile: each call returns the state at that call.
    Close the reader, or use it as a context manager; a closed reader raises `ValueError`. If
    there is no such recording, the database fails or a chunk is damaged, a call raises
    `core.errors.KnownError`, whose `str()` is a sentence. Use it in one thread at a time.
    """

    def __init__(
        self,
        symbol: str | None,
        dsn: str | None,
        db_name: str | None,
        data_dir: Path | None,
        file: Path | None = None,
    ):
        names = None if symbol is None else symbol_and_market(symbol, "symbol")
        if names is None and file is None:
            raise TypeError("open_recording needs a symbol, or a file")
        self._loop = BackgroundLoop()
        self._stack = AsyncExitStack()
        # This runs before the loop's own handler, so the server ends in order in any case.
        atexit.register(self.close)
        try:
            if file is not None:
                store = self._loop.run(self._stack.enter_async_context(open_packed(file)))
                self.symbol, self.market = market_in(store, names)
                self._open(store)
            elif names is not None:
                self.symbol, self.market = names
                folder = None if data_dir is None else str(data_dir)
                settings = load_settings(mongo_dsn=dsn, db_name=db_name, data_dir=folder)
                opening = self._stack.enter_async_context(open_database(settings))
                self._open(self._loop.run(opening))
            self._check_recorded()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def segments(self) -> list[Segment]:
        """The segments with events, which are unbroken runs, by their first update id."""
        stored = self._run(self._recording.segments())
        return [entry.segment for entry in stored if entry.segment.event_count]

    @property
    def gaps(self) -> list[Gap]:
        """The gaps between the first event and the last: the book is unknown there."""
        return list(self._run(self._recording.timeline()).gaps)

    @property
    def trade_gaps(self) -> list[TradeGap]:
        """The gaps between the first trade and the last: trades are missing there."""
        return self._run(self._trades.gaps())

    def events(
        self, from_ms: SupportsIndex | None = None, to_ms: SupportsIndex | None = None
    ) -> Iterator[LevelRows]:
        """Iterate over the events from `from_ms` to before `to_ms` (None: all), in batches.

        A batch holds the levels of a few minutes in the order in which they have to be set.
        Each unbroken run, also the first, begins with a batch that has `is_snapshot`: the whole
        book, which replaces the book before it.
        """
        begin, end = (None if time is None else index(time) for time in (from_ms, to_ms))
        return self._loop.iterate(_with_known_errors(self._rows(begin, end)))

    def trades(
        self, from_ms: SupportsIndex | None = None, to_ms: SupportsIndex | None = None
    ) -> TradeRows:
        """Return the aggregated trades from `from_ms` to before `to_ms` (None: all), as columns.

        They are numpy arrays of one length, in the order of the trades' ids:

        - `ids`: int64, the ids of the aggregated trades.
        - `first_parts`, `last_parts`: int64, the ids of the exchange's own trades in each; -1 where
          they are not known.
        - `event_us`: int64, when it was traded, by the exchange's clock; microseconds since the
          epoch.
        - `received_ns`: int64, when it was received, by the recorder's clock; nanoseconds since the
          epoch, 0 if `repaired`.
        - `prices`: int64, in units of 10^-`scale.price` of the quote asset.
        - `quantities`: int64, in units of 10^-`scale.quantity` of the base asset.
        - `sold`: bool, whether the taker sold (else it bought).
        - `repaired`: bool, whether the trade was never received, but asked for afterwards, or
          imported without a time of receipt.

        `len()` is how many trades there are. A million of them takes 70 MB: ask for the trades of a
        long time part by part. What is missing between them is in `trade_gaps`. Raises
        `core.archive.trade_rows.WideTrades` if no 64-bit numbers hold all values of that time.
        """
        begin, end = (None if time is None else index(time) for time in (from_ms, to_ms))
        parts = self._loop.iterate(_with_known_errors(self._trades.rows(begin, end)))
        return TradeRows.joined(self.market, parts)

    def books(self, times_ms: Iterable[SupportsIndex]) -> Iterator[BookImage]:
        """Iterate over the books at `times_ms`, which have to ascend; each event is read once.

        Each book is what `book_at` returns. Raises `NotCovered` before the first book if one of
        the books is unknown.
        """
        times = [index(time) for time in times_ms]
        return self._loop.iterate(_with_known_errors(books_at(self._recording, times)))

    def book_at(self, event_ms: SupportsIndex) -> BookImage:
        """Return the book after the last event whose exchange time is `event_ms` or earlier.

        `bids` and `asks` have `prices` and `quantities` (int64 in units of `scale`, best price
        first), and `total(count)` and `notional(count)` (sums that can't wrap). `horizon` says
        within which prices the book is whole, in units of `scale`: bids from `known_from` up, asks
        up to `known_to`; None is no end there. It is None itself where that is not known, as after
        retention has removed the book that the segment began with. Raises
        `storage.reading.recording.NotCovered` if the book is unknown; its `gap` says why.
        """
        return self._run(self._recording.book_at(index(event_ms)))

    def heatmap(
        self,
        from_ms: SupportsIndex,
        to_ms: SupportsIndex,
        step: Price,
        bin: SupportsIndex,  # noqa: A002 (it is a bin, and the interface says so)
        statistic: str = "max",
        *,
        side: str = "both",
        price_from: Price | None = None,
        price_to: Price | None = None,
    ) -> Heatmap:
        """Return how much stood at which price and when, from `from_ms` to before `to_ms`.

        A column is `bin` milliseconds wide, from `from_ms` on; the last one may be narrower. A row
        is `step` high (`"0.5"` or a Decimal, in the quote asset), and begins at a multiple of it.
        There are as many rows as steps with a level at any time, or all from `price_from` to
        `price_to`, if these are given. A cell is the sum of its levels: of both sides, or of `side`
        `"bids"` or `"asks"`. `statistic` is

        - `"max"`: the largest quantity at any time of the bin, as it was after an event;
        - `"last"`: the quantity at the end of the bin: the book after the update id `last_ids`;
        - `"integral"`: the sum of quantity times milliseconds. Divided by `covered_ms` it is the
          mean.

        The heatmap has, as numpy arrays of `n` columns and `m` rows:

        - `values` (n, m): whole numbers in units of 10^-`scale.quantity`, `"integral"` times ms.
          int64, or Python's integers (dtype object) where int64 does not hold them. `total()` is
          the exact sum of all values; numpy's sum of int64 may wrap. `high` and `low` (n, m):
          int64, the value is `high * 2**32 + low`; of values in int64, sums of these do not wrap.
        - `prices` (m): int64, the lowest price of each row, in units of 10^-`scale.price`; `step`
          has the same unit.
        - `times_ms` (n): when each column begins. `covered_ms` (n): for how many ms of it the book
          is known. `gap` (n): whether it is for none.
        - `unknown` (n, m): whether the cell lies beyond what is known of the book, and nothing in
          it was named. `lower_bound` (n, m): whether only single prices in it are known, so that
          the value is a lower bound; with a step of one tick it is the true quantity. Everywhere
          else in covered columns the value is exact, and 0 is an empty price.
        - `columns`: `first_ids`, `last_ids`, `best_bids`, `best_asks`, `known_from` and `known_to`
          of each column (see `core.heatmap.cells.Columns`).

        `in_time(k)` and `in_price(k)` return the heatmap of wider columns or rows, bit for bit as
        if it was read so. The maximum of a wide row is not made of those of narrow ones.

        A price that was named and has no level any more counts as known from its naming on, within
        an unbroken run; namings before `from_ms` do not count. Raises `TypeError` for a price in
        doubles, `ValueError` for times, steps and names that make no sense, and
        `core.heatmap.builder.TooManyCells` for more cells than the memory is to hold.
        """
        bins = TimeBins.between(index(from_ms), index(to_ms), index(bin))
        wanted = Statistic(statistic)
        steps = PriceSteps.of(step, price_from, price_to)
        builder = HeatmapBuilder(bins, steps, [wanted], Side(side))
        self._run(read_bins(self._recording, bins, builder))
        return builder.heatmap(self.market, wanted)

    def play(
        self,
        from_ms: SupportsIndex | None = None,
        to_ms: SupportsIndex | None = None,
        *,
        speed: float | None = None,
        order: str = "received",
    ) -> Playback:
        """Play the recording from `from_ms` to before `to_ms` (None: all; the exchange's times).

        The playback is an iterator of depth events and trades, in the order of their receipt, or
        with the order "exchange" in that of the exchange's times. Each is a `PlayedEvent`
        (`help(orderbook_desktop.replay.playback.PlayedEvent)`), and gives its whole book when it is
        asked for it. With a `speed` each event comes when it is due, so many times as fast as it
        was; else as fast as it is asked for. Close the playback to end it early.
        """
        begin, end = (None if time is None else index(time) for time in (from_ms, to_ms))
        if speed is not None and not 0 < speed < inf:
            raise ValueError(f"speed {speed} is not a positive number")
        found = replayed(self._place, self.market, begin, end, ReplayOrder(order))
        parts = self._loop.iterate(_with_known_errors(found))
        return Playback(parts, self.gaps, None if speed is None else Pace(speed))

    def close(self) -> None:
        """Close the connection, and end the database server if this reader started it."""
        atexit.unregister(self.close)
        if self._loop.is_open:
            try:
                # Iterators read from the database, so they end before it does.
                self._loop.close_iterators()
                self._loop.run(self._stack.aclose())
            finally:
                self._loop.close()

    def _open(self, place: Database | RecordingStore) -> None:
        self._place = place
        self._recording = Recording(place, self.market)
        self._trades = RecordedTrades(place, self.market)

    def _check_recorded(self) -> None:
        if not self.segments and self._run(self._trades.span()) is None:
            raise NothingRecorded(self.symbol)

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        with driver_failures_raised():
            return self._loop.run(work)

    async def _rows(self, from_ms: int | None, to_ms: int | None) -> AsyncGenerator[LevelRows]:
        stream = RowStream()
        async with aclosing(self._recording.slices(from_ms, to_ms)) as slices:
            async for recorded_slice in slices:
                for rows in stream.take(recorded_slice):
                    yield rows
        for rows in stream.finish():
            yield rows


async def _with_known_errors(items: AsyncGenerator[_T]) -> AsyncGenerator[_T]:
    """Iterate over `items`; the driver's errors become `KnownError`s."""
    with driver_failures_raised():
        async with aclosing(items):
            async for item in items:
                yield item
