"""A packed recording holds the trades as they are stored, and gives them back."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.formats.packed_file import PackedFile
from orderbook_desktop.storage.exports.packed_trades import MissingTrades
from orderbook_desktop.storage.reading.summaries import summaries
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.made_trades import FIRST_MS, received, sent
from tests.storage.packed_fixtures import MARKET, opened, packed
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import archive, claim, put, recorded, touching


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def record_trades(database: Database, market: str = MARKET) -> list[Trade]:
    """A run that is archived, a gap, one of chunks and batches, and a batch that is in a chunk."""
    first = sent(range(100, 140), market=market)
    await archive(database, first, await claim(database, first, GapCause.DISCONNECT))
    await put(database, first[5:15])
    second = sent(range(200, 240), market=market)
    await recorded(database, second)
    return [*first, *second]


async def test_all_trades_are_in_the_file(database: Database, tmp_path: Path) -> None:
    trades = await record_trades(database)
    (found,) = await packed(database, tmp_path / "a.obd")
    assert (found.segments, found.trades) == (0, 80)
    with opened(tmp_path / "a.obd") as store:
        assert await store.trades.markets() == [MARKET]
        verified = await verify(store, MARKET)
        assert await store.trades.newest(MARKET, 100) == trades
        assert await store.trades.first_id_at(MARKET, FIRST_MS + 139) == 139
        (summary,) = await summaries(store)
        assert len(store.file.rows(MARKET, "trade_parts")) == 4 + 1 + 2
    assert verified.fault is None
    assert (verified.trades.runs, verified.trades.trades, verified.trades.archived) == (2, 80, 60)
    gap = TradeGap(139, 200, FIRST_MS + 139, FIRST_MS + 200, GapCause.DISCONNECT)
    assert verified.trades.gaps == summary.trades.gaps == (gap,)


async def test_a_file_without_trades_is_of_the_first_format(
    database: Database, tmp_path: Path
) -> None:
    """So an earlier version reads it."""
    await Shelf(database).put(Tape(), 20)
    await packed(database, tmp_path / "a.obd")
    trades = sent(range(10))
    await archive(database, trades, await claim(database, trades))
    await packed(database, tmp_path / "b.obd")
    await packed(database, tmp_path / "c.obd", to_ms=FIRST_MS - 1)
    formats = [
        struct.unpack("<I", (tmp_path / name).read_bytes()[8:12])[0]
        for name in ("a.obd", "b.obd", "c.obd")
    ]
    assert formats == [1, 2, 1]
    with PackedFile(tmp_path / "a.obd") as file:
        assert len(file.rows(MARKET, "trade_runs")) == 0


async def test_book_and_trades_are_proven_together(database: Database, tmp_path: Path) -> None:
    shelved = await Shelf(database).put(Tape(), 100)
    await recorded(database, touching(shelved.events))
    await packed(database, tmp_path / "a.obd")
    with opened(tmp_path / "a.obd") as store:
        found = await verify(store, MARKET)
    assert found.fault is None
    assert (found.trades.held.held, found.trades.held.not_judged) == (99, 1)


async def test_a_part_is_whole_chunks(database: Database, tmp_path: Path) -> None:
    await record_trades(database)
    begin, end = FIRST_MS + 125, FIRST_MS + 205
    (found,) = await packed(database, tmp_path / "a.obd", from_ms=begin, to_ms=end)
    with opened(tmp_path / "a.obd") as store:
        first, second = await store.trades.runs(MARKET)
        assert (await verify(store, MARKET)).fault is None
    assert (first.first_id, first.last_id, first.from_ms) == (120, 139, FIRST_MS + 120)
    assert (second.first_id, second.last_id, second.to_ms) == (200, 219, FIRST_MS + 219)
    assert (first.end_cause, second.end_cause) == (GapCause.DISCONNECT, GapCause.USER)
    assert found.trades == 40


async def test_a_run_that_goes_on_ends_with_what_is_stored(
    database: Database, tmp_path: Path
) -> None:
    trades = sent(range(100, 150))
    run = await claim(database, trades[:40], None)
    await archive(database, trades[:20], run)
    await put(database, trades[20:40])
    # Its recorder did not store any more that these are its own.
    await put(database, trades[40:])
    await packed(database, tmp_path / "a.obd")
    with opened(tmp_path / "a.obd") as store:
        (found,) = await store.trades.runs(MARKET)
        assert (await verify(store, MARKET)).fault is None
    ends = (found.last_id, found.to_ms, found.end_cause)
    assert ends == (149, FIRST_MS + 149, GapCause.CRASH)


async def test_what_is_missing_or_damaged_is_not_packed(database: Database, tmp_path: Path) -> None:
    trades = sent(range(100, 150))
    run = await claim(database, trades)
    await archive(database, trades, run)
    await database.collection("trade_chunks").delete_one({"first_id": 120})
    with pytest.raises(MissingTrades, match="BTCUSDT: the trade 120 is missing"):
        await packed(database, tmp_path / "a.obd")
    await put(database, trades[20:30])
    damaged = {"first_id": 120}
    await database.collection("trade_events").update_one(damaged, {"$set": {"sum": 7}})
    with pytest.raises(DamagedDocument):
        await packed(database, tmp_path / "a.obd")
    assert files_in(tmp_path) == []


async def test_a_run_of_which_two_stretches_are_packed_is_two(
    database: Database, tmp_path: Path
) -> None:
    """The exchange's clock went back, so a time cuts out its middle."""
    ahead_ms = {number: 900_000 if 110 <= number < 120 else 0 for number in range(100, 130)}
    trades = [received(number, T=FIRST_MS + ms) for number, ms in ahead_ms.items()]
    await archive(database, trades, await claim(database, trades))
    await packed(database, tmp_path / "a.obd", to_ms=FIRST_MS + 500_000)
    with opened(tmp_path / "a.obd") as store:
        runs = await store.trades.runs(MARKET)
    assert [(run.first_id, run.last_id) for run in runs] == [(100, 109), (120, 129)]
    assert len({run.id for run in runs}) == 2
