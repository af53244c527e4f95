"""What a desk plays: opened in the background, shown once it is there, closed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.desk import TradePage
from orderbook_desktop.core.library import NotOffered, unlisted
from orderbook_desktop.core.replay import Coverage, Replay
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.timeline import Gap, Timeline
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.library import library_of_desk
from orderbook_desktop.desk.program import Program
from orderbook_desktop.desk.replaying import OpenedReplay, ReplayWish
from orderbook_desktop.engine.trade_history import TradesUnreadable
from tests.gui.fake_heatmaps import FakeHeatmaps
from tests.gui.fake_replay import FakeReplay
from tests.storage.processes import eventually
from tests.unhurried import DESK_TIMES


class NoTrades:
    """A `GappyHistory` without trades."""

    async def before(self, market: str, trade_id: int, count: int) -> list[Trade]:
        del market, trade_id, count
        return []

    async def after(self, market: str, trade_id: int, count: int) -> list[Trade]:
        del market, trade_id, count
        return []

    async def gaps(self, market: str) -> list[TradeGap]:
        del market
        return []


class Shelf:
    """Opens recordings by hand: `ready` says when, and `missing` which are not there."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.missing: set[str] = set()
        self.opened: list[ReplayWish] = []
        self.closed: list[str] = []
        self.replay: FakeReplay | None = None
        self.remark = ""
        self.heatmaps: FakeHeatmaps | None = None

    @asynccontextmanager
    async def open(self, wish: ReplayWish) -> AsyncIterator[OpenedReplay]:
        await self.ready.wait()
        if wish.info.symbol in self.missing:
            raise NotOffered(wish.info.symbol, "nothing of it is recorded")
        self.opened.append(wish)
        self.replay = FakeReplay(wish.info.symbol)
        try:
            yield OpenedReplay(self.replay, NoTrades(), self.remark, self.heatmaps)
        finally:
            self.closed.append(wish.info.symbol)


@pytest.fixture
async def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def opening_told_s() -> float:
    """After how long a recording is told as being opened."""
    return DESK_TIMES.opening_told_s


@pytest.fixture
async def desk(
    stranded: Settings, shelf: Shelf, opening_told_s: float, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LiveDesk]:
    """A desk whose program follows nothing."""
    monkeypatch.setattr(Program, "has_begun", True)
    program = Program(stranded, times=replace(DESK_TIMES, opening_told_s=opening_told_s))
    desk = LiveDesk(
        program, symbol="BTC/USDT", source_kind=SourceKind.DIRECT, open_replay=shelf.open
    )
    yield desk
    desk.close()
    await program.close()


async def _play(desk: LiveDesk, symbol: str | None = None) -> Replay:
    desk.start_replay(symbol)
    await eventually(lambda: desk.replay is not None)
    assert desk.replay is not None
    return desk.replay


async def test_live_stays_on_screen_until_the_recording_is_open(
    desk: LiveDesk, shelf: Shelf
) -> None:
    shelf.ready.clear()
    live, revision = desk.source, desk.revision
    desk.start_replay(at=7)
    await asyncio.sleep(0)
    assert (desk.replay, desk.source, desk.revision) == (None, live, revision)
    shelf.ready.set()
    await eventually(lambda: desk.replay is not None)
    assert desk.source is desk.replay
    assert desk.revision > revision
    assert [(wish.info.symbol, wish.at) for wish in shelf.opened] == [("BTC/USDT", 7)]


async def test_the_live_book_is_back_at_once(desk: LiveDesk, shelf: Shelf) -> None:
    live = desk.source
    await _play(desk)
    desk.leave_replay()
    assert (desk.replay, desk.source, desk.notices) == (None, live, [])
    await eventually(lambda: shelf.closed == ["BTC/USDT"])


async def test_a_change_of_the_book_is_told(desk: LiveDesk, shelf: Shelf) -> None:
    told: list[str] = []
    desk.call_on_change(lambda: told.append(desk.source.market))
    await _play(desk, "ETH/USDT")
    told.clear()
    assert shelf.replay is not None
    assert shelf.replay.changed is not None
    shelf.replay.changed()
    assert told == ["ETHUSDT"]


async def test_the_latest_wish_counts(desk: LiveDesk, shelf: Shelf) -> None:
    shelf.ready.clear()
    for at in (1, 2, 3):
        desk.start_replay(at=at)
    shelf.ready.set()
    await eventually(lambda: desk.replay is not None)
    assert [wish.at for wish in shelf.opened] == [3]


async def test_another_recording_takes_the_place_of_the_one_that_is_played(
    desk: LiveDesk, shelf: Shelf
) -> None:
    first = await _play(desk)
    desk.start_replay("ETH/USDT")
    assert desk.replay is first
    await eventually(lambda: desk.replay is not first)
    assert desk.replay is shelf.replay
    assert (desk.symbol.symbol, desk.live_symbol.symbol) == ("ETH/USDT", "BTC/USDT")
    await eventually(lambda: shelf.closed == ["BTC/USDT"])


async def test_to_leave_before_it_is_open_opens_nothing(desk: LiveDesk, shelf: Shelf) -> None:
    shelf.ready.clear()
    desk.start_replay()
    desk.leave_replay()
    shelf.ready.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (desk.replay, shelf.opened) == (None, [])


async def test_what_is_not_recorded_is_told_and_nothing_changes(
    desk: LiveDesk, shelf: Shelf
) -> None:
    shelf.missing = {"ETH/USDT"}
    played = await _play(desk)
    desk.select_symbol("ETH/USDT")
    await eventually(lambda: bool(desk.notices))
    assert desk.replay is played
    assert desk.symbol.symbol == "BTC/USDT"
    assert [notice.text for notice in desk.notices] == [
        "ETH/USDT cannot be shown: nothing of it is recorded."
    ]
    desk.leave_replay()
    assert desk.notices == []


async def test_a_symbol_selected_in_the_replay_is_played_alike_and_is_live_after_it(
    desk: LiveDesk, shelf: Shelf
) -> None:
    await _play(desk)
    assert shelf.replay is not None
    shelf.replay.status = replace(
        shelf.replay.status, at_ns=42, speed=5_000, is_playing=True, skips_gaps=True
    )
    desk.select_symbol("ETH/USDT")
    await eventually(lambda: len(shelf.opened) == 2)
    assert (shelf.opened[1].info.symbol, shelf.opened[1].at) == ("ETH/USDT", 42)
    commands = shelf.replay.commands
    assert ("set_speed", 5_000) in commands
    assert ("set_skips", False, True) in commands
    assert commands[-1] == ("play",)
    assert (desk.symbol.symbol, desk.live_symbol.symbol) == ("ETH/USDT", "BTC/USDT")
    desk.leave_replay()
    assert (desk.symbol.symbol, desk.live_symbol.symbol) == ("ETH/USDT", "ETH/USDT")


async def test_the_end_of_the_engine_ends_the_replay_and_says_so(
    desk: LiveDesk, shelf: Shelf
) -> None:
    await _play(desk)
    # As a change to the demo does.
    await desk.program._jobs.close()
    assert desk.replay is None
    assert shelf.closed == ["BTC/USDT"]
    desk.begin_anew()
    assert [notice.text for notice in desk.notices] == [
        "The replay has ended, because another market is shown."
    ]
    desk.begin_anew()
    assert desk.notices == []


async def test_what_is_wished_for_before_the_engine_runs_is_played_by_it(
    desk: LiveDesk, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `--demo --replay`, whose database comes with the demo's exchange."""
    monkeypatch.setattr(Program, "has_begun", False)
    desk.start_replay(at=7)
    await asyncio.sleep(0)
    assert shelf.opened == []
    desk.begin_anew()
    await eventually(lambda: desk.replay is not None)
    assert [wish.at for wish in shelf.opened] == [7]
    desk.start_replay(at=8)
    desk.leave_replay()
    desk.begin_anew()
    await asyncio.sleep(0)
    assert [wish.at for wish in shelf.opened] == [7]


async def test_a_remark_about_the_moment_is_a_notice_until_the_end(
    desk: LiveDesk, shelf: Shelf
) -> None:
    shelf.remark = "Nothing is recorded then."
    await _play(desk)
    assert [notice.text for notice in desk.notices] == [shelf.remark]
    desk.leave_replay()
    assert desk.notices == []


async def test_browsers_see_the_replay_of_its_market_and_other_markets_live(
    desk: LiveDesk, shelf: Shelf
) -> None:
    library = library_of_desk(desk)
    lent, other = (library.lend(unlisted(symbol)) for symbol in ("BTC/USDT", "ETH/USDT"))
    try:
        assert lent.look().replay is None
        await _play(desk)
        assert shelf.replay is not None
        assert lent.look().replay == shelf.replay.status
        assert other.look().replay is None
        assert await library.trades.before("BTCUSDT", 9, 9) == []
        assert await library.trades.after("BTCUSDT", 9, 9) == []
        # The database of the program is not there.
        with pytest.raises(TradesUnreadable):
            await library.trades.before("ETHUSDT", 9, 9)
        desk.leave_replay()
        assert lent.look().replay is None
        with pytest.raises(TradesUnreadable):
            await library.trades.after("BTCUSDT", 9, 9)
    finally:
        lent.close()
        other.close()


async def test_browsers_see_the_gaps_of_the_file_that_is_played(
    desk: LiveDesk, shelf: Shelf
) -> None:
    library = library_of_desk(desk)
    symbols = unlisted("BTC/USDT"), unlisted("ETH/USDT")
    await _play(desk)
    assert shelf.replay is not None
    gap = Gap(1_000, 2_000, 11, 20, GapCause.DISCONNECT, "")
    shelf.replay.coverage = Coverage(Timeline((), (gap,)))
    of_database = [library.recorded_gaps(one) for one in symbols]
    shelf.replay.status = replace(shelf.replay.status, file="day.obd")
    shown, other = (library.recorded_gaps(one) for one in symbols)
    assert shown is not None
    assert (shown.gaps, shown.in_session) == ((gap,), 0)
    # A page is sent nothing while they are the same.
    assert library.recorded_gaps(symbols[0]) is shown
    assert other is of_database[1]
    desk.leave_replay()
    assert library.recorded_gaps(symbols[0]) == of_database[0]


async def test_pages_of_trades_are_those_of_what_is_on_screen(desk: LiveDesk, shelf: Shelf) -> None:
    live, pages = desk.trade_pages, list[TradePage]()
    await _play(desk)
    assert desk.trade_pages is not live
    desk.trade_pages.before("BTCUSDT", 9, 9, pages.append)
    await eventually(lambda: bool(pages))
    assert pages == [TradePage([], [])]
    desk.leave_replay()
    assert desk.trade_pages is live


async def test_heatmaps_are_those_of_the_file_on_screen(desk: LiveDesk, shelf: Shelf) -> None:
    live = desk.heatmaps
    await _play(desk)
    assert desk.heatmaps is live
    shelf.heatmaps = FakeHeatmaps()
    desk.start_replay()
    await eventually(lambda: desk.heatmaps is shelf.heatmaps)
    desk.leave_replay()
    assert desk.heatmaps is live


@pytest.mark.parametrize("opening_told_s", [0.0])
async def test_a_recording_that_takes_long_to_open_is_told(desk: LiveDesk, shelf: Shelf) -> None:
    shelf.ready.clear()
    desk.start_replay()
    await eventually(lambda: bool(desk.notices))
    assert [notice.text for notice in desk.notices] == ["Opening the recording of BTC/USDT…"]
    shelf.ready.set()
    await eventually(lambda: desk.replay is not None)
    assert desk.notices == []
    shelf.ready.clear()
    desk.start_replay("ETH/USDT")
    await eventually(lambda: bool(desk.notices))
    desk.leave_replay()
    assert desk.notices == []


@pytest.mark.parametrize("opening_told_s", [0.01])
async def test_the_end_of_the_engine_ends_the_opening(desk: LiveDesk, shelf: Shelf) -> None:
    shelf.ready.clear()
    desk.start_replay()
    await asyncio.sleep(0)
    await desk.program._jobs.close()
    desk.begin_anew()
    await asyncio.sleep(0.03)
    assert (desk.replay, desk.notices) == (None, [])
