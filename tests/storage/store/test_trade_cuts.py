"""Trades are cut chunk by chunk from the front, and no kill amid it does harm."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin, TradeRun
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.store import trade_cuts
from orderbook_desktop.storage.store.cuts import ChainLink, Removed
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_cuts import CuttableTrades, cuttable_trades
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.made_trades import FIRST_MS, sent
from tests.storage.mortal import Killed, Mortal
from tests.storage.recording_fixtures import all_of
from tests.storage.trade_shelf import archive, claim, put

_MARKET = "BTCUSDT"


async def stored(
    database: Database,
    trades: Sequence[Trade],
    cause: GapCause | None = GapCause.USER,
    origin: TradeOrigin = TradeOrigin.RECORDER,
) -> TradeRun:
    """A run whose trades are all archived, ten in a chunk."""
    run = await claim(database, trades, cause, origin)
    await archive(database, trades, run)
    return run


async def runs_of(database: Database) -> list[tuple[int, int]]:
    return [(run.first_id, run.last_id) for run in await DatabaseTrades(database).runs(_MARKET)]


async def chunks_of(database: Database) -> list[int]:
    return sorted(one["first_id"] for one in await all_of(database, "trade_chunks"))


async def only_part(database: Database) -> CuttableTrades:
    (part,) = await cuttable_trades(database)
    return part


def until(trade_id: int) -> object:
    return lambda link: link.last_id <= trade_id


async def holds(database: Database) -> None:
    assert (await verify(database, _MARKET)).fault is None


async def test_whole_chunks_go_from_the_front(database: Database) -> None:
    await stored(database, sent(range(100, 150)))
    part = await only_part(database)
    seen: list[ChainLink] = []

    def wanted(link: ChainLink) -> bool:
        seen.append(link)
        return link.last_id < 125

    done = await part.cut(wanted)
    assert (done.events, done.is_last) == (20, True)
    assert done.bytes == sum(link.bytes for link in seen[:2])
    assert await chunks_of(database) == [120, 130, 140]
    assert await runs_of(database) == [(120, 149)]
    assert part.from_ms == FIRST_MS + 120
    assert (await DatabaseTrades(database).runs(_MARKET))[0].from_ms == FIRST_MS + 120
    await holds(database)
    # The newest chunk of all stays.
    assert (await part.cut(lambda _: True)).events == 20
    assert await part.cut(lambda _: True) == Removed(is_last=True)
    assert await runs_of(database) == [(140, 149)]
    await holds(database)


async def test_a_long_cut_is_done_in_parts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trade_cuts, "_IDS_AT_ONCE", 7)
    await stored(database, sent(range(100, 150)))
    part = await only_part(database)
    assert (await part.cut(lambda link: link.last_id < 135)).events == 30
    assert await chunks_of(database) == [130, 140]
    await holds(database)


async def test_a_run_that_is_not_the_newest_goes_entirely(database: Database) -> None:
    await stored(database, sent(range(100, 130)))
    await stored(database, sent(range(200, 210)))
    first, _ = await cuttable_trades(database)
    assert (await first.cut(lambda _: True)).events == 30
    assert await first.cut(lambda _: True) == Removed(is_last=True)
    assert await runs_of(database) == [(200, 209)]
    assert await chunks_of(database) == [200]
    await holds(database)


async def test_what_is_not_archived_stays(database: Database) -> None:
    trades = sent(range(100, 140))
    run = await claim(database, trades, None)
    await archive(database, trades[:20], run)
    await put(database, trades[20:])
    part = await only_part(database)
    assert (await part.cut(lambda _: True)).events == 20
    assert await runs_of(database) == [(120, 139)]
    assert await part.cut(lambda _: True) == Removed(is_last=True)
    await holds(database)


async def test_the_last_chunk_of_a_recorder_that_goes_on_stays(database: Database) -> None:
    await stored(database, sent(range(100, 120)), None)
    await stored(database, sent(range(200, 210)))
    first, _ = await cuttable_trades(database)
    assert (await first.cut(lambda _: True)).events == 10
    assert await runs_of(database) == [(110, 119), (200, 209)]


async def test_imported_trades_do_not_age_and_stay_amid_others(database: Database) -> None:
    trades = sent(range(100, 160))
    run = await claim(database, trades)
    await archive(database, trades, run)
    await claim(database, trades[20:40], origin=TradeOrigin.IMPORT)
    parts = await cuttable_trades(database)
    assert [part.ages for part in parts] == [True, False, True]
    for part in parts:
        if part.ages:
            await part.cut(lambda _: True)
    assert await chunks_of(database) == [120, 130, 150]
    assert await runs_of(database) == [(120, 139), (150, 159)]
    await holds(database)


async def test_a_cut_goes_on_after_a_kill(database: Database) -> None:
    """The runs begin later, and their chunks are still there."""
    trades = sent(range(100, 130))
    await stored(database, trades)
    await stored(database, sent(range(200, 220)))
    part, _ = await cuttable_trades(database)
    (known, _) = await part._runs.of(_MARKET)
    await part._runs.cut(known, 130, FIRST_MS)
    await holds(database)
    assert len(await cuttable_trades(database)) == 1
    assert await runs_of(database) == [(200, 219)]
    assert await chunks_of(database) == [200, 210]


async def test_chunks_that_another_run_claims_stay(database: Database) -> None:
    trades = sent(range(100, 130))
    await stored(database, trades)
    await claim(database, trades[5:12], origin=TradeOrigin.IMPORT)
    part, _, _ = await cuttable_trades(database)
    (known, _) = await part._runs.of(_MARKET)
    await part._runs.cut(known, 120, FIRST_MS + 120)
    await cuttable_trades(database)
    assert await chunks_of(database) == [100, 110, 120]
    assert await runs_of(database) == [(105, 111), (120, 129)]
    await holds(database)


@pytest.mark.expects_log("WARNING .*retention skips the trades of BTCUSDT: ")
async def test_a_damaged_run_keeps_no_other_market(database: Database) -> None:
    await stored(database, sent(range(100, 130)))
    await stored(database, sent(range(100, 130), market="ETHUSDT"))
    damaged = {"market": _MARKET}
    await database.collection("trade_runs").update_one(damaged, {"$set": {"to_time": 7}})
    part = await only_part(database)
    assert part.market == "ETHUSDT"


@pytest.mark.parametrize("after", [False, True])
async def test_a_kill_at_any_call_leaves_what_can_be_proven(
    database: Database, *, after: bool
) -> None:
    trades = sent(range(100, 140))
    for lives in range(100):
        await stored(database, trades)
        await claim(database, trades[25:35], origin=TradeOrigin.REPAIR)
        await stored(database, sent(range(200, 210)))
        try:
            for part in await cuttable_trades(Mortal(database, lives, after=after)):
                await part.cut(lambda link: link.last_id < 120)
        except Killed:
            await holds(database)
        else:
            break
        for part in await cuttable_trades(database):
            await part.cut(lambda link: link.last_id < 120)
        assert await chunks_of(database) == [120, 130, 200]
        assert await runs_of(database) == [(120, 139), (125, 134), (200, 209)]
        await holds(database)
        await database.motor.command("dropDatabase")
        database.prepared = False
    assert 3 < lives < 99
