"""Trades of packed files, merged into databases: what was missing comes, nothing is replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.formats.packed_file import DamagedPackedFile, PackedFile
from orderbook_desktop.storage.imports.unpacking import UnpackConflict, UnpackedMarket, unpack
from orderbook_desktop.storage.imports.unpacking_trades import TradeUnpacking
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packed_store import PackedStore
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.made_trades import asked, received, sent
from tests.storage.packed_fixtures import MARKET, Rows, packed, rebuilt
from tests.storage.recording_fixtures import PATIENT, ServerThread, Tape, all_of
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import archive, claim, put, recorded, touching

_COLLECTIONS = ("trade_runs", "trade_chunks", "trade_events")


@pytest.fixture
async def other(database: Database, server: ServerThread) -> AsyncIterator[Database]:
    """A second database."""
    other = Database(f"{database.name}_other", PATIENT)
    other.connect(server.dsn)
    yield other
    other.close()


async def unpacked(database: Database, path: Path) -> UnpackedMarket:
    with PackedFile(path) as file:
        (found,) = await unpack(database, PackedStore(file), lambda *_: None)
        return found


async def documents_of(database: Database) -> dict[str, list[dict[str, Any]]]:
    return {
        name: sorted(await all_of(database, name), key=lambda document: str(document["_id"]))
        for name in _COLLECTIONS
    }


async def runs_of(database: Database) -> list[tuple[int, int]]:
    return [(run.first_id, run.last_id) for run in await DatabaseTrades(database).runs(MARKET)]


async def test_unpacked_and_packed_again_it_is_the_same_file(
    database: Database, other: Database, tmp_path: Path
) -> None:
    """With a book; a gap; chunks and batches; and repaired trades that a second run has, too."""
    shelved = await Shelf(database).put(Tape(), 60)
    trades = touching(shelved.events)
    await recorded(database, trades[:30])
    await recorded(database, trades[35:])
    await claim(database, trades[40:50], origin=TradeOrigin.REPAIR)
    await packed(database, tmp_path / "a.obd")
    new = await unpacked(other, tmp_path / "a.obd")
    assert (new.events, new.trades, new.known_trades) == (60, 55, 0)
    await packed(other, tmp_path / "b.obd")
    assert (tmp_path / "a.obd").read_bytes() == (tmp_path / "b.obd").read_bytes()
    found = await verify(other, MARKET)
    assert found.fault is None
    assert (found.trades.trades, len(found.trades.gaps)) == (55, 1)
    before = await documents_of(other)
    again = await unpacked(other, tmp_path / "a.obd")
    assert (again.trades, again.known_trades) == (0, 55)
    assert await documents_of(other) == before


async def test_gaps_are_healed_and_what_is_there_stays(
    database: Database, other: Database, tmp_path: Path
) -> None:
    trades = sent(range(100, 160))
    run = await claim(database, trades)
    await archive(database, trades[:40], run)
    await put(database, trades[40:])
    await packed(database, tmp_path / "a.obd")
    # The other recorder missed some, was told of one by a repair, and went on for longer.
    await archive(other, trades[:15], await claim(other, trades[:15], GapCause.DISCONNECT))
    rest = [asked(148), *trades[49:], *sent(range(160, 170))]
    await put(other, rest)
    await claim(other, rest)
    new = await unpacked(other, tmp_path / "a.obd")
    assert (new.trades, new.known_trades) == (33, 27)
    found = await verify(other, MARKET)
    assert found.fault is None
    assert (found.trades.trades, found.trades.gaps) == (70, ())
    assert (await DatabaseTrades(other).before(MARKET, 149, 1))[0].is_repaired
    before = await documents_of(other)
    assert (await unpacked(other, tmp_path / "a.obd")).trades == 0
    assert await documents_of(other) == before


async def test_a_run_whose_id_is_taken_gets_another(
    database: Database, other: Database, tmp_path: Path
) -> None:
    """Retention has removed some of it here."""
    trades = sent(range(100, 140))
    await archive(database, trades, await claim(database, trades))
    await packed(database, tmp_path / "a.obd")
    await unpacked(other, tmp_path / "a.obd")
    reader = DatabaseTrades(other)
    (known,) = await reader._runs.of(MARKET)
    await reader._runs.cut(known, 120, trades[20].event_ms)
    await other.collection("trade_chunks").delete_many({"first_id": {"$lt": 120}})
    assert (await unpacked(other, tmp_path / "a.obd")).trades == 20
    assert await runs_of(other) == [(100, 139), (120, 139)]
    assert (await verify(other, MARKET)).fault is None


async def test_other_content_refuses_the_file(
    database: Database, other: Database, tmp_path: Path
) -> None:
    trades = sent(range(100, 140))
    await archive(database, trades, await claim(database, trades))
    await packed(database, tmp_path / "a.obd")
    different = [received(137, q="7.00000000")]
    await put(other, different)
    await claim(other, different)
    before = await documents_of(other)
    with pytest.raises(UnpackConflict, match="the trade 137 of BTCUSDT is stored with other"):
        await unpacked(other, tmp_path / "a.obd")
    assert await documents_of(other) == before


async def test_a_failure_leaves_nothing(
    database: Database, other: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await recorded(database, sent(range(100, 140)))
    await packed(database, tmp_path / "a.obd")

    async def fails(_: TradeUnpacking) -> None:
        raise ConnectionError

    monkeypatch.setattr(TradeUnpacking, "claim", fails)
    with pytest.raises(ConnectionError):
        await unpacked(other, tmp_path / "a.obd")
    assert await documents_of(other) == {name: [] for name in _COLLECTIONS}


def drop_part(rows: Rows) -> None:
    del rows["trade_parts"][1]


def drop_run(rows: Rows) -> None:
    del rows["trade_runs"][1]


def move_part(rows: Rows) -> None:
    numbers, record = rows["trade_parts"][0]
    rows["trade_parts"][0] = (numbers[0] - 1, *numbers[1:]), record


def move_run(rows: Rows) -> None:
    numbers, record = rows["trade_runs"][0]
    rows["trade_runs"][0] = (numbers[0] - 1, *numbers[1:]), record


@pytest.mark.parametrize("change", [drop_part, drop_run, move_part, move_run])
async def test_a_file_that_contradicts_itself_is_refused(
    database: Database, other: Database, tmp_path: Path, change: Any
) -> None:
    for first_id in (100, 200):
        trades = sent(range(first_id, first_id + 30))
        await archive(database, trades, await claim(database, trades))
    await packed(database, tmp_path / "a.obd")
    rebuilt(tmp_path / "a.obd", tmp_path / "b.obd", change)
    with pytest.raises(DamagedPackedFile):
        await unpacked(other, tmp_path / "b.obd")
    assert await documents_of(other) == {name: [] for name in _COLLECTIONS}
