"""The proof of a market's trades: each id of each run is stored, once and the same everywhere.

While the trades are read they are held against the depth events of the same time
(`core.trade_witness`), so that both are read once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.archive import DecodedChunk
from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import EARLIEST_MS
from orderbook_desktop.core.trade_coverage import Covered, TradeGap, TradeRun, covered, gaps_between
from orderbook_desktop.core.trade_witness import DepthBlock, TradeBlock, TradesHeld, TradeWitness
from orderbook_desktop.core.trades import UNKNOWN_PART, decode_repaired, decode_trade, is_same_trade
from orderbook_desktop.core.units import INT64_MAX, parse_units
from orderbook_desktop.core.wording import counted
from orderbook_desktop.storage.store.trade_reader import grown
from orderbook_desktop.storage.store.trade_store import TradePart, TradeStore
from orderbook_desktop.storage.verification.segment_proof import NOT_UNDERSTOOD, RecordingFault
from orderbook_desktop.system.tasks import in_thread_if_long, one_ahead

# So many ids are read at once.
_IDS_AT_ONCE: Final = 10_000
_HOLES_LISTED: Final = 100
# A trade takes less time than a level of a book; it takes so many bytes or more.
_BYTES_A_TRADE: Final = 8


class ExchangeHole(Struct, frozen=True):
    """The exchange left out `parts` of its own trades after the aggregated trade `after_id`."""

    after_id: int
    parts: int
    event_ms: int


class ProvenTrades(Struct, frozen=True):
    """What has been proven of a market's trades.

    `trades` are stored in `runs` runs, `archived` of them in the archive, in `stored_bytes` in all.
    `repaired` of them were asked for afterwards, and have no time of receipt.
    `gaps` are ids that are not stored. `holes` are the first of `hole_count` places where the
    exchange left out trades itself, `hole_parts` in all. `held` is what depth events say of them.
    """

    runs: int = 0
    trades: int = 0
    archived: int = 0
    stored_bytes: int = 0
    gaps: tuple[TradeGap, ...] = ()
    holes: tuple[ExchangeHole, ...] = ()
    hole_count: int = 0
    hole_parts: int = 0
    held: TradesHeld = TradesHeld()
    repaired: int = 0


class TradeProof:
    """Proves the trades of `market`: all, or those from `from_ms` to before `to_ms`.

    Call `begin`, then `hold` with the depth events in the order of their ids, chunk by chunk, then
    `finish`. Close it. Only `finish` raises `RecordingFault`, and the errors of damage. All raise
    what the store raises if it fails.
    """

    def __init__(
        self, store: TradeStore, market: str, from_ms: int | None = None, to_ms: int | None = None
    ) -> None:
        self._store = store
        self._market = market
        self._from_ms = from_ms
        self._to_ms = to_ms
        self._proven = ProvenTrades()
        self._witness = TradeWitness()
        self._blocks: AsyncGenerator[TradeBlock] | None = None
        # The earliest time of the trades that the witness got last.
        self._least_ms = -1
        self._last_part = UNKNOWN_PART
        # What was unpacked of parts that reach beyond the ids that are proven at the moment.
        self._reaching: dict[str, list[DecodedTrades]] = {}
        self._error: Exception | None = None

    @property
    def proven(self) -> ProvenTrades:
        """What has been proven so far."""
        return self._proven

    async def begin(self) -> None:
        """Read what there is to prove."""
        try:
            runs = [await grown(self._store, run) for run in await self._store.runs(self._market)]
            stretches = await self._wanted(runs)
        except (KnownError, *NOT_UNDERSTOOD) as error:
            self._error = error
            return
        gaps = tuple(gap for gap in gaps_between(runs) if self._meets(gap.from_ms, gap.to_ms))
        count = sum(
            any(
                run.first_id <= last_id and run.last_id >= first_id
                for first_id, last_id, *_ in stretches
            )
            for run in runs
        )
        self._proven = replace(self._proven, runs=count, gaps=gaps)
        if stretches:
            self._blocks = one_ahead(self._read(stretches))

    async def hold(self, chunk: DecodedChunk) -> None:
        """Hold the trades against the next depth events."""
        if self._blocks is None:
            return
        first_ids, final_ids, event_ms, _ = chunk.numbers
        exponent = chunk.header.price_exponent
        block = DepthBlock(first_ids, final_ids, event_ms, exponent, chunk.changed_at)
        self._witness.take_depth(block)
        while self._least_ms <= self._witness.until_ms and await self._go_on():
            pass

    async def finish(self) -> ProvenTrades:
        """Prove the rest, and return what was proven. Raises `RecordingFault`."""
        while await self._go_on():
            pass
        held = self._witness.finish()
        self._proven = replace(self._proven, held=held)
        if self._error is not None:
            raise self._error
        first = held.first_not_held
        if first is not None and held.contradict:
            of = f"{held.not_held:,} of {counted(held.held + held.not_held, 'trade')}"
            reason = f"{of} did not change the book at their price, and this is the first of them"
            raise RecordingFault(self._market, reason, trade_id=first.trade_id)
        return self._proven

    async def close(self) -> None:
        """End the reading."""
        if self._blocks is not None:
            await self._blocks.aclose()

    def _meets(self, from_ms: int, to_ms: int) -> bool:
        begins = self._to_ms is None or from_ms < self._to_ms
        return begins and (self._from_ms is None or to_ms >= self._from_ms)

    async def _wanted(self, runs: Sequence[TradeRun]) -> list[Covered]:
        """Return the stretches of ids to be proven."""
        begin, end = -1, INT64_MAX
        if self._from_ms is not None:
            found = await self._store.first_id_at(self._market, self._from_ms)
            begin = INT64_MAX if found is None else found
        if self._to_ms is not None:
            found = await self._store.first_id_at(self._market, self._to_ms)
            end = INT64_MAX if found is None else found - 1
        return [
            stretch._replace(
                first_id=max(stretch.first_id, begin), last_id=min(stretch.last_id, end)
            )
            for stretch in covered(runs)
            if stretch.first_id <= end and stretch.last_id >= begin
        ]

    async def _go_on(self) -> bool:
        """Give the witness the next trades; return whether there were any."""
        if self._blocks is None or self._error is not None:
            return False
        try:
            block = await anext(self._blocks, None)
        except (KnownError, *NOT_UNDERSTOOD) as error:
            self._error = error
            return False
        if block is None:
            return False
        self._least_ms = int(block.times_ms.min())
        self._witness.take_trades(block)
        return True

    async def _read(self, stretches: Sequence[Covered]) -> AsyncGenerator[TradeBlock]:
        for stretch in stretches:
            self._last_part = UNKNOWN_PART
            for first_id in range(stretch.first_id, stretch.last_id + 1, _IDS_AT_ONCE):
                last_id = min(stretch.last_id, first_id + _IDS_AT_ONCE - 1)
                for trades in await self._proven_ids(first_id, last_id):
                    self._look_for_holes(trades)
                    arrays = trades.arrays
                    yield TradeBlock(
                        arrays.ids, arrays.times_ms, arrays.prices, trades.header.price_exponent
                    )

    async def _proven_ids(self, first_id: int, last_id: int) -> list[DecodedTrades]:
        """Return the trades with these ids, which were proven. Raises `RecordingFault`.

        While they are read, batches may be archived, and retention may remove the first ones.
        """
        before: list[str] | None = None
        while True:
            parts = await self._store.parts(self._market, first_id, last_id)
            size = sum(part.size for part in parts)
            joined = await in_thread_if_long(
                size // _BYTES_A_TRADE, self._joined, parts, first_id, last_id
            )
            if joined.missing is None:
                self._count(joined)
                return joined.trades
            keys = [part.key for part in parts]
            if keys == before:
                runs = covered(await self._store.runs(self._market))
                later = (run.first_id for run in runs if run.last_id >= joined.missing)
                begins = min(later, default=INT64_MAX)
                if begins <= joined.missing:
                    raise self._fault("a trade is missing", joined.missing)
                if begins > last_id:
                    return []
                first_id = begins
            before = keys

    def _joined(self, parts: Sequence[TradePart], first_id: int, last_id: int) -> _Joined:
        """Return the trades of `parts` with these ids, up to the first that is missing."""
        joined = _Joined()
        reached = first_id - 1
        for part in parts:
            if part.first_id > reached + 1:
                break
            pieces = self._reaching.get(part.key)
            if pieces is None:
                pieces = self._unpacked(part)
                joined.stored_bytes += part.size
            if part.last_id > last_id:
                joined.reaching[part.key] = pieces
            for piece in pieces:
                again = piece.between(first_id, reached)
                if again is not None:
                    self._compare(again, joined.trades)
                new = piece.between(reached + 1, last_id)
                if new is not None:
                    joined.trades.append(new)
                    joined.archived += len(new) if part.is_archived else 0
                    reached = _last_id(new)
        joined.missing = None if reached == last_id else reached + 1
        return joined

    def _unpacked(self, part: TradePart) -> list[DecodedTrades]:
        """Return the trades of a part, which were proven. Raises `RecordingFault`."""
        try:
            pieces = part.unpack()
        except KnownError as error:
            raise self._fault(str(error), part.first_id) from error
        expected = part.first_id
        for piece in pieces:
            header, arrays = piece.header, piece.arrays
            if header.market != self._market or header.first_id != expected or not len(piece):
                raise self._fault("it is not of the market or the ids that it names", expected)
            expected += len(piece)
            if arrays.times_ms.min() < EARLIEST_MS:
                raise self._fault("the time of a trade is impossible", header.first_id)
            if part.is_archived:
                self._check_texts(piece)
        times = (int(piece.arrays.times_ms.min()) for piece in pieces)
        latest = (int(piece.arrays.times_ms.max()) for piece in pieces)
        ends = (expected - 1, min(times, default=0), max(latest, default=0))
        if ends != (part.last_id, part.from_ms, part.to_ms):
            raise self._fault("its ids or its times are not those of its trades", part.first_id)
        return pieces

    def _check_texts(self, piece: DecodedTrades) -> None:
        """Check the texts that are kept beside the numbers of an archived part."""
        arrays, scale = piece.arrays, piece.scale
        for at, text in piece.odd_payloads.items():
            is_repaired = bool(arrays.repaired[at])
            trade = decode_repaired(text, self._market) if is_repaired else decode_trade(text)
            numbers = (
                *(trade.trade_id, trade.first_part, trade.last_part, trade.event_ms),
                *(
                    parse_units(trade.price, scale.price),
                    parse_units(trade.quantity, scale.quantity),
                ),
                *(trade.is_sold, trade.sent_ms),
            )
            stored = (arrays.ids, arrays.first_parts, arrays.last_parts, arrays.times_ms)
            others = (arrays.prices, arrays.quantities, arrays.sold, arrays.sent_ms)
            if numbers != tuple(column[at].item() for column in (*stored, *others)):
                raise self._fault("its text is not that of its numbers", trade.trade_id)

    def _compare(self, again: DecodedTrades, known: Sequence[DecodedTrades]) -> None:
        """Check that trades which are stored twice are the same."""
        for piece in known:
            mine = again.between(piece.header.first_id, _last_id(piece))
            theirs = piece.between(again.header.first_id, _last_id(again))
            if mine is None or theirs is None or _are_equal(mine, theirs):
                continue
            for trade, other in zip(mine.trades(), theirs.trades(), strict=True):
                if not is_same_trade(trade, other):
                    raise self._fault("it is stored twice, with different content", trade.trade_id)

    def _count(self, joined: _Joined) -> None:
        self._reaching = joined.reaching
        proven = self._proven
        repaired = sum(int(trades.arrays.repaired.sum()) for trades in joined.trades)
        self._proven = replace(
            proven,
            trades=proven.trades + sum(map(len, joined.trades)),
            repaired=proven.repaired + repaired,
            archived=proven.archived + joined.archived,
            stored_bytes=proven.stored_bytes + joined.stored_bytes,
        )

    def _look_for_holes(self, trades: DecodedTrades) -> None:
        """Take note of where the exchange left out trades, though the ids go on."""
        arrays, proven = trades.arrays, self._proven
        before = np.append(self._last_part, arrays.last_parts[:-1])
        self._last_part = int(arrays.last_parts[-1])
        left_out = arrays.first_parts - before - 1
        at = (
            (left_out > 0) & (before != UNKNOWN_PART) & (arrays.first_parts != UNKNOWN_PART)
        ).nonzero()[0]
        if not len(at):
            return
        listed = at[: _HOLES_LISTED - len(proven.holes)]
        holes = zip(
            *(column[listed].tolist() for column in (arrays.ids, left_out, arrays.times_ms)),
            strict=True,
        )
        self._proven = replace(
            proven,
            holes=(*proven.holes, *(ExchangeHole(key - 1, *rest) for key, *rest in holes)),
            hole_count=proven.hole_count + len(at),
            hole_parts=proven.hole_parts + int(left_out[at].sum()),
        )

    def _fault(self, reason: str, trade_id: int) -> RecordingFault:
        return RecordingFault(self._market, reason, trade_id=trade_id)


class _Joined(Struct):
    """Trades of several parts, each id once, and the first id that is `missing`, if there is one.

    `archived` of them are in the archive. `stored_bytes` are those of the parts that were unpacked,
    and `reaching` has those of them that reach further.
    """

    trades: list[DecodedTrades] = []
    reaching: dict[str, list[DecodedTrades]] = {}
    archived: int = 0
    stored_bytes: int = 0
    missing: int | None = None


def _last_id(trades: DecodedTrades) -> int:
    return trades.header.first_id + len(trades) - 1


def _are_equal(mine: DecodedTrades, theirs: DecodedTrades) -> bool:
    """Whether two copies of trades are the same; false also if only their texts can tell."""
    return mine.scale == theirs.scale and all(
        np.array_equal(getattr(mine.arrays, name), getattr(theirs.arrays, name))
        for name in ("first_parts", "last_parts", "times_ms", "prices", "quantities", "sold")
    )
