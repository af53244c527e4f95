"""Trades are proven with the depth of their time, and every damage to them is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.trade_witness import NotHeld, TradesHeld
from orderbook_desktop.core.trades import Trade, decode_trade
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import TradeRuns
from orderbook_desktop.storage.store.trade_store import TradePart
from orderbook_desktop.storage.verification.trade_proof import (
    ExchangeHole,
    ProvenTrades,
    TradeProof,
)
from orderbook_desktop.storage.verification.verification import Verified, verify
from tests.storage.made_trades import FIRST_MS, asked, received, sent
from tests.storage.recording_fixtures import Tape, all_of
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import claim, put, recorded, touching, traded

_MARKET = "BTCUSDT"


async def proven(
    database: Database, from_ms: int | None = None, to_ms: int | None = None
) -> ProvenTrades:
    """What is proven of trades that hold."""
    found = await verify(database, _MARKET, from_ms, to_ms)
    assert found.fault is None
    return found.trades


async def fault_of(database: Database) -> str:
    found = await verify(database, _MARKET)
    return "" if found.fault is None else str(found.fault)


async def test_trades_that_hold(database: Database) -> None:
    await recorded(database, sent(range(10, 50)))
    found = await proven(database)
    parts = [*await all_of(database, "trade_chunks"), *await all_of(database, "trade_events")]
    size = sum(len(part.get("data") or part["payload"]) for part in parts)
    assert found == ProvenTrades(1, 40, 20, size, held=TradesHeld(not_judged=40))


async def test_repaired_trades_are_counted_once(database: Database) -> None:
    trades = [*sent(range(10, 30)), *map(asked, range(30, 37)), *sent(range(37, 50))]
    await recorded(database, trades)
    found = await proven(database)
    assert (found.trades, found.repaired) == (40, 7)


async def test_a_recording_without_trades_has_none(database: Database) -> None:
    await Shelf(database).put(Tape(), 5)
    assert (await verify(database, _MARKET)).trades == ProvenTrades()


async def test_gaps_have_their_causes_and_quiet_is_none(database: Database) -> None:
    await recorded(database, [*sent(range(10, 29)), received(29, T=FIRST_MS + 3_600_000)])
    after = [received(trade_id, T=FIRST_MS + 4_000_000) for trade_id in range(40, 60)]
    await recorded(database, after)
    found = await proven(database)
    gap = TradeGap(29, 40, FIRST_MS + 3_600_000, FIRST_MS + 4_000_000, GapCause.USER)
    assert (found.runs, found.trades, found.gaps) == (2, 40, (gap,))


async def test_what_the_exchange_left_out_is_no_gap(database: Database) -> None:
    """Its ids go on, but not the ids of the trades that they are made of."""
    parts = {10: (10, 10), 11: (14, 20), 12: (21, 21), 13: (23, 30), 14: (-1, -1), 15: (99, 99)}
    some = [received(key, f=first, l=last) for key, (first, last) in parts.items()]
    await put(database, some[:2], archived=True)
    await put(database, some[2:])
    await claim(database, some)
    found = await proven(database)
    assert found.gaps == ()
    first, second = (ExchangeHole(10, 3, FIRST_MS + 11), ExchangeHole(12, 1, FIRST_MS + 13))
    assert (found.holes, found.hole_count, found.hole_parts) == ((first, second), 2, 4)


async def test_only_the_trades_of_a_time_are_proven(database: Database) -> None:
    await recorded(database, sent(range(10, 50)))
    await recorded(database, sent(range(60, 70)))
    found = await proven(database, from_ms=FIRST_MS + 45, to_ms=FIRST_MS + 62)
    assert (found.runs, found.trades, len(found.gaps)) == (2, 7, 1)
    found = await proven(database, from_ms=FIRST_MS + 61)
    assert (found.runs, found.trades, len(found.gaps)) == (1, 9, 0)
    assert (await proven(database, from_ms=FIRST_MS + 100)).trades == 0
    assert (await proven(database, to_ms=FIRST_MS)).trades == 0


async def test_what_a_killed_recorder_did_not_claim_is_proven_as_well(database: Database) -> None:
    trades = sent(range(10, 50))
    await put(database, trades[:20], archived=True)
    await put(database, trades[20:30])
    await claim(database, trades[:15], None)
    assert (await proven(database)).trades == 30
    # There may be more behind a hole, which no run claims.
    await put(database, trades[31:])
    assert (await proven(database)).trades == 30
    last = trades[29]
    await database.collection("trade_events").delete_many({"first_id": {"$gt": last.trade_id}})
    await put(database, [received(last.trade_id, q="7.00000000")])
    assert (await fault_of(database)).endswith("it is stored twice, with different content.")


async def test_a_missing_trade_is_found(database: Database) -> None:
    trades = sent(range(10, 50))
    await put(database, trades[:20], archived=True)
    await put(database, trades[21:])
    await claim(database, trades)
    assert await fault_of(database) == "BTCUSDT, trade 30: a trade is missing."


class _Changing(DatabaseTrades):
    """Trades that another program changes while they are read: once, after the first query."""

    def __init__(self, database: Database, change: Callable[[], Awaitable[object]]) -> None:
        super().__init__(database)
        self._change: Callable[[], Awaitable[object]] | None = change

    async def parts(self, market: str, first_id: int, last_id: int) -> list[TradePart]:
        found = await super().parts(market, first_id, last_id)
        change, self._change = self._change, None
        if change is not None:
            await change()
        return found


async def proven_while(database: Database, change: Callable[[], Awaitable[object]]) -> ProvenTrades:
    proof = TradeProof(_Changing(database, change), _MARKET)
    try:
        await proof.begin()
        return await proof.finish()
    finally:
        await proof.close()


async def test_what_is_removed_or_archived_meanwhile_is_not_missing(database: Database) -> None:
    trades = sent(range(10, 50))
    await recorded(database, trades)
    await database.collection("trade_chunks").delete_many({})
    assert (await fault_of(database)).endswith("trade 10: a trade is missing.")

    async def cut(first_id: int) -> None:
        (stored,) = await TradeRuns(database).of(_MARKET)
        await TradeRuns(database).cut(stored, first_id, trades[20].event_ms)

    assert (await proven_while(database, lambda: cut(30))).trades == 20
    await database.collection("trade_events").delete_many({})
    archived = await proven_while(database, lambda: put(database, trades[20:], archived=True))
    assert archived.trades == 20
    await database.collection("trade_chunks").delete_many({})
    assert (await proven_while(database, lambda: cut(50))).trades == 0


@pytest.mark.parametrize("archived", [True, False])
async def test_each_field_of_a_part_counts(database: Database, *, archived: bool) -> None:
    trades = sent(range(10, 30))
    await put(database, trades, archived=archived)
    await claim(database, trades)
    name = "trade_chunks" if archived else "trade_events"
    (document,) = await all_of(database, name)
    for field in document.keys() - {"_id", "market", "first_id"}:
        value = document[field]
        changed = value + (b"x" if isinstance(value, bytes) else 1) if field != "encoding" else "x"
        collection = database.collection(name)
        await collection.replace_one({"_id": document["_id"]}, document | {field: changed})
        assert (await fault_of(database)).startswith("BTCUSDT, trade"), field
        await collection.replace_one({"_id": document["_id"]}, document)
    assert await fault_of(database) == ""


async def test_a_run_that_was_changed_is_a_fault(database: Database) -> None:
    await recorded(database, sent(range(10, 50)))
    await database.collection("trade_runs").update_one({}, {"$set": {"last_id": 48}})
    assert "run of trades" in await fault_of(database)


async def test_a_trade_that_is_stored_twice_has_to_be_the_same(database: Database) -> None:
    trades = sent(range(10, 50))
    await put(database, trades[:30], archived=True)
    # Another recorder received it later, and the exchange was asked for it.
    again = [received(25, received_ns=9), asked(26), received(27, p="61837.63")]
    await put(database, again)
    await put(database, trades[28:])
    await claim(database, trades)
    assert await fault_of(database) == ""
    await put(database, [received(28, q="0.02000001")])
    reason = "BTCUSDT, trade 28: it is stored twice, with different content."
    assert await fault_of(database) == reason


async def verified(database: Database, trades: Sequence[Trade]) -> Verified:
    await recorded(database, trades)
    return await verify(database, _MARKET)


async def test_trades_are_held_against_depth(database: Database) -> None:
    shelf, tape = Shelf(database), Tape()
    shelved = await shelf.put(tape, 1300)
    await shelf.archive(shelved, 1250)
    trades = touching(shelved.events)
    odd = msgspec.json.decode(trades[700].payload) | {"p": "1.00000000"}
    trades[700] = decode_trade(msgspec.json.encode(odd), 5)
    found = await verified(database, trades)
    missed = NotHeld(701, "1.00000000", trades[700].event_ms)
    # No event says what came before the first one.
    assert found.trades.held == TradesHeld(1298, 1, 1, missed)
    assert found.holds


async def test_trades_that_contradict_the_book_are_a_fault(database: Database) -> None:
    shelved = await Shelf(database).put(Tape(), 100)
    trades = touching(shelved.events)
    odd = [
        traded(trade.trade_id, event, "7.5")
        for trade, event in zip(trades, shelved.events, strict=True)
    ]
    found = await verified(database, odd)
    assert not found.holds
    assert str(found.fault) == (
        "BTCUSDT, trade 2: 98 of 98 trades did not change the book at their price, and this is the "
        "first of them."
    )
    assert found.trades.held.not_judged == 2


async def test_two_recorders_and_a_gap_of_the_book(database: Database) -> None:
    """Trades in the gap are not judged; what both recorded counts once."""
    shelf, tape, twin = Shelf(database), Tape(), Tape()
    one = await shelf.put(tape, 40)
    twin.diffs(30)
    other = await shelf.put(twin, [*one.events[30:], *tape.diffs(20)])
    gap = tape.diffs(10)
    last = await shelf.put(tape, 30)
    events = [*one.events, *other.events[10:], *gap, *last.events]
    found = await verified(database, touching(events))
    assert found.fault is None
    assert found.trades.held == TradesHeld(88, 0, 12)
