"""Several desks on one program, on a local exchange and with a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.desk import NoticeAction
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.library import library_of_desk
from orderbook_desktop.desk.program import Program
from tests.storage.processes import eventually
from tests.unhurried import DESK_TIMES

pytestmark = [
    # The recorded feed finds a gap after a recording stopped and went on.
    pytest.mark.allows_log(r"WARNING .*book_feed: \w+: Update ids \d+ to \d+ are missing"),
    # The first look for this program's recording comes a moment before it is there.
    pytest.mark.allows_log(r"WARNING .*book_feed: \w+: no snapshot: Nothing records"),
    pytest.mark.allows_log(r"WARNING .*exchange\.stream\w*: The exchange at .* can't be reached"),
    pytest.mark.allows_log(r"WARNING .*symbol_list: no list of symbols"),
    pytest.mark.allows_log(r"WARNING .*catalogue: the symbols could not be loaded"),
]


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[Program]:
    program = Program(settings, times=DESK_TIMES)
    try:
        await program.start()
        yield program
    finally:
        await program.close()


def _desk(program: Program, symbol: str, kind: SourceKind = SourceKind.MONGO) -> LiveDesk:
    return LiveDesk(program, symbol=symbol, source_kind=kind)


def _is_synced(desk: LiveDesk, kind: SourceKind = SourceKind.MONGO) -> bool:
    status = desk.source.look().status
    return status.state is FeedState.SYNCED and status.source is kind


async def _until_it_goes_on(desk: LiveDesk) -> None:
    before = desk.source.look().book.last_update_id
    await eventually(lambda: _is_synced(desk) and desk.source.look().book.last_update_id > before)


def _recorded(program: Program) -> dict[str, bool]:
    """Return the recorded symbols, each with whether its recording is kept."""
    return {one.symbol: one.kept for one in program.recordings.statuses if one.wanted}


async def test_two_desks_share_a_program_and_nothing_else(settings: Settings) -> None:
    async with _running(settings) as program:
        first, second = _desk(program, "BTC/USDT"), _desk(program, "ETH/USDT")
        await eventually(lambda: _is_synced(first) and _is_synced(second))
        assert (first.source.market, second.source.market) == ("BTCUSDT", "ETHUSDT")
        assert _recorded(program) == {"BTC/USDT": False, "ETH/USDT": False}
        await eventually(lambda: bool(first.symbols))
        assert first.symbols is second.symbols
        assert first.symbol.tick_size
        assert second.symbol.tick_size

        # One desk goes to another symbol; the other desk goes on, and gets no notice.
        source, gaps = second.source, second.recording.counts.gaps
        first.select_symbol("SOL/USDT")
        assert second.source is source
        assert second.symbol.symbol == "ETH/USDT"
        assert [one.key for one in first.notices] == ["recording"]
        assert second.notices == []
        await eventually(lambda: _is_synced(first))
        await _until_it_goes_on(second)
        assert _recorded(program) == {"SOL/USDT": False, "ETH/USDT": False}

        # One desk closes; the other desk goes on.
        first.close()
        first.close()
        await _until_it_goes_on(second)
        assert _recorded(program) == {"ETH/USDT": False}
        assert second.recording.counts.gaps == gaps == 0
        second.close()
        assert program.recordings.statuses == []


async def test_two_desks_may_show_one_market(settings: Settings) -> None:
    async with _running(settings) as program:
        first = _desk(program, "BTC/USDT")
        second = _desk(program, "BTC/USDT", SourceKind.DIRECT)
        await eventually(lambda: _is_synced(first) and _is_synced(second, SourceKind.DIRECT))
        # Both desks have one switch, since there is one recording.
        second.set_recording(False)
        assert not first.recording.wanted
        first.set_recording(True)
        assert second.recording.wanted
        await eventually(lambda: first.recording.counts.events > 0)
        assert len(program.recordings.statuses) == 1
        assert first.library is second.library
        recorded = [("BTC/USDT", True)]
        await eventually(
            lambda: (
                recorded
                == [(entry.symbol, entry.is_recorded) for entry in first.library.entries or ()]
            )
        )
        # The symbol is still recorded, so there is no notice.
        second.select_symbol("ETH/USDT")
        assert second.notices == []
        assert _recorded(program) == {"BTC/USDT": False, "ETH/USDT": False}
        await eventually(lambda: second.recording.counts.events > 0)
        second.close()
        first.start_recording("BTC/USDT")
        first.close()
        assert _recorded(program) == {"BTC/USDT": True}


async def test_a_window_that_opens_later_knows_the_symbols(settings: Settings) -> None:
    async with _running(settings) as program:
        first = _desk(program, "BTC/USDT")
        await eventually(lambda: bool(first.symbols))
        second, third = _desk(program, "ethusdt"), _desk(program, "NO/NE")
        assert second.symbol.symbol == "ETH/USDT"
        assert second.symbol.tick_size
        assert "doesn't trade NO/NE" in third.notices[0].text
        third.close()
        # Events that wait for a starting database would be lost at the end, and logged.
        await eventually(
            lambda: first.recording.counts.events > 0 and second.recording.counts.events > 0
        )
        first.close()
        second.close()


async def test_notices_of_the_program_are_every_window_s(stranded: Settings) -> None:
    program = Program(stranded, times=DESK_TIMES)
    first, second = _desk(program, "BTC/USDT"), _desk(program, "ETH/USDT")
    program.report_bug(ZeroDivisionError())
    first.select_symbol("no such thing")
    assert [one.key for one in first.notices] == ["bug", "symbol"]
    assert [one.key for one in second.notices] == ["bug"]
    revisions = first.revision, second.revision
    second.dismiss("bug")
    assert [one.key for one in first.notices] == ["symbol"]
    assert first.revision > revisions[0]
    assert second.revision > revisions[1]
    first.close()
    second.close()
    await program.close()


async def test_all_desks_and_viewers_go_over_to_the_demo(stranded: Settings) -> None:
    async with _running(stranded) as program:
        first, second = _desk(program, "BTC/USDT"), _desk(program, "ETH/USDT")
        library = library_of_desk(second)
        assert library.default_symbol == "ETH/USDT"
        book = library.lend(library.find("ethusdt"))
        third = _desk(program, "SOL/USDT")
        third.close()
        second.set_recording(False)
        before = first.tiles
        assert before is not None
        assert before is second.tiles
        assert before.status.is_on
        before.switch(wanted=False)
        first.act(NoticeAction.START_DEMO)
        await eventually(lambda: program.demo and _is_synced(first))
        await eventually(lambda: _is_synced(second, SourceKind.DIRECT))
        await eventually(lambda: book.look().book is second.source.look().book)
        assert library.demo
        assert first.tiles is not before
        assert first.tiles is not None
        assert not first.tiles.status.is_on
        # Each window's switch is as before.
        assert first.recording.wanted
        assert not second.recording.wanted
        book.close()
        first.close()
        second.close()


@pytest.mark.expects_log(r"WARNING .*engine: BTCUSDT was still open \(leases: 1\)")
async def test_a_desk_that_was_forgotten_is_told(stranded: Settings) -> None:
    program = Program(stranded, times=DESK_TIMES)
    desk = _desk(program, "BTC/USDT")
    await program.close()
    desk.close()


async def test_what_is_asked_for_while_a_program_ends_is_not_read(stranded: Settings) -> None:
    program = Program(stranded)
    await program.start()
    answers: list[object] = []
    await program.close()
    # The window is closed later than the program.
    program.heatmaps.recorded("BTCUSDT", answers.append).cancel()
    assert not [task for task in asyncio.all_tasks() if "recorded" in task.get_name()]
    assert answers == []
