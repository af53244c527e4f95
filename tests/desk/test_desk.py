"""The desk behind a window, and its program, on a local exchange and with a real database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import repeat
from urllib.parse import urlsplit

import psutil
import pytest

from orderbook_desktop.app.settings import Settings, load_settings
from orderbook_desktop.core.desk import Desk, NoticeAction, NoticeLevel
from orderbook_desktop.core.status import FeedState, SourceKind, badge_for
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.program import Program
from orderbook_desktop.exchange.local import Fault, FaultKind
from orderbook_desktop.system.steady_clock import steady_ns
from tests.app.conftest import ExchangeThread
from tests.desk.one_desk import end, one_desk, running
from tests.leaks import OwnChildren
from tests.storage.processes import eventually

pytestmark = [
    pytest.mark.allows_log(r"WARNING .*stream_group: the exchange's streams: "),
    # The recorded feed finds a gap after a recording stopped and went on.
    pytest.mark.allows_log(r"WARNING .*book_feed: \w+: Update ids \d+ to \d+ are missing"),
    # The first look for this program's recording comes a moment before it is there.
    pytest.mark.allows_log(r"WARNING .*book_feed: \w+: no snapshot: Nothing records"),
    pytest.mark.allows_log(r"WARNING .*exchange\.stream\w*: The exchange at .* can't be reached"),
    pytest.mark.allows_log(r"WARNING .*symbol_list: no list of symbols"),
    pytest.mark.allows_log(r"WARNING .*catalogue: the symbols could not be loaded"),
]


@asynccontextmanager
async def _desk(
    settings: Settings,
    symbol: str = "BTC/USDT",
    kind: SourceKind = SourceKind.MONGO,
    *,
    demo: bool = False,
) -> AsyncIterator[LiveDesk]:
    async with running(one_desk(settings, symbol, kind, recents=["SOL/USDT"], demo=demo)) as desk:
        yield desk


_until = eventually


def _is_synced(desk: LiveDesk, kind: SourceKind) -> bool:
    status = desk.source.look().status
    return status.state is FeedState.SYNCED and status.source is kind


def _texts(desk: LiveDesk) -> str:
    return " ".join(notice.text for notice in desk.notices)


async def test_what_is_shown_is_what_is_recorded(settings: Settings) -> None:
    async with _desk(settings) as desk:
        assert desk.symbol.symbol == "BTC/USDT"
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        assert len(desk.source.look().book.bids().prices) > 0
        await _until(lambda: desk.recording.counts.events > 0 and bool(desk.symbols))
        assert desk.recording.wanted
        assert desk.symbol.tick_size > 0
        assert desk.recents == ["BTC/USDT", "SOL/USDT"]
        assert desk.notices == []


async def test_switching_shows_nothing_of_the_old_symbol(settings: Settings) -> None:
    async with _desk(settings, kind=SourceKind.DIRECT) as desk:
        await _until(lambda: _is_synced(desk, SourceKind.DIRECT))
        before, revision = desk.source, desk.revision
        desk.select_symbol("ethusdt")
        assert desk.symbol.symbol == "ETH/USDT"
        assert desk.source is not before
        assert desk.source.market == "ETHUSDT"
        assert desk.source.look().book.last_update_id == 0
        assert desk.source.look().status.state is not FeedState.SYNCED
        assert desk.revision > revision
        assert desk.recents[:2] == ["ETH/USDT", "BTC/USDT"]
        await _until(lambda: _is_synced(desk, SourceKind.DIRECT))
        # Events that wait for a starting database would be lost at the end, and logged.
        await _until(lambda: desk.recording.counts.events > 0)


async def test_each_change_of_the_book_on_screen_is_told(settings: Settings) -> None:
    async with _desk(settings, kind=SourceKind.DIRECT) as desk:
        told: list[tuple[str, int]] = []

        def note() -> None:
            told.append((desk.source.market, desk.source.look().book.last_update_id))

        desk.call_on_change(note)
        await _until(lambda: any(update_id for _, update_id in told))
        desk.select_symbol("ethusdt")
        assert told[-1] == ("ETHUSDT", 0)
        await _until(lambda: told[-1][1] > 0)
        count = len(told)
        desk.select_source(SourceKind.MONGO)
        assert len(told) == count + 1
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        desk.call_on_change(None)
        told.clear()
        before = desk.source.look().book.last_update_id
        await _until(lambda: desk.source.look().book.last_update_id > before)
        assert not told


async def test_many_quick_switches_end_with_the_last_one(settings: Settings) -> None:
    async with _desk(settings) as desk:
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        for _ in range(5):
            for symbol in ("ETH/USDT", "BTC/USDT", "SOL/USDT", "BTC/USDT"):
                desk.select_symbol(symbol)
            await asyncio.sleep(0)
        assert desk.source.market == "BTCUSDT"
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        first = desk.source.look().book.last_update_id
        await _until(lambda: desk.source.look().book.last_update_id > first)
        assert desk.notices == []


async def test_source_and_recording_are_switched(settings: Settings) -> None:
    async with _desk(settings) as desk:
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        desk.select_source(SourceKind.DIRECT)
        assert _is_synced(desk, SourceKind.DIRECT)
        desk.select_source(SourceKind.MONGO)
        assert _is_synced(desk, SourceKind.MONGO)
        desk.set_recording(False)
        assert not desk.recording.wanted
        # Without a recording, the exchange's book goes on without a break.
        assert _is_synced(desk, SourceKind.DIRECT)
        await _until(lambda: desk.recording.waiting == 0)
        recorded = desk.recording.counts.events
        desk.select_symbol("ETH/USDT")
        assert not desk.recording.wanted
        desk.select_symbol("BTC/USDT")
        desk.set_recording(True)
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        assert desk.recording.counts.events >= recorded


async def test_a_symbol_that_is_none_leaves_everything(settings: Settings) -> None:
    async with _desk(settings, kind=SourceKind.DIRECT) as desk:
        await _until(lambda: bool(desk.symbols))
        source = desk.source
        for typed in ("no such thing", "NO/NE"):
            desk.select_symbol(typed)
            assert desk.source is source
            assert f"{typed} is not a traded symbol" in _texts(desk)
        desk.dismiss("symbol")
        assert desk.notices == []
        desk.select_symbol("NO/NE")
        assert "NO/NE is not a traded symbol, or not any more." in _texts(desk)
        # Events that wait for a starting database would be lost at the end, and logged.
        await _until(lambda: desk.recording.counts.events > 0)


async def test_another_exchange_than_the_usual_one_is_named(stranded: Settings) -> None:
    desk = one_desk(stranded)
    assert desk.exchange == urlsplit(stranded.rest_url).netloc
    await end(desk)
    usual = load_settings(data_dir=str(stranded.data_dir))
    desk = one_desk(usual)
    assert desk.exchange == ""
    await end(desk)


@pytest.mark.parametrize("logged", ["/data/logs/x.log", ""])
async def test_a_fault_of_ours_is_told_with_the_place_of_the_log(
    stranded: Settings, logged: str
) -> None:
    desk = one_desk(stranded, current_log=lambda: logged)
    desk.program.report_bug(ZeroDivisionError())
    (notice,) = desk.notices
    assert f"(ZeroDivisionError); the details are in {logged or 'the log'}." in notice.text
    await end(desk)


async def test_half_a_symbol_is_no_symbol_while_the_list_is_unknown(stranded: Settings) -> None:
    async with _desk(stranded, kind=SourceKind.DIRECT) as desk:
        desk.set_recording(False)
        desk.select_symbol("eth")
        assert desk.symbol.symbol == "BTC/USDT"
        assert "eth is not a traded symbol; write one as BTC/USDT." in _texts(desk)
        desk.start_recording("eth")
        assert desk.recordings == []
        desk.select_symbol("ethusdt")
        assert desk.symbol.symbol == "ETH/USDT"


@pytest.mark.allows_log(r"WARNING .*(rest: HTTP 400|book_feed: NONE: no snapshot)")
async def test_a_remembered_symbol_that_is_traded_no_more_is_told(settings: Settings) -> None:
    async with _desk(settings, symbol="NO/NE") as desk:
        await _until(lambda: "doesn't trade NO/NE" in _texts(desk))
        await _until(lambda: desk.source.look().status.state is FeedState.NOT_TRADED)
        assert "doesn't trade this symbol" in desk.recording.problem
        desk.select_symbol("BTC/USDT")
        assert desk.notices == []


@pytest.mark.allows_log(r"WARNING .*(rest: HTTP 400|book_feed: NONE: no snapshot)")
async def test_the_demo_is_offered_accepted_and_falls_back(stranded: Settings) -> None:
    async with _desk(stranded, symbol="NO/NE") as desk:
        offers = NoticeAction.START_DEMO
        await _until(lambda: any(one.action is offers for one in desk.notices))
        assert not desk.demo
        desk.act(offers)
        desk.act(offers)
        await _until(lambda: desk.demo)
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        assert desk.symbol.symbol == "BTC/USDT"
        assert desk.recents == ["BTC/USDT", "NO/NE", "SOL/USDT"]
        assert desk.exchange == ""
        assert "The demo has no NO/NE; this is BTC/USDT." in _texts(desk)
        assert all(one.level is NoticeLevel.INFORMATION for one in desk.notices)


async def test_the_change_to_the_demo_keeps_the_switch_on(stranded: Settings) -> None:
    async with _desk(stranded) as desk:
        seen = set()
        known_when_told = set()
        desk.call_on_change(lambda: known_when_told.add(desk.source.look().book.last_update_id > 0))

        def is_there() -> bool:
            seen.add(desk.recording.wanted)
            return desk.demo and desk.recording.counts.events > 0

        desk.act(NoticeAction.START_DEMO)
        await _until(is_there)
        assert seen == {True}
        assert True in known_when_told
        desk.set_recording(False)
        assert not desk.recording.wanted


async def test_the_demo_is_left_as_it_was_entered(
    settings: Settings, own_children: OwnChildren
) -> None:
    """What was shown and recorded before the demo is shown and recorded after it."""
    async with _desk(settings) as desk:
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        desk.start_recording("SOL/USDT")
        desk.start_recording("BTC/USDT")
        desk.stop_recording("BTC/USDT")
        desk.select_symbol("ETH/USDT")
        desk.select_source(SourceKind.DIRECT)
        desk.set_recording(False)
        await _until(lambda: _is_synced(desk, SourceKind.DIRECT))
        before = _choices(desk)
        assert before == (
            *("ETH/USDT", SourceKind.DIRECT, ["ETH/USDT", "BTC/USDT", "SOL/USDT"], False),
            {"SOL/USDT": True, "BTC/USDT": False},
        )
        children = set(own_children())
        desk.act(NoticeAction.START_DEMO)
        await _until(lambda: desk.demo and _is_synced(desk, SourceKind.DIRECT))
        desk.select_symbol("SOL/USDT")
        desk.select_source(SourceKind.MONGO)
        desk.set_recording(True)
        desk.start_recording("BTC/USDT")
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        desk.act(NoticeAction.LEAVE_DEMO)
        desk.act(NoticeAction.LEAVE_DEMO)
        await _until(lambda: not desk.demo)
        assert _choices(desk) == before
        await _until(lambda: _is_synced(desk, SourceKind.DIRECT))
        assert desk.program.engine.settings.rest_url == settings.rest_url
        assert _texts(desk) == ""
        # The demo's exchange and its server have ended; the desk's server was started anew.
        assert len(set(own_children()) - children) <= 1
        # Neither is the way back the last way.
        desk.act(NoticeAction.START_DEMO)
        await _until(lambda: desk.demo and _is_synced(desk, SourceKind.DIRECT))


def _choices(desk: LiveDesk) -> tuple[str, SourceKind, list[str], bool, dict[str, bool]]:
    kept = {one.symbol: one.wanted for one in desk.recordings if one.kept}
    recents = list(desk.recents)
    return desk.symbol.symbol, desk.source_kind, recents, desk.recording.wanted, kept


async def test_a_program_that_began_with_the_demo_leads_to_the_exchange(settings: Settings) -> None:
    desk = one_desk(
        settings, "XRP/USDT", recents=["ADA/USDT"], recordings={"ETH/USDT": True}, demo=True
    )
    async with running(desk):
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        assert desk.recordings[0].symbol != "ETH/USDT"
        desk.act(NoticeAction.LEAVE_DEMO)
        await _until(lambda: not desk.demo)
        symbol, _, recents, _, kept = _choices(desk)
        assert (symbol, recents) == ("XRP/USDT", ["XRP/USDT", "ADA/USDT"])
        assert kept == {"ETH/USDT": True}


async def test_the_log_says_what_the_user_did(
    stranded: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Each command of a desk is in the log as information, but for reading a notice."""
    given: dict[str, Callable[[LiveDesk], None]] = {
        "select_symbol": lambda desk: desk.select_symbol("ETH/USDT"),
        "select_source": lambda desk: desk.select_source(SourceKind.DIRECT),
        "start_replay": lambda desk: desk.start_replay("SOL/USDT"),
        "leave_replay": lambda desk: desk.leave_replay(),
        "set_recording": lambda desk: desk.set_recording(False),
        "start_recording": lambda desk: desk.start_recording("SOL/USDT"),
        "stop_recording": lambda desk: desk.stop_recording("SOL/USDT"),
        "remove_recording": lambda desk: desk.remove_recording("SOL/USDT"),
        "set_connections": lambda desk: desk.set_connections(2),
        "record_here": lambda desk: desk.record_here("SOL/USDT", True),
        "act": lambda desk: desk.act(NoticeAction.USE_DIRECT),
        "retry": lambda desk: desk.retry("exchange"),
    }
    commands = {name for name in vars(Desk) if not name.startswith("_")} - {
        *(name for name, member in vars(Desk).items() if isinstance(member, property)),
        *("next_attempt", "dismiss", "call_on_change", "recorded_gaps"),
    }
    assert set(given) == commands
    async with _desk(stranded) as desk:
        for name, command in given.items():
            with caplog.at_level(logging.INFO, "orderbook_desktop.desk"):
                caplog.clear()
                command(desk)
            lines = [one for one in caplog.records if one.getMessage().startswith("user: ")]
            assert [one.levelname for one in lines] == ["INFO"], name
            on_screen = ("set_recording", "select_symbol", "leave_replay")
            symbol = "ETH/USDT" if name in on_screen else ""
            assert symbol in lines[0].getMessage()


async def test_an_attempt_is_counted_down_and_made_at_once(
    stranded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of itself, no second attempt would be made within an hour.
    delays = lambda *_args, **_options: repeat(3_600.0)  # noqa: E731
    for module in ("exchange.stream_group", "desk.symbol_list"):
        monkeypatch.setattr(f"orderbook_desktop.{module}.backoff_delays", delays)
    async with _desk(stranded) as desk:
        await _until(lambda: any(notice.key == "exchange" for notice in desk.notices))
        await _until(lambda: desk.next_attempt("exchange") is not None)
        (wait,) = desk.program.engine.streams.waits
        due_ns = wait.due_ns
        attempt = desk.next_attempt("exchange")
        assert attempt is not None
        assert 3_000 < attempt.in_s <= 3_600
        assert not attempt.fixed
        assert desk.next_attempt("database") is None
        assert desk.next_attempt("elsewhere") is None
        desk.retry("exchange")
        await _until(lambda: wait.due_ns > due_ns)


@pytest.mark.expects_log(r"ERROR .*program: The demo's exchange does not run")
async def test_a_demo_that_fails_never_leads_to_the_exchange(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderbook_desktop.desk.demo_exchange.program", lambda: ["/nonexistent"])
    async with _desk(settings, demo=True) as desk:
        await _until(lambda: "does not run" in _texts(desk))
        assert desk.demo
        desk.select_symbol("ETH/USDT")
        assert desk.source.look().status.state is FeedState.SYNCING
        assert desk.symbols == []


@pytest.mark.parametrize("begun", [0.0, 0.2, 0.5])
# Events that come while the database starts can't be written if the program ends first.
@pytest.mark.allows_log(r"ERROR .*recorder: \d+ events could not be written before the end")
async def test_it_closes_while_the_demo_starts(
    stranded: Settings, begun: float, own_children: OwnChildren
) -> None:
    async with _desk(stranded, demo=True) as desk:
        assert desk.demo
        # The sleep waits for nothing: it tries different moments of the start.
        await asyncio.sleep(begun)
        children = own_children()
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.expects_log(r"WARNING .*engine: no database: The database at mongodb://127.0.0.1:1/")
@pytest.mark.allows_log(r"(ERROR|WARNING) .*recorder: \d+ events could not be written")
async def test_without_a_database_the_exchange_stands_in(settings: Settings) -> None:
    nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300"
    away = settings.model_copy(update={"mongo_dsn": nowhere})
    async with _desk(away) as desk:
        await _until(lambda: desk.source.look().status.state is FeedState.DATABASE_AWAY)
        assert len(desk.source.look().book.bids().prices) > 0
        await _until(lambda: bool(desk.notices))
        (notice,) = desk.notices
        assert notice.action is NoticeAction.USE_DIRECT
        desk.act(notice.action)
        assert _is_synced(desk, SourceKind.DIRECT)
        desk.set_recording(False)
        await _until(lambda: not desk.notices)


@pytest.mark.allows_log(r"WARNING .*market_sink: BTCUSDT: gap in the recording")
async def test_a_broken_connection_is_mended(settings: Settings, exchange: ExchangeThread) -> None:
    async with _desk(settings) as desk:
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        exchange.inject(Fault(kind=FaultKind.DISCONNECT))
        await _until(lambda: desk.source.look().status.state is FeedState.RECONNECTING)
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        assert desk.recording.counts.gaps == 1


@pytest.mark.expects_log(r"ERROR .*tasks: list of symbols ended unexpectedly")
async def test_a_bug_in_the_background_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_self: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Program, "_until_book", fail)
    async with _desk(settings) as desk:
        await _until(lambda: "ZeroDivisionError" in _texts(desk))
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))


@pytest.mark.allows_log(r"WARNING .*")
async def test_while_the_database_is_frozen_the_exchange_s_book_is_shown_as_late(
    settings: Settings, own_children: OwnChildren
) -> None:
    async with _desk(settings) as desk:
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        frozen = own_children()
        assert frozen
        for process in frozen:
            process.suspend()
        try:
            await _until(lambda: desk.source.look().status.state is FeedState.DATABASE_LATE)
            look = desk.source.look()
            assert look.status.source is SourceKind.DIRECT
            assert badge_for(look.status, steady_ns()).is_current
            before = look.book.last_update_id
            await _until(lambda: desk.source.look().book.last_update_id > before)
        finally:
            for process in frozen:
                process.resume()
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))


@pytest.mark.allows_log(r"WARNING .*market_sink: BTCUSDT: gap in the recording")
async def test_the_last_book_stays_through_an_outage(
    settings: Settings, exchange: ExchangeThread
) -> None:
    async with _desk(settings) as desk:
        await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        exchange.inject(Fault(kind=FaultKind.REFUSE, seconds=2))
        exchange.inject(Fault(kind=FaultKind.DISCONNECT))
        await _until(lambda: desk.source.look().book.last_update_id == 0)
        while (look := desk.source.look()).book.last_update_id == 0:
            # Neither blank nor current, at any moment of the outage and of the loading after it.
            assert look.last is not None
            assert len(look.last.bids.prices) > 0
            badge = badge_for(look.status, steady_ns())
            assert not badge.is_current
            assert badge.age_ms is not None
            await asyncio.sleep(0.01)
        assert desk.source.look().last is None
