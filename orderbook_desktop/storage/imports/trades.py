"""The trades of an import: all of them are read and compared with the stored ones, then written.

A trade is what its id says, whichever file or recorder had it. So an import may come over a
recording that has a part of it, and may be repeated. What contradicts what is stored is refused
before anything is written.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import zstandard
from msgspec import Struct, field

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import Covered, TradeGap, TradeOrigin, covered
from orderbook_desktop.core.trades import Trade, fits_64_bits, is_same_trade
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.imports.spool import ByteRange, SpoolFile
from orderbook_desktop.storage.imports.trade_ids import Stretch, TradeIds
from orderbook_desktop.storage.reading.recorded_trades import RecordedTrades
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_writer import TradeConflict, TradeWriter
from orderbook_desktop.system.tasks import in_thread

# Of all markets together; sorted pieces of that many trades go to the spool's file.
_HELD_AT_MOST: Final = 50_000
_BATCH: Final = 10_000
# The exchange's clock may step back by less.
_STEPS_BACK_MS: Final = 1_000


class ConflictingTrades(KnownError):
    """Two trades of `market` in the files have the id `trade_id`, with different contents."""

    market: str
    trade_id: int

    def __str__(self) -> str:
        return (
            f"Nothing was imported: the files hold two different trades of {self.market} with the "
            f"id {self.trade_id}; import only files of one exchange together."
        )


class OtherTradeIds(KnownError):
    """The id and the time of `trade_id` contradict the stored trades `first_id` to `last_id`."""

    market: str
    trade_id: int
    first_id: int
    last_id: int

    def __str__(self) -> str:
        return (
            f"Nothing was imported: by its time the trade {self.trade_id} of {self.market} is not "
            f"where its id belongs beside the stored trades {self.first_id} to {self.last_id}, so "
            "the files number trades otherwise (as those that count each part of an order do); "
            "choose another DB_NAME for them."
        )


class TradesInterrupted(KnownError):
    """An import was stopped when `stored` of `total` trades had been looked at and stored.

    `has_book` is whether it imported events of a book, too.
    """

    stored: int
    total: int
    has_book: bool

    def __str__(self) -> str:
        book = "the events of the book and " if self.has_book else ""
        return (
            f"Stopped; {book}{self.stored:,} of {self.total:,} trades are imported. Import the "
            "same files again for the rest."
        )


class ImportedTrades(Struct, frozen=True):
    """The trades of one market in an import.

    `stored` are new, `known` were stored before, `repeated` came more than once, and `too_wide`
    ones are left out, since 64 bits can't hold their values. Times (ms) are the earliest and the
    latest of all of them. `gaps` are those that remain at these times.
    """

    stored: int
    known: int
    repeated: int
    too_wide: int
    from_ms: int
    to_ms: int
    gaps: tuple[TradeGap, ...] = ()


class _Piece(Struct, frozen=True, order=True):
    """Trades in the spool's file, in the order of ids: the first id, and where they lie."""

    first_id: int
    place: ByteRange


class _Found(Struct):
    """What was found of one market; `is_made` is whether its trades were made of single ones.

    Of these only those in `stretches` are new, unless it is None.
    """

    pieces: list[_Piece] = field(default_factory=list)
    is_made: bool = False
    stretches: list[Stretch] | None = None
    count: int = 0
    too_wide: int = 0
    from_ms: int = 0
    to_ms: int = 0


class TradeSpool(SpoolFile):
    """Keeps the trades of an import in an unnamed file. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._held: defaultdict[str, list[Trade]] = defaultdict(list)
        self._held_count = 0
        self._found: dict[str, _Found] = {}
        self._decoder = msgspec.msgpack.Decoder(list[Trade])

    @property
    def found(self) -> Mapping[str, _Found]:
        """What was found, by market."""
        return self._found

    def put(self, trade: Trade, *, is_made: bool = False) -> None:
        """Keep a trade; trades come in any order."""
        found = self._found.setdefault(trade.market, _Found())
        found.is_made |= is_made
        if not fits_64_bits(trade):
            found.too_wide += 1
            return
        found.from_ms = min(found.from_ms, trade.event_ms) if found.count else trade.event_ms
        found.to_ms = max(found.to_ms, trade.event_ms)
        found.count += 1
        self._held[trade.market].append(trade)
        self._held_count += 1
        if self._held_count >= _HELD_AT_MOST:
            self.finish()

    def finish(self) -> None:
        """Write the trades in memory to the file."""
        for market, trades in self._held.items():
            trades.sort(key=_id_of)
            for begin in range(0, len(trades), _BATCH):
                self._found[market].pieces.append(self._kept(trades[begin : begin + _BATCH]))
        self._held.clear()
        self._held_count = 0

    def batches(self, market: str) -> Iterator[list[Trade]]:
        """Iterate over the trades in the order of ids, each once. Raises `ConflictingTrades`."""
        batch: list[Trade] = []
        latest: Trade | None = None
        for trade in self._merged(market):
            if latest is not None and trade.trade_id == latest.trade_id:
                if not is_same_trade(latest, trade):
                    raise ConflictingTrades(market, trade.trade_id)
                continue
            batch.append(trade)
            latest = trade
            if len(batch) == _BATCH:
                yield self._numbered(batch)
                batch = []
        if batch:
            yield self._numbered(batch)

    def _numbered(self, batch: list[Trade]) -> list[Trade]:
        """Return the trades of `batch` that may be new, with the ids that they get."""
        stretches = self._found[batch[0].market].stretches
        if stretches is None:
            return batch
        at = 0
        numbered: list[Trade] = []
        for trade in batch:
            while at < len(stretches) and stretches[at].last.trade_id < trade.trade_id:
                at += 1
            if at < len(stretches) and stretches[at].first.trade_id <= trade.trade_id:
                numbered.append(stretches[at].renumbered(trade))
        return numbered

    def _merged(self, market: str) -> Iterator[Trade]:
        """Iterate over all trades in the order of ids; few pieces are in memory at a time."""
        waiting = sorted(self._found[market].pieces, reverse=True)
        # The next trade of each piece that is read, and the rest of that piece.
        heap: list[tuple[int, ByteRange, Trade, Iterator[Trade]]] = []
        while waiting or heap:
            while waiting and (not heap or waiting[-1].first_id <= heap[0][0]):
                piece = waiting.pop()
                trades = iter(self._read(piece))
                first = next(trades)
                heapq.heappush(heap, (first.trade_id, piece.place, first, trades))
            _, place, trade, rest = heapq.heappop(heap)
            yield trade
            following = next(rest, None)
            if following is not None:
                heapq.heappush(heap, (following.trade_id, place, following, rest))

    def _kept(self, trades: list[Trade]) -> _Piece:
        data = zstandard.compress(msgspec.msgpack.encode(trades), 1)
        return _Piece(trades[0].trade_id, self.append(data))

    def _read(self, piece: _Piece) -> list[Trade]:
        return self._decoder.decode(zstandard.decompress(self.data_at(piece.place)))


def _id_of(trade: Trade) -> int:
    return trade.trade_id


class TradeImport:
    """Compares the trades of a spool with the stored ones, and writes those that are new.

    A `progress` is called with how many trades are done, and how many there are.
    """

    def __init__(self, database: Database, spool: TradeSpool) -> None:
        self._database = database
        self._spool = spool
        self._reader = DatabaseTrades(database)
        self._writer = TradeWriter(database)
        self._total = sum(found.count for found in spool.found.values())
        self._done = 0
        self._new: dict[str, int] = {}
        self._distinct: dict[str, int] = {}

    async def compare(self, progress: Callable[[int, int], None]) -> None:
        """Compare all trades, of the files and the stored ones.

        Raises `ConflictingTrades`, `TradeConflict`, `OtherTradeIds` and `UnplacedTrades`.
        """
        self._done = 0
        for market, found in self._spool.found.items():
            stretches = covered(await self._reader.runs(market))
            found.stretches, before = None, 0
            if found.is_made and stretches:
                ids = TradeIds(self._reader, market, stretches)
                batches = self._spool.batches(market)
                found.stretches = await ids.find(batches, found.from_ms, found.to_ms)
                before = ids.count - sum(map(len, found.stretches))
            new, distinct = 0, before
            batches = self._spool.batches(market)
            while (batch := await in_thread(next, batches, None)) is not None:
                if batch:
                    new += await self._compare(batch, stretches)
                distinct += len(batch)
                self._report(batch, progress)
            # A repeated attempt finds what the first one stored.
            self._new.setdefault(market, new)
            self._distinct[market] = distinct

    async def write(
        self, progress: Callable[[int, int], None], *, has_book: bool
    ) -> dict[str, ImportedTrades]:
        """Write the trades that are not stored yet; return the result of each market.

        What is written stays if it is cancelled: then it raises `TradesInterrupted`.
        """
        self._done = 0
        try:
            for market in self._spool.found:
                batches = self._spool.batches(market)
                while (batch := await in_thread(next, batches, None)) is not None:
                    await self._store(batch)
                    self._report(batch, progress)
                await self._name_gaps(market)
            return {market: await self._result(market) for market in self._spool.found}
        except asyncio.CancelledError:
            raise TradesInterrupted(self._done, self._total, has_book) from None

    async def _store(self, batch: list[Trade]) -> None:
        """Write `batch`; if this is cancelled, it ends only after the writing."""
        storing = asyncio.ensure_future(self._writer.store(batch, TradeOrigin.IMPORT))
        try:
            await asyncio.shield(storing)
        except asyncio.CancelledError:
            await asyncio.wait({storing})
            raise

    async def _result(self, market: str) -> ImportedTrades:
        found, new, distinct = self._spool.found[market], self._new[market], self._distinct[market]
        trades = RecordedTrades(self._database, market)
        return ImportedTrades(
            *(new, distinct - new, found.count - distinct, found.too_wide),
            *(found.from_ms, found.to_ms),
            tuple(await trades.gaps(found.from_ms, found.to_ms)) if found.count else (),
        )

    async def _compare(self, batch: list[Trade], stretches: list[Covered]) -> int:
        """Return how many trades of `batch` are not stored."""
        market = batch[0].market
        _check_ids(batch, stretches)
        known: dict[int, Trade] = {}
        for first_id, last_id in _near_ids(batch):
            async with aclosing(self._reader.stored(market, first_id, last_id)) as pieces:
                async for piece in pieces:
                    known |= {trade.trade_id: trade for trade in await in_thread(piece.trades)}
        for trade in batch:
            if trade.trade_id in known and not is_same_trade(known[trade.trade_id], trade):
                raise TradeConflict(market, trade.trade_id)
        return sum(trade.trade_id not in known for trade in batch)

    async def _name_gaps(self, market: str) -> None:
        """Store that the files left out the trades of their gaps, unless a recorder says why."""
        runs = await self._reader.runs(market)
        found = self._spool.found[market]
        for gap in await RecordedTrades(self._database, market).gaps(found.from_ms, found.to_ms):
            ended = [run for run in runs if run.last_id == gap.after_id]
            if all(run.origin is TradeOrigin.IMPORT for run in ended):
                await self._writer.end(market, gap.after_id, GapCause.FEED_GAP)

    def _report(self, batch: list[Trade], progress: Callable[[int, int], None]) -> None:
        self._done += len(batch)
        progress(self._done, self._total)


def _near_ids(batch: list[Trade]) -> Iterator[tuple[int, int]]:
    """Iterate over ranges that have the ids of `batch`, and none that is far from all of them."""
    ids = sorted(trade.trade_id for trade in batch)
    begin = end = ids[0]
    for trade_id in ids:
        if trade_id > end + _BATCH:
            yield begin, end
            begin = trade_id
        end = trade_id
    yield begin, end


def _check_ids(batch: list[Trade], stretches: list[Covered]) -> None:
    """Raise `OtherTradeIds` if ids and times of trades and of what is stored contradict each other.

    A trade with a higher id is not earlier, but for a step back of the exchange's clock.
    """
    if not stretches:
        return
    ids = np.array([trade.trade_id for trade in batch], dtype=np.int64)
    times = np.array([trade.event_ms for trade in batch], dtype=np.int64)
    firsts, lasts, from_ms, to_ms = np.array(stretches, dtype=np.int64).T
    # How many stretches lie before each trade, and the latest time of these; and so behind it.
    before, behind = lasts.searchsorted(ids), firsts.searchsorted(ids, side="right")
    latest = np.concatenate(([0], np.maximum.accumulate(to_ms)))[before]
    soonest = np.concatenate((np.minimum.accumulate(from_ms[::-1])[::-1], [INT64_MAX]))[behind]
    is_early = times < latest - _STEPS_BACK_MS
    is_odd = is_early | (times - _STEPS_BACK_MS > soonest)
    if is_odd.any():
        at = int(is_odd.argmax())
        other = stretches[int(before[at]) - 1 if is_early[at] else int(behind[at])]
        trade = batch[at]
        raise OtherTradeIds(trade.market, trade.trade_id, other.first_id, other.last_id)
