"""Reads trades in order of their ids, each once, from parts that may overlap.

`TradeReader` needs of a place only its runs and parts; `DatabaseTrades` reads those of a database.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.trade_coverage import Covered, TradeRun, covered
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import TRADE_CHUNKS, TRADE_EVENTS, Document
from orderbook_desktop.storage.store.segment_documents import is_whole
from orderbook_desktop.storage.store.trade_chunks import TRADES_A_CHUNK, chunk_of
from orderbook_desktop.storage.store.trade_documents import TRADES_A_BATCH, decoded_batch
from orderbook_desktop.storage.store.trade_runs import TradeRuns
from orderbook_desktop.storage.store.trade_store import TradePart, TradeStore

_IDS_AT_ONCE: Final = 10_000
# How far the trades of a run may be ahead of its stored end; that is stored within ten seconds.
_IDS_AHEAD: Final = 100_000
# So many times the time of a trade is estimated before the range of ids is halved.
_ESTIMATES: Final = 8
_NUMBERS: Final = ("first_id", "last_id", "from_time", "to_time")


class TradeReader(TradeStore):
    """Reads trades from a place of which a subclass gives `markets`, `runs` and `parts`."""

    @abstractmethod
    async def markets(self) -> list[str]:
        """See `TradeStore`."""

    @abstractmethod
    async def runs(self, market: str) -> list[TradeRun]:
        """See `TradeStore`."""

    @abstractmethod
    async def parts(self, market: str, first_id: int, last_id: int) -> list[TradePart]:
        """See `TradeStore`."""

    async def trades(
        self, market: str, first_id: int, last_id: int, *, backwards: bool = False
    ) -> AsyncGenerator[DecodedTrades, None]:
        """See `TradeStore`."""
        stretches = await self._stretches(market)
        read = self._down if backwards else self._up
        for stretch in reversed(stretches) if backwards else stretches:
            begin, end = max(first_id, stretch.first_id), min(last_id, stretch.last_id)
            async with aclosing(read(market, begin, end, _IDS_AT_ONCE)) as found:
                async for trades in found:
                    yield trades

    async def stored(
        self, market: str, first_id: int, last_id: int
    ) -> AsyncGenerator[DecodedTrades, None]:
        """Iterate over the stored trades in a range of ids, whether or not a run claims them."""
        async with aclosing(self._up(market, first_id, last_id, _IDS_AT_ONCE)) as found:
            async for trades in found:
                yield trades

    async def newest(self, market: str, count: int) -> list[Trade]:
        """See `TradeStore`."""
        return await self.before(market, INT64_MAX, count)

    async def before(self, market: str, trade_id: int, count: int) -> list[Trade]:
        """See `TradeStore`."""
        pieces: list[DecodedTrades] = []
        for stretch in reversed(await self._stretches(market)):
            if count <= 0:
                break
            end = min(trade_id - 1, stretch.last_id)
            found = self._down(market, stretch.first_id, end, min(count, _IDS_AT_ONCE))
            async with aclosing(found):
                async for trades in found:
                    last_id = trades.header.first_id + len(trades) - 1
                    piece = trades.between(last_id - count + 1, last_id) or trades
                    pieces.append(piece)
                    count -= len(piece)
                    if count <= 0:
                        break
        return await asyncio.to_thread(_joined, pieces)

    async def first_id_at(self, market: str, event_ms: int) -> int | None:
        """See `TradeStore`."""
        for stretch in await self._stretches(market):
            if stretch.to_ms < event_ms:
                continue
            found = await self._first_at(market, stretch, event_ms)
            if found is not None:
                return found
        return None

    async def _first_at(self, market: str, stretch: Covered, event_ms: int) -> int | None:
        """Return the id of the stretch's first trade at or after a time, by halving it."""
        low, high = stretch.first_id, stretch.last_id
        low_ms, high_ms = stretch.from_ms, max(stretch.to_ms, stretch.from_ms + 1)
        found: int | None = None
        for attempt in range(2 * INT64_MAX.bit_length()):
            if low > high:
                break
            share = min(max((event_ms - low_ms) / max(high_ms - low_ms, 1), 0.0), 1.0)
            guess = low + int((high - low) * (share if attempt < _ESTIMATES else 0.5))
            part = await self._next_part(market, guess, high)
            if part is None:
                high = guess - 1
            elif part.to_ms < event_ms:
                low, low_ms = part.last_id + 1, part.to_ms
            elif part.from_ms >= event_ms:
                found = max(part.first_id, stretch.first_id)
                high, high_ms = min(part.first_id, guess) - 1, part.from_ms
            else:
                return await asyncio.to_thread(_first_in, part, event_ms)
        return found

    async def _next_part(self, market: str, first_id: int, last_id: int) -> TradePart | None:
        """Return the first part that has a trade from `first_id` to `last_id`."""
        width = 1
        while first_id <= last_id:
            end = min(first_id + width - 1, last_id)
            parts = await self.parts(market, first_id, end)
            if parts:
                return parts[0]
            first_id, width = end + 1, _IDS_AT_ONCE
        return None

    async def _stretches(self, market: str) -> list[Covered]:
        """Return what the runs cover, those that go on with what is stored beyond their ends."""
        runs = [await grown(self, run) for run in await self.runs(market)]
        return covered(runs)

    async def _up(
        self, market: str, first_id: int, last_id: int, at_once: int
    ) -> AsyncGenerator[DecodedTrades, None]:
        next_id = first_id
        while next_id <= last_id:
            end = min(next_id + at_once - 1, last_id)
            for part in await self.parts(market, next_id, end):
                if part.last_id < next_id:
                    continue
                for piece in await asyncio.to_thread(part.unpack):
                    wanted = piece.between(next_id, last_id)
                    if wanted is not None:
                        yield wanted
                        next_id = wanted.header.first_id + len(wanted)
            next_id = max(next_id, end + 1)

    async def _down(
        self, market: str, first_id: int, last_id: int, at_once: int
    ) -> AsyncGenerator[DecodedTrades, None]:
        end = last_id
        while end >= first_id:
            begin = max(end - at_once + 1, first_id)
            found = await self.parts(market, begin, end)
            for part in sorted(found, key=lambda part: (-part.last_id, not part.is_archived)):
                if part.first_id > end:
                    continue
                for piece in reversed(await asyncio.to_thread(part.unpack)):
                    wanted = piece.between(first_id, end)
                    if wanted is not None:
                        yield wanted
                        end = wanted.header.first_id - 1
            end = min(end, begin - 1)


class DatabaseTrades(TradeReader):
    """Reads the trades of a database. It is a `TradeStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._runs = TradeRuns(database)

    async def markets(self) -> list[str]:
        """See `TradeStore`."""
        return await self._runs.markets()

    async def runs(self, market: str) -> list[TradeRun]:
        """See `TradeStore`."""
        return [stored.run for stored in await self._runs.of(market)]

    async def parts(self, market: str, first_id: int, last_id: int) -> list[TradePart]:
        """See `TradeStore`."""
        # Batches first: else one that is archived meanwhile would be missed.
        batches = await self.batches(market, first_id, last_id)
        chunks = await self.chunks(market, first_id, last_id)
        return sorted([*chunks, *batches], key=lambda part: (part.first_id, not part.is_archived))

    async def batches(self, market: str, first_id: int, last_id: int) -> list[TradePart]:
        """Return the batches with trades in a range of ids, in order of first ids."""
        query = _begun(market, first_id - TRADES_A_BATCH + 1, last_id)
        found = await self._database.collection(TRADE_EVENTS).find(query).to_list(None)
        return _parts(found, first_id, decoded_batch, "payload", is_archived=False)

    async def chunks(self, market: str, first_id: int, last_id: int) -> list[TradePart]:
        """Return the chunks with trades in a range of ids, in order of first ids."""
        query = _begun(market, first_id - TRADES_A_CHUNK + 1, last_id)
        found = await self._database.collection(TRADE_CHUNKS).find(query).to_list(None)
        return _parts(found, first_id, lambda one: [chunk_of(one)], "data", is_archived=True)


async def grown(store: TradeStore, run: TradeRun) -> TradeRun:
    """Return a run with the trades that are stored beyond its end without a hole.

    Its recorder stores within seconds that they are of the run, unless it was killed.
    """
    if run.end_cause is not None:
        return run
    last_id, to_ms = run.last_id, run.to_ms
    for part in await store.parts(run.market, last_id + 1, last_id + _IDS_AHEAD):
        if part.first_id > last_id + 1:
            break
        last_id, to_ms = max(last_id, part.last_id), max(to_ms, part.to_ms)
    return replace(run, last_id=last_id, to_ms=to_ms)


def _begun(market: str, first_id: int, last_id: int) -> Document:
    # Our SecantusDB finds a span of just this form by its index, in a fraction of the time.
    span = {"$gt": min(max(first_id - 1, -1), INT64_MAX), "$lte": min(last_id, INT64_MAX)}
    return {"market": market, "first_id": span}


def _parts(
    found: Sequence[Document],
    first_id: int,
    unpack: Callable[[Document], list[DecodedTrades]],
    contents: str,
    *,
    is_archived: bool,
) -> list[TradePart]:
    """Return the parts of `found` that have a trade from `first_id` on, in order of first ids."""
    parts: list[TradePart] = []
    for document in found:
        if not all(is_whole(document.get(name)) for name in _NUMBERS):
            raise DamagedDocument(f"trades {document['_id']}: an id or a time is no whole number")
        if document["last_id"] < first_id:
            continue
        parts.append(
            TradePart(
                *(str(document["_id"]), is_archived),
                *(document["first_id"], document["last_id"]),
                *(document["from_time"], document["to_time"]),
                len(document.get(contents) or b""),
                partial(unpack, document),
                document,
            )
        )
    return sorted(parts, key=lambda part: part.first_id)


def _joined(pieces: Sequence[DecodedTrades]) -> list[Trade]:
    return [trade for piece in reversed(pieces) for trade in piece.trades()]


def _first_in(part: TradePart, event_ms: int) -> int | None:
    for piece in part.unpack():
        later = (piece.arrays.times_ms >= event_ms).nonzero()[0]
        if len(later):
            return int(piece.arrays.ids[later[0]])
    return None
