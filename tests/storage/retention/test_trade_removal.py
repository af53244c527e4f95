"""Trades of a span, or an import of them, are removed on request, in whole chunks."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeGap, TradeOrigin
from orderbook_desktop.storage.retention.removal import (
    AmbiguousImport,
    NoSuchImport,
    Span,
    StillRecorded,
    find_removal,
    remove,
)
from orderbook_desktop.storage.retention.trade_removal import REMOVED
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.leases import ArchiveLease
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import TradeRuns
from orderbook_desktop.storage.verification.trade_proof import ProvenTrades
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.archived_fixtures import store_segment
from tests.storage.made_trades import FIRST_MS, sent
from tests.storage.mortal import Killed, Mortal
from tests.storage.recording_fixtures import Tape, all_of
from tests.storage.trade_shelf import archive, claim, put

_MARKET = "BTCUSDT"


def between(first_id: int, last_id: int) -> Span:
    return Span(_MARKET, FIRST_MS + first_id, FIRST_MS + last_id)


async def runs_of(database: Database) -> list[tuple[int, int]]:
    return [(run.first_id, run.last_id) for run in await DatabaseTrades(database).runs(_MARKET)]


async def chunks_of(database: Database) -> list[int]:
    return sorted(one["first_id"] for one in await all_of(database, "trade_chunks"))


async def proven(database: Database) -> ProvenTrades:
    found = await verify(database, _MARKET)
    assert found.fault is None
    return found.trades


@pytest.mark.parametrize("cause", [GapCause.DISCONNECT, None])
async def test_a_span_goes_in_whole_chunks(database: Database, cause: GapCause | None) -> None:
    """Also out of a run that is being recorded: its end stays its recorder's."""
    trades = sent(range(100, 160))
    run = await claim(database, trades, cause)
    await archive(database, trades, run)
    found = await remove(database, between(125, 136))
    assert (found.trades.trades, found.parts) == (20, [])
    assert found.span_ms == (FIRST_MS + 120, FIRST_MS + 139)
    assert await chunks_of(database) == [100, 110, 140, 150]
    first, second = await TradeRuns(database).of(_MARKET)
    assert (first.run.first_id, first.run.last_id, first.run.to_ms) == (100, 119, FIRST_MS + 119)
    assert (second.id, second.run.end_cause) == (run.id, cause)
    assert (second.run.first_id, second.run.from_ms) == (140, FIRST_MS + 140)
    gap = TradeGap(119, 140, FIRST_MS + 119, FIRST_MS + 140, GapCause.USER, REMOVED)
    assert (await proven(database)).gaps == (gap,)
    # The same request finds nothing any more.
    assert (await find_removal(database, between(125, 136))).is_empty


async def test_what_a_kill_left_goes_with_the_next_request(database: Database) -> None:
    """The first part was stored as a run of its own, and the run did not begin later yet."""
    trades = sent(range(100, 160))
    run = await claim(database, trades)
    await archive(database, trades, run)
    found = await find_removal(database, between(125, 136))

    async def dies(*_: object) -> bool:
        raise ConnectionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TradeRuns, "cut", dies)
        with pytest.raises(ConnectionError):
            await remove(database, between(125, 136))
    assert await runs_of(database) == [(100, 119), (100, 159)]
    assert (await remove(database, between(125, 136))).trades.trades == found.trades.trades
    assert await runs_of(database) == [(100, 119), (140, 159)]
    await proven(database)


async def test_the_beginning_the_end_and_all_of_it(database: Database) -> None:
    trades = sent(range(100, 160))
    await archive(database, trades, await claim(database, trades))
    await remove(database, Span(_MARKET, to_ms=FIRST_MS + 111))
    assert await runs_of(database) == [(120, 159)]
    await remove(database, Span(_MARKET, from_ms=FIRST_MS + 155))
    assert await runs_of(database) == [(120, 149)]
    assert (await proven(database)).gaps == ()
    assert (await find_removal(database, between(10, 99))).is_empty
    assert (await find_removal(database, Span(_MARKET, FIRST_MS + 500))).is_empty
    assert (await remove(database, Span(_MARKET))).trades.trades == 30
    assert (await runs_of(database), await chunks_of(database)) == ([], [])
    assert await all_of(database, "trade_runs") == []


async def test_trades_go_with_the_book(database: Database) -> None:
    stored = await store_segment(database, Tape(), "one", minutes=3)
    begin_ms = stored.events[0].event_ms
    trades = sent(range(100, 120))
    await archive(database, trades, await claim(database, trades))
    found = await remove(database, Span(_MARKET, from_ms=begin_ms))
    assert (found.events, found.trades.trades) == (len(stored.events), 20)
    assert await all_of(database, "segments") == []
    assert await chunks_of(database) == []


async def test_what_is_recorded_or_not_archived_stays(database: Database) -> None:
    trades = sent(range(100, 140))
    run = await claim(database, trades, None)
    await archive(database, trades[:20], run)
    await put(database, trades[20:])
    for span in (Span(_MARKET), between(105, 125), Span(_MARKET, from_ms=FIRST_MS + 130)):
        with pytest.raises(StillRecorded):
            await remove(database, span)
    assert await runs_of(database) == [(100, 139)]
    await remove(database, between(105, 110))
    assert await runs_of(database) == [(110, 139)]
    await proven(database)


async def test_what_waits_for_an_archiver_goes_if_there_is_none(database: Database) -> None:
    """As after `unpack`, while nothing is recorded."""
    trades = sent(range(100, 140))
    run = await claim(database, trades)
    await archive(database, trades[:20], run)
    await put(database, trades[20:])
    archiver = ArchiveLease(database)
    assert await archiver.hold(_MARKET) is not None
    with pytest.raises(StillRecorded):
        await remove(database, Span(_MARKET))
    assert await runs_of(database) == [(100, 139)]
    await archiver.release(_MARKET)
    await remove(database, Span(_MARKET))
    for name in ("trade_runs", "trade_chunks", "trade_events"):
        assert await all_of(database, name) == []


async def test_an_import_goes_but_not_what_others_have(database: Database) -> None:
    trades = sent(range(100, 160))
    await archive(database, trades[:30], await claim(database, trades[:30]))
    imported = await claim(database, trades[20:], origin=TradeOrigin.IMPORT)
    await archive(database, trades[30:], imported)
    span = Span(_MARKET, import_id=imported.id)
    found = await remove(database, span)
    assert (found.trades.trades, found.imports) == (30, [imported.id])
    assert await runs_of(database) == [(100, 129)]
    assert await chunks_of(database) == [100, 110, 120]
    await proven(database)
    with pytest.raises(NoSuchImport):
        await remove(database, span)


async def test_ids_of_imports_may_be_short_but_not_ambiguous(database: Database) -> None:
    for first_id in (100, 200):
        trades = sent(range(first_id, first_id + 10))
        run = await claim(database, trades, origin=TradeOrigin.IMPORT)
        await archive(database, trades, run)
    with pytest.raises(AmbiguousImport) as caught:
        await find_removal(database, Span(_MARKET, import_id="0"))
    assert "2 imports of BTCUSDT" in str(caught.value)
    assert "(10 trades, 2024-" in str(caught.value)
    with pytest.raises(NoSuchImport):
        await find_removal(database, Span(_MARKET, import_id="x"))


async def test_a_kill_at_any_call_leaves_what_can_be_proven(database: Database) -> None:
    """The same request goes on with it."""
    trades = sent(range(100, 160))
    for lives in range(100):
        await archive(database, trades, await claim(database, trades))
        try:
            await remove(Mortal(database, lives, after=True), between(125, 136))
        except Killed:
            await proven(database)
        else:
            break
        await remove(database, between(125, 136))
        assert (await proven(database)).trades == 40
        await remove(database, Span(_MARKET))
        assert (await runs_of(database), await chunks_of(database)) == ([], [])
        await database.motor.command("dropDatabase")
        database.prepared = False
    assert 3 < lives < 99
