"""Several recordings behind one window: kept recordings go on while other symbols are shown."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.desk import Connections, NoticeLevel
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.core.units import Scale
from orderbook_desktop.desk import desk as desk_module
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.settings import DeskTimes, FollowTimes
from orderbook_desktop.exchange.local import SyntheticSource
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import owner_document
from orderbook_desktop.storage.store.recorder_states import OtherRecorders
from tests.desk.one_desk import end, one_desk, running
from tests.storage.processes import eventually
from tests.storage.shelf import Shelf, resealed, whole_document
from tests.unhurried import DESK_TIMES

pytestmark = [
    pytest.mark.allows_log(r"WARNING .*stream_group: the exchange's streams: "),
    pytest.mark.allows_log(r"WARNING .*book_feed: \w+: Update ids \d+ to \d+ are missing"),
    pytest.mark.allows_log(r"WARNING .*book_feed: \w+: no snapshot: Nothing records"),
]

RECORDING = RecordingState.RECORDING


@asynccontextmanager
async def _desk(
    settings: Settings,
    recordings: Mapping[str, bool] | None = None,
    *,
    here_too: Sequence[str] = (),
    demo: bool = False,
    times: DeskTimes = DESK_TIMES,
) -> AsyncIterator[LiveDesk]:
    desk = one_desk(settings, recordings=recordings, here_too=here_too, demo=demo, times=times)
    async with running(desk):
        yield desk


_until = eventually


def _row(desk: LiveDesk, symbol: str) -> RecordingStatus:
    return next(one for one in desk.recordings if one.symbol == symbol)


def _is_synced(desk: LiveDesk, kind: SourceKind) -> bool:
    status = desk.source.look().status
    return status.state is FeedState.SYNCED and status.source is kind


def _rows(desk: LiveDesk) -> dict[str, tuple[bool, bool]]:
    """Return for each symbol whether its recording is kept, and whether it is to run."""
    return {one.symbol: (one.kept, one.wanted) for one in desk.recordings}


async def _until_recorded(desk: LiveDesk, symbol: str, more: int = 1) -> None:
    goal = _row(desk, symbol).counts.events + more
    await _until(lambda: _row(desk, symbol).counts.events >= goal)


async def test_the_symbol_on_screen_is_recorded_as_long_as_it_is_there(settings: Settings) -> None:
    async with _desk(settings) as desk:
        assert _rows(desk) == {"BTC/USDT": (False, True)}
        await _until_recorded(desk, "BTC/USDT")
        await _until(lambda: _row(desk, "BTC/USDT").rate > 0)
        # Events that wait for their book are recorded, too.
        await _until(lambda: _row(desk, "BTC/USDT").state is RECORDING)
        row = _row(desk, "BTC/USDT")
        assert row.since_ms > 0
        assert row.lag_ms is not None
        assert row.counts.payload_bytes > row.counts.events > 0
        shown = desk.recording
        assert (shown.symbol, shown.kept, shown.since_ms) == ("BTC/USDT", False, row.since_ms)
        assert shown.lag_ms is not None
        assert shown.rate > 0
        desk.start_recording("BTC/USDT")
        assert desk.recording.kept
        desk.remove_recording("BTC/USDT")
        assert not desk.recording.kept
        desk.select_symbol("ETH/USDT")
        assert _rows(desk) == {"ETH/USDT": (False, True)}
        desk.set_recording(False)
        assert _rows(desk) == {}


async def test_leaving_a_symbol_makes_a_notice_that_offers_to_keep_it(settings: Settings) -> None:
    async with _desk(settings) as desk:
        await _until_recorded(desk, "BTC/USDT")
        desk.select_symbol("ETH/USDT")
        (notice,) = desk.notices
        assert notice.level is NoticeLevel.INFORMATION
        assert notice.text == (
            "BTC/USDT is no longer recorded; ETH/USDT is, while it is on screen."
        )
        assert notice.action_text == "Keep recording BTC/USDT"
        desk.act(notice.action)
        assert desk.notices == []
        assert _rows(desk) == {"BTC/USDT": (True, True), "ETH/USDT": (False, True)}
        await _until_recorded(desk, "ETH/USDT")
        desk.start_recording("ETH/USDT")
        desk.select_symbol("BTC/USDT")
        desk.select_symbol("SOL/USDT")
        # Both recordings are kept, so none has ended.
        assert desk.notices == []
        desk.set_recording(False)
        desk.select_symbol("BNB/USDT")
        assert desk.notices == []
        await _until_recorded(desk, "BTC/USDT")


async def test_a_kept_recording_goes_on_while_another_symbol_is_on_screen(
    settings: Settings,
) -> None:
    async with _desk(settings) as desk:
        revision = desk.revision
        desk.start_recording("ethusdt")
        assert desk.revision > revision
        assert _rows(desk) == {"ETH/USDT": (True, True), "BTC/USDT": (False, True)}
        await _until_recorded(desk, "ETH/USDT")
        since_ms = _row(desk, "ETH/USDT").since_ms
        for symbol in ("ETH/USDT", "SOL/USDT", "ETH/USDT", "BTC/USDT"):
            desk.select_symbol(symbol)
            assert desk.recording.wanted
            assert set(_rows(desk)) == {"ETH/USDT", symbol}
            await _until_recorded(desk, "ETH/USDT")
        assert _row(desk, "ETH/USDT").since_ms == since_ms
        assert _row(desk, "ETH/USDT").counts.gaps == 0
        desk.set_recording(False)
        assert _rows(desk) == {"ETH/USDT": (True, True)}
        await _until_recorded(desk, "ETH/USDT")
    # A window that looks once more remembers that the recording is to run again.
    assert _rows(desk) == {"ETH/USDT": (True, True)}


async def test_what_is_recorded_anyway_can_be_looked_at_again_and_again(
    settings: Settings,
) -> None:
    async with _desk(settings, {"ETH/USDT": True}) as desk:
        for _ in range(2):
            desk.select_symbol("ETH/USDT")
            await _until(lambda: _is_synced(desk, SourceKind.MONGO))
            shown = desk.source.look().book.last_update_id
            await _until(lambda shown=shown: desk.source.look().book.last_update_id > shown)  # type: ignore[misc]
            desk.select_symbol("BTC/USDT")
            await _until(lambda: _is_synced(desk, SourceKind.MONGO))
        assert desk.notices == []


async def test_a_symbol_on_screen_is_kept_without_a_break(settings: Settings) -> None:
    async with _desk(settings) as desk:
        await _until_recorded(desk, "BTC/USDT")
        before = _row(desk, "BTC/USDT")
        desk.start_recording("BTC/USDT")
        assert _rows(desk) == {"BTC/USDT": (True, True)}
        assert _row(desk, "BTC/USDT").since_ms == before.since_ms
        desk.select_symbol("ETH/USDT")
        await _until_recorded(desk, "BTC/USDT")
        desk.remove_recording("BTC/USDT")
        assert _rows(desk) == {"ETH/USDT": (False, True)}


async def test_a_stop_holds_for_a_symbol_until_it_is_started_or_removed(
    settings: Settings,
) -> None:
    async with _desk(settings) as desk:
        desk.stop_recording("BTC/USDT")
        assert _rows(desk) == {"BTC/USDT": (True, False)}
        assert _row(desk, "BTC/USDT").state is RecordingState.STOPPED
        assert not desk.recording.wanted
        desk.select_symbol("ETH/USDT")
        assert desk.recording.wanted
        desk.select_symbol("BTC/USDT")
        assert not desk.recording.wanted
        desk.set_recording(True)
        assert _rows(desk) == {"BTC/USDT": (True, True)}
        await _until_recorded(desk, "BTC/USDT")
        recorded = _row(desk, "BTC/USDT")
        desk.set_recording(False)
        assert _rows(desk) == {"BTC/USDT": (True, False)}
        # The recorded events are still counted.
        assert _row(desk, "BTC/USDT").counts.payload_bytes >= recorded.counts.payload_bytes > 0
        assert _row(desk, "BTC/USDT").counts.events >= recorded.counts.events > 0
        assert _row(desk, "BTC/USDT").rate == 0
        desk.remove_recording("BTC/USDT")
        assert _rows(desk) == {}
        desk.stop_recording("SOL/USDT")
        desk.remove_recording("SOL/USDT")
        assert _rows(desk) == {}


async def test_nothing_begins_to_be_recorded_by_a_removal(settings: Settings) -> None:
    async with _desk(settings, {"BTC/USDT": False}) as desk:
        assert not desk.recording.wanted
        desk.remove_recording("BTC/USDT")
        assert _rows(desk) == {}
        assert not desk.recording.wanted
        # The screen no longer follows, as if its recording had been switched off.
        desk.set_recording(True)
        assert _rows(desk) == {"BTC/USDT": (False, True)}
        desk.stop_recording("BTC/USDT")
        desk.start_recording("ETH/USDT")
        desk.remove_recording("ETH/USDT")
        desk.remove_recording("BTC/USDT")
        assert _rows(desk) == {}
        desk.set_recording(True)
        desk.start_recording("BTC/USDT")
        desk.remove_recording("BTC/USDT")
        # A running recording goes on while its symbol is on screen.
        assert _rows(desk) == {"BTC/USDT": (False, True)}


async def test_kept_recordings_are_resumed(settings: Settings) -> None:
    async with _desk(settings, {"SOL/USDT": True, "ETH/USDT": False, "BTC/USDT": True}) as desk:
        assert _rows(desk) == {
            "SOL/USDT": (True, True),
            "ETH/USDT": (True, False),
            "BTC/USDT": (True, True),
        }
        await _until_recorded(desk, "SOL/USDT")
        await _until_recorded(desk, "BTC/USDT")
        assert _row(desk, "ETH/USDT").state is RecordingState.STOPPED
        desk.start_recording("ETH/USDT")
        await _until_recorded(desk, "ETH/USDT")
    # The switch is remembered, not the end of the recording.
    assert _rows(desk)["SOL/USDT"] == (True, True)


@pytest.mark.parametrize(
    "exchange", [SyntheticSource(seed=7, alive_after_request_s=0.0)], indirect=True
)
async def test_the_time_without_a_recording_is_a_gap(settings: Settings) -> None:
    async with DatabaseServer(settings.data_dir) as server:
        database = Database(settings.db_name)
        database.connect(server.dsn)
        async with _desk(settings) as desk:
            await _until_recorded(desk, "BTC/USDT")
        resumed_ns = time.time_ns() + 10**9
        await _until(lambda: time.time_ns() > resumed_ns)
        async with _desk(settings) as desk:
            await _until_recorded(desk, "BTC/USDT")
        timeline = await Recording(database, "BTCUSDT").timeline()
        database.close()
    (gap,) = timeline.gaps
    assert gap.cause is GapCause.USER
    assert gap.first_missing <= gap.last_missing
    assert gap.to_ms - gap.from_ms >= 900


async def test_what_another_program_records_is_followed_until_that_ends(settings: Settings) -> None:
    times = replace(DESK_TIMES, follow=FollowTimes(look_again_s=0.05))
    async with DatabaseServer(settings.data_dir) as server:
        database = Database(settings.db_name)
        database.connect(server.dsn)
        await _leave_open(database, "ETHUSDT", os.getppid())
        await _leave_open(database, "SOLUSDT", os.getppid())
        async with _desk(settings, {"ETH/USDT": True, "SOL/USDT": True}, times=times) as desk:
            await _until(lambda: _row(desk, "ETH/USDT").state is RecordingState.ELSEWHERE)
            await _until_recorded(desk, "BTC/USDT")
            assert _rows(desk)["ETH/USDT"] == (True, True)
            assert _row(desk, "ETH/USDT").state is RecordingState.ELSEWHERE
            assert _row(desk, "ETH/USDT").counts.events == 0
            assert _row(desk, "ETH/USDT").recorded_by == (
                f"another program (process {os.getppid()})"
            )
            # The person may record one of them here, too, and stop another.
            desk.start_recording("SOL/USDT")
            assert _row(desk, "SOL/USDT").state is RecordingState.ELSEWHERE
            desk.record_here("SOL/USDT", True)
            await _until_recorded(desk, "SOL/USDT")
            assert _row(desk, "SOL/USDT").here_too
            desk.stop_recording("ETH/USDT")
            assert _row(desk, "ETH/USDT").state is RecordingState.STOPPED
        async with _desk(settings, {"ETH/USDT": True}, times=times) as desk:
            await _until(lambda: _row(desk, "ETH/USDT").state is RecordingState.ELSEWHERE)
            await Shelf(database).change("segments", "of ETHUSDT", end_cause="user")
            await _until_recorded(desk, "ETH/USDT")
        database.close()


async def test_nothing_is_written_of_what_another_program_records(settings: Settings) -> None:
    """The feed of the symbol on screen brings events before the database is there."""
    async with DatabaseServer(settings.data_dir) as server:
        database = Database(settings.db_name)
        database.connect(server.dsn)
        for market in ("BTCUSDT", "ETHUSDT"):
            await _leave_open(database, market, os.getppid())
        async with _desk(settings, {"ETH/USDT": True}, here_too=["ETH/USDT"]) as desk:
            assert desk.recording.wanted
            await _until(lambda: desk.recording.state is RecordingState.ELSEWHERE)
            await _until_recorded(desk, "ETH/USDT")
            assert _rows(desk)["BTC/USDT"] == (False, True)
            assert _row(desk, "BTC/USDT").state is RecordingState.ELSEWHERE
            assert desk.recording.counts.events == desk.recording.waiting == 0
        segments = database.collection("segments")
        assert await segments.count_documents({"market": "BTCUSDT"}) == 1
        assert await database.collection("depth_events").count_documents({"market": "BTCUSDT"}) == 0
        database.close()


async def test_a_look_at_other_programs_that_takes_too_long_costs_no_event(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def hang(_: OtherRecorders) -> None:
        nonlocal looks
        looks += 1
        await asyncio.Event().wait()

    monkeypatch.setattr(OtherRecorders, "read", hang)
    times = replace(DESK_TIMES, follow=FollowTimes(look_again_s=0.05, look_within_s=0.3))
    async with _desk(settings, {"ETH/USDT": True}, times=times) as desk:
        await _until(lambda: desk.program.engine.recorder.sink("BTCUSDT").counts.first_id > 0)
        begun_at = desk.program.engine.recorder.sink("BTCUSDT").counts.first_id
        await _until_recorded(desk, "BTC/USDT", 3)
        await _until_recorded(desk, "ETH/USDT", 3)
        assert desk.recording.counts.books == 1
        assert desk.recording.counts.first_id == begun_at
    assert looks > 1


@pytest.mark.parametrize(
    ("token", "patience_s", "ahead", "gives_way"),
    [
        # A process that comes before ours, or goes on for long, and has all events.
        ("", 3_600.0, 0, True),
        ("~", 0.0, 0, True),
        # A process after ours may give way itself.
        ("~", 3_600.0, 0, False),
        # It has not reached our events yet.
        ("", 0.0, 10**15, False),
    ],
)
async def test_a_recording_goes_on_until_another_one_has_all_that_follows(
    settings: Settings, token: str, patience_s: float, ahead: int, gives_way: bool
) -> None:
    times = replace(DESK_TIMES, follow=FollowTimes(look_again_s=0.05, patience_s=patience_s))
    async with DatabaseServer(settings.data_dir) as server:
        database = Database(settings.db_name)
        database.connect(server.dsn)
        async with _desk(settings, times=times) as desk:
            await _until_recorded(desk, "BTC/USDT", 3)
            await _until(lambda: desk.recording.state is RECORDING)
            reached = desk.recording.counts.last_id
            await _leave_open(database, "BTCUSDT", os.getppid(), token, reached + ahead)
            if gives_way:
                await _until(lambda: desk.recording.state is RecordingState.ELSEWHERE)
            else:
                await _until_recorded(desk, "BTC/USDT", 30)
                assert desk.recording.state is RECORDING
        database.close()


async def test_a_program_that_hangs_is_taken_over_from(settings: Settings) -> None:
    """It runs, but writes no heartbeat any more."""
    now_s = [0.0]
    async with DatabaseServer(settings.data_dir) as server:
        database = Database(settings.db_name)
        database.connect(server.dsn)
        await _leave_open(database, "BTCUSDT", os.getppid())
        others = OtherRecorders(database, lambda: now_s[0])
        for now_s[0] in (100.0, 120.0, 140.0):
            await others.read()
            assert set(others.markets()) == {"BTCUSDT"}
        now_s[0] = 145.5
        assert others.markets() == {}
        # A heartbeat shows that it records again.
        await Shelf(database).change("segments", "of BTCUSDT", alive_ms=time.time_ns() // 10**6)
        await others.read()
        assert set(others.markets()) == {"BTCUSDT"}
        # While the database is away no heartbeat is heard, and none is missed.
        now_s[0] = 300.0
        await others.read()
        assert set(others.markets()) == {"BTCUSDT"}
        database.close()


async def _leave_open(
    database: Database, market: str, pid: int, token: str = "another", last_id: int = 6
) -> None:
    """Leave a segment open, as another process that records would."""
    segment = Segment(market, last_id - 1, last_id, last_id, 1, 1, 1, Scale())
    owner = owner_document()
    owner["owner"] |= {"token": token, "pid": pid}
    document = whole_document(f"of {market}", segment) | owner
    await database.collection("segments").insert_one(resealed(document))


async def test_a_symbol_that_is_none_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _desk(settings) as desk:
        await _until(lambda: bool(desk.symbols))
        await _until_recorded(desk, "BTC/USDT")
        desk.start_recording("no such thing")
        desk.start_recording("NO/NE")
        assert set(_rows(desk)) == {"BTC/USDT"}
        assert "NO/NE is not a traded symbol" in desk.notices[0].text
        monkeypatch.setattr(desk_module, "_RECORDINGS_AT_MOST", 1)
        desk.start_recording("ETH/USDT")
        assert "start another recorder" in desk.notices[0].text


@pytest.mark.allows_log(r"WARNING .*(rest: HTTP 400|book_feed: NONE: no snapshot)")
async def test_a_kept_symbol_that_is_traded_no_more_says_so(settings: Settings) -> None:
    async with _desk(settings, {"NO/NE": True}) as desk:
        await _until(lambda: _row(desk, "NO/NE").state is RecordingState.FAILED)
        assert "doesn't trade NO/NE" in _row(desk, "NO/NE").problem
        # Events that wait for a starting database would be lost at the end, and logged.
        await _until_recorded(desk, "BTC/USDT")


async def test_the_demo_has_recordings_of_its_own(settings: Settings) -> None:
    async with _desk(settings, {"ETH/USDT": True}, demo=True) as desk:
        await _until(lambda: "BTC/USDT" in _rows(desk) and _row(desk, "BTC/USDT").counts.events > 0)
        assert _rows(desk) == {"BTC/USDT": (False, True)}
        desk.start_recording("SOL/USDT")
        await _until_recorded(desk, "SOL/USDT")


async def test_a_second_connection_comes_and_goes_without_a_gap(settings: Settings) -> None:
    async with DatabaseServer(settings.data_dir) as server:
        database = Database(settings.db_name)
        database.connect(server.dsn)
        async with _desk(settings) as desk:
            assert desk.connections == Connections(1)
            for count in (2, 1, 2):
                await _until_recorded(desk, "BTC/USDT", 3)
                desk.set_connections(count)
                assert desk.connections == Connections(count)
            await _until_recorded(desk, "BTC/USDT", 3)
        assert (await Recording(database, "BTCUSDT").timeline()).gaps == ()
        database.close()
    desk = one_desk(settings.with_connections(3), fixed_connections=True)
    desk.set_connections(1)
    assert desk.connections == Connections(3, fixed=True)
    await end(desk)
