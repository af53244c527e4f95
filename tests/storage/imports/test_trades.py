"""Imports of trades: over what is stored, idempotent, and nothing of what contradicts it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from orderbook_desktop.core.received import Received
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.imports import trades as trades_module
from orderbook_desktop.storage.imports.importing import (
    ImportedMarket,
    NothingToImport,
    import_messages,
)
from orderbook_desktop.storage.imports.trades import (
    ConflictingTrades,
    ImportedTrades,
    OtherTradeIds,
    TradesInterrupted,
    TradeSpool,
)
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_writer import TradeConflict, TradeWriter
from tests.storage.made_trades import FIRST_MS, asked, received, sent


async def _imported(
    database: Database, trades: Iterable[Trade], folder: Path
) -> list[ImportedMarket]:
    messages = (Received(trade.received_ns, trade) for trade in trades)
    return await import_messages(database, messages, folder, lambda *_: None)


async def _only(database: Database, trades: Iterable[Trade], folder: Path) -> ImportedTrades:
    (market,) = await _imported(database, trades, folder)
    assert market.trades is not None
    return market.trades


async def _stored(database: Database, market: str = "BTCUSDT") -> list[Trade]:
    found = DatabaseTrades(database).trades(market, 0, 2**63 - 1)
    async with aclosing(found):
        return [trade async for piece in found for trade in piece.trades()]


async def test_trades_in_any_order_come_back_in_the_order_of_ids(
    database: Database, tmp_path: Path
) -> None:
    trades = [*sent(range(5, 40)), asked(40), received(41, T=(FIRST_MS + 41) * 1_000 + 7)]
    done = await _only(database, [*reversed(trades), *trades[:3]], tmp_path)
    assert done == ImportedTrades(37, 0, 3, 0, FIRST_MS + 5, FIRST_MS + 41)
    assert await _stored(database) == trades
    (run,) = await DatabaseTrades(database).runs("BTCUSDT")
    assert (run.first_id, run.last_id, run.origin) == (5, 41, TradeOrigin.IMPORT)


async def test_an_import_over_a_part_of_it_stores_the_rest(
    database: Database, tmp_path: Path
) -> None:
    recorded = sent(range(10, 20))
    await TradeWriter(database).store(recorded, TradeOrigin.REPAIR)
    files = [asked(trade_id) for trade_id in range(5, 30)]
    done = await _only(database, files, tmp_path)
    assert (done.stored, done.known) == (15, 10)
    assert await _stored(database) == [*files[:5], *recorded, *files[15:]]
    before = await _stored(database)
    again = await _only(database, files, tmp_path)
    assert (again.stored, again.known, again.gaps) == (0, 25, ())
    assert await _stored(database) == before


async def test_what_contradicts_is_refused_by_its_id_and_nothing_is_written(
    database: Database, tmp_path: Path
) -> None:
    known = sent(range(10, 20))
    await TradeWriter(database).store(known, TradeOrigin.REPAIR)
    other = asked(15, q="7")
    with pytest.raises(TradeConflict, match="The trade 15 of BTCUSDT"):
        await _imported(database, [*sent(range(20, 30)), other], tmp_path)
    with pytest.raises(ConflictingTrades, match="two different trades of BTCUSDT with the id 25"):
        await _imported(database, [*sent(range(20, 30)), asked(25, q="7")], tmp_path)
    assert await _stored(database) == known


async def test_ids_of_another_kind_are_refused(database: Database, tmp_path: Path) -> None:
    """Tardis' own files number the parts of an order, of which an aggregated trade consists."""
    known = [asked(trade_id, T=FIRST_MS + trade_id * 1_000) for trade_id in range(10, 20)]
    await TradeWriter(database).store(known, TradeOrigin.REPAIR)
    single = [asked(trade_id, T=FIRST_MS + 14_000) for trade_id in range(700, 705)]
    with pytest.raises(OtherTradeIds, match="beside the stored trades 10 to 19"):
        await _imported(database, single, tmp_path)
    # What only touches the stored ones may be of the same kind.
    later = [asked(trade_id, T=FIRST_MS + 19_000) for trade_id in range(20, 25)]
    assert (await _only(database, later, tmp_path)).stored == 5


async def test_a_hole_in_the_files_is_a_gap_that_a_later_import_fills(
    database: Database, tmp_path: Path
) -> None:
    done = await _only(database, [*sent(range(5, 10)), *sent(range(15, 20))], tmp_path)
    (gap,) = done.gaps
    assert (gap.after_id, gap.before_id, gap.cause) == (9, 15, GapCause.FEED_GAP)
    assert "the exchange's stream left out trades" in gap.sentence
    assert (await _only(database, sent(range(8, 17)), tmp_path)).gaps == ()
    assert [trade.trade_id for trade in await _stored(database)] == list(range(5, 20))


async def test_many_files_and_markets_take_little_memory(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trades_module, "_HELD_AT_MOST", 100)
    monkeypatch.setattr(trades_module, "_BATCH", 30)
    btc, eth = sent(range(1, 600)), sent(range(1, 200), market="ETHUSDT")
    # Two files overlap, and a third one has all of it again.
    files = [*btc[:400], *eth, *btc[250:], *btc]
    markets = await _imported(database, files, tmp_path)
    assert [(one.market, one.trades.repeated) for one in markets if one.trades] == [
        ("BTCUSDT", 749),
        ("ETHUSDT", 0),
    ]
    assert await _stored(database) == btc
    assert await _stored(database, "ETHUSDT") == eth


def test_a_spool_holds_no_more_than_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trades_module, "_HELD_AT_MOST", 10)
    monkeypatch.setattr(trades_module, "_BATCH", 4)
    trades = sent(range(1, 36))
    with TradeSpool(tmp_path) as spool:
        for trade in reversed(trades):
            spool.put(trade)
        spool.finish()
        batches = list(spool.batches("BTCUSDT"))
    assert [len(batch) for batch in batches] == [4] * 8 + [3]
    assert [trade for batch in batches for trade in batch] == trades


async def test_a_trade_that_no_64_bits_hold_is_left_out(database: Database, tmp_path: Path) -> None:
    wide = received(7, p="93000000000.000000000000000001")
    fine = received(8, p="0.000000000000000001")
    done = await _only(database, [received(6), wide, fine], tmp_path)
    assert (done.stored, done.too_wide) == (2, 1)
    assert await _stored(database) == [received(6), fine]
    nothing = await _only(database, [wide], tmp_path)
    assert (nothing.stored, nothing.known, nothing.too_wide) == (0, 0, 1)


async def test_nothing_at_all(database: Database, tmp_path: Path) -> None:
    with pytest.raises(NothingToImport, match="the files hold no trade, and no change of a book"):
        await _imported(database, [], tmp_path)


async def test_a_request_to_stop_says_what_stays(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trades_module, "_BATCH", 10)
    store = TradeWriter.store
    running: list[asyncio.Task[object]] = []

    async def stopped(self: TradeWriter, trades: Sequence[Trade], origin: TradeOrigin) -> object:
        done = await store(self, trades, origin)
        if trades[-1].trade_id == 20:
            running[0].cancel()
        return done

    monkeypatch.setattr(TradeWriter, "store", stopped)
    running.append(asyncio.create_task(_imported(database, sent(range(1, 51)), tmp_path)))
    with pytest.raises(TradesInterrupted) as raised:
        await running[0]
    stored = [trade.trade_id for trade in await _stored(database)]
    assert stored == list(range(1, 21))
    assert str(raised.value).startswith("Stopped; ")
    assert "of 50 trades are imported. Import the same files again" in str(raised.value)
    assert (await _only(database, sent(range(1, 51)), tmp_path)).known == 20


async def test_a_request_to_stop_while_comparing_imports_nothing(
    database: Database, tmp_path: Path
) -> None:
    def messages() -> Iterator[Trade]:
        yield from sent(range(1, 20))
        loop.call_soon_threadsafe(running.cancel)

    loop = asyncio.get_running_loop()
    running = asyncio.create_task(_imported(database, messages(), tmp_path))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await _stored(database) == []
