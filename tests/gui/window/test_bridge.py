from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TypeVar

import pytest
from msgspec.structs import replace
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.recording_status import RecordingCounts, RecordingStatus
from orderbook_desktop.core.replay import ReplayStatus
from orderbook_desktop.core.status import Badge, FeedState, SourceKind
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.tape import Direction
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.window.bridge import DeskBridge
from tests.core.trades_made import made_tape, made_trade
from tests.gui.fake_desk import NOW_NS, FakeDesk, FakeSource, TurningSource
from tests.gui.fake_replay import FakeReplay

T = TypeVar("T")


class Clock:
    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


class Emitted:
    """Notes the signals of a bridge, in order."""

    def __init__(self, bridge: DeskBridge) -> None:
        self.order: list[str] = []
        self.symbols: list[SymbolInfo] = []
        self.frames: list[BookFrame] = []
        self.badges: list[Badge] = []
        self.recordings: list[RecordingStatus] = []
        self.rates: list[int] = []
        self.replays: list[ReplayStatus | None] = []
        self.desks = 0
        bridge.symbol_changed.connect(lambda value: self._note("symbol", self.symbols, value))
        bridge.frame_changed.connect(lambda value: self._note("frame", self.frames, value))
        bridge.badge_changed.connect(lambda value: self._note("badge", self.badges, value))
        bridge.recording_changed.connect(
            lambda value: self._note("recording", self.recordings, value)
        )
        bridge.rate_changed.connect(lambda value: self._note("rate", self.rates, value))
        bridge.replay_changed.connect(lambda value: self._note("replay", self.replays, value))
        bridge.desk_changed.connect(self._count_desk)

    def _note(self, name: str, values: list[T], value: T) -> None:
        self.order.append(name)
        values.append(value)

    def _count_desk(self) -> None:
        self.order.append("desk")
        self.desks += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bridge(qapp: QApplication, desk: FakeDesk, clock: Clock) -> DeskBridge:
    return DeskBridge(desk, None, clock)


@pytest.fixture
def emitted(bridge: DeskBridge) -> Emitted:
    return Emitted(bridge)


def test_the_first_look_emits_every_signal(bridge: DeskBridge, emitted: Emitted) -> None:
    bridge.look()
    assert emitted.order == ["symbol", "desk", "frame", "badge", "recording"]


def test_without_a_change_nothing_is_emitted(bridge: DeskBridge, emitted: Emitted) -> None:
    bridge.look()
    emitted.order.clear()
    for _ in range(5):
        bridge.look()
    assert emitted.order == []


def test_one_look_shows_one_book_with_its_own_badge(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk
) -> None:
    """The source may change between two looks, so each frame takes only one look."""
    recorded, live = FakeSource("BTCUSDT"), FakeSource("BTCUSDT")
    recorded.load([("7.00", "1")], [("7.01", "1")])
    live.load([("8.00", "1")], [("8.01", "1")])
    live.status = replace(live.status, state=FeedState.DATABASE_AWAY, source=SourceKind.DIRECT)
    turning = TurningSource(recorded, live)
    desk.source = turning
    for looks in range(1, 8):
        bridge.look()
        assert turning.looks == looks == len(emitted.frames)
        price = {FeedState.SYNCED: 7 * 10**8, FeedState.DATABASE_AWAY: 8 * 10**8}
        assert emitted.badges[-1].state is emitted.frames[-1].status.state
        assert emitted.frames[-1].bids.prices.tolist() == [price[emitted.badges[-1].state]]


def test_many_events_between_two_looks_are_one_frame(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk
) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    bridge.look()
    for size in ("2", "3", "4"):
        desk.source.apply([("100.00", size)], [])
    bridge.look()
    assert len(emitted.frames) == 2
    assert emitted.frames[-1].bids.quantities.tolist() == [4 * 10**8]


def test_trades_alone_are_a_frame_of_the_same_book(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk
) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    bridge.look()
    desk.source.tape = tape = made_tape([made_trade(1, "100.01")])
    bridge.look()
    tape.add(made_trade(2, "100.00"))
    bridge.look()
    bridge.look()
    none, first, second = emitted.frames
    assert (none.last, none.tape) == (None, None)
    assert first.last is not None
    assert second.last is not None
    assert (first.last.price, second.last.price) == (100_01000000, 100_00000000)
    assert (first.last.direction, second.last.direction) == (Direction.NONE, Direction.DOWN)
    assert second.tape is tape
    assert second.has_book_of(first)
    desk.source.apply([("100.00", "2")], [])
    tape.add(made_trade(3, "100.01"))
    bridge.look()
    assert not emitted.frames[-1].has_book_of(second)
    desk.source.lose(FeedState.RECONNECTING)
    bridge.look()
    assert emitted.frames[-1].is_lost
    assert emitted.frames[-1].last == tape.last


def test_another_symbol_comes_before_its_empty_frame(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk
) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    bridge.look()
    emitted.order.clear()
    desk.select_symbol("ETH/USDT")
    bridge.look()
    assert emitted.order[:3] == ["symbol", "desk", "frame"]
    assert emitted.frames[-1].symbol.symbol == "ETH/USDT"
    assert not emitted.frames[-1].has_levels


def test_a_new_source_at_the_same_revision_is_seen(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk
) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    bridge.look()
    revision = desk.source.book.revision
    other = FakeDesk().source
    other.load([("7.00", "1")], [("7.01", "1")])
    assert other.book.revision == revision
    desk.source = other
    bridge.look()
    assert emitted.frames[-1].bids.prices.tolist() == [7 * 10**8]


def test_the_state_is_told_at_once_and_the_age_ten_times_a_second(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk, clock: Clock
) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    bridge.look()
    for _ in range(60):
        clock.now_ns += 1_000_000_000 // 60
        bridge.look()
    assert 9 <= len(emitted.badges) <= 12
    desk.source.lose(FeedState.RECONNECTING, "The connection was lost.")
    bridge.look()
    assert emitted.badges[-1].state is FeedState.RECONNECTING
    assert emitted.frames[-1].status.detail == "The connection was lost."


def test_a_silent_feed_goes_stale(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk, clock: Clock
) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    bridge.look()
    clock.now_ns += 6_000_000_000
    bridge.look()
    assert emitted.badges[-1].text == "stale · 6.0 s"


def test_recording_counters(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk, clock: Clock
) -> None:
    bridge.look()
    desk.recording = replace(desk.recording, counts=RecordingCounts(events=5))
    clock.now_ns += 200_000_000
    bridge.look()
    assert emitted.recordings[-1].counts.events == 5


def test_the_rate_of_revisions(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk, clock: Clock
) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    bridge.look()
    for size in range(1, 31):
        desk.source.apply([("100.00", str(size))], [])
        clock.now_ns += 100_000_000
        bridge.look()
    assert emitted.rates
    assert set(emitted.rates) == {10}


def test_losing_a_book_again_and_again_is_no_update(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk, clock: Clock
) -> None:
    bridge.look()
    for _ in range(30):
        desk.source.lose(FeedState.RECONNECTING)
        clock.now_ns += 100_000_000
        bridge.look()
    assert emitted.rates
    assert set(emitted.rates) == {0}


def test_the_rate_is_that_of_one_book(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk, clock: Clock
) -> None:
    busy, quiet = FakeSource("BTCUSDT"), FakeSource("BTCUSDT")
    for source, updates in ((quiet, 1), (busy, 500)):
        source.load([("100.00", "1")], [("100.01", "1")])
        for size in range(updates):
            source.apply([("100.00", str(size + 1))], [])
    # For example, the recorded book and then the exchange's own book.
    for source in (quiet, busy):
        desk.source = source
        for _ in range(15):
            bridge.look()
            clock.now_ns += 100_000_000
    assert set(emitted.rates) == {0}


@pytest.mark.expects_log(r"WARNING .*bridge: The book of BTC/USDT cannot be shown")
def test_an_unreadable_book_is_logged_once(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    desk.source.load([("0.0000000000000000001", "1")], [])
    bridge.look()
    desk.source.apply([("0.0000000000000000001", "2")], [])
    bridge.look()
    assert len(emitted.frames) == 2
    assert all(frame.problem for frame in emitted.frames)
    assert len([record for record in caplog.records if "cannot be shown" in record.message]) == 1


def test_asleep_it_leaves_the_book_alone(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk
) -> None:
    bridge.look()
    bridge.awake = False
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    bridge.look()
    assert len(emitted.frames) == 1
    bridge.awake = True
    bridge.look()
    assert len(emitted.frames) == 2


_NEVER_MS = 3_600_000


class _Timed:
    """A started bridge that looks only when it is woken, at a frame clock that stands still."""

    def __init__(self, desk: FakeDesk) -> None:
        self.frame_ns = 1_000_000_000_000
        self.bridge = DeskBridge(
            desk,
            None,
            Clock(),
            lambda: self.frame_ns,
            look_ms=_NEVER_MS,
            asleep_look_ms=_NEVER_MS,
        )
        self.emitted = Emitted(self.bridge)
        desk.source.load([("100.00", "1")], [("100.01", "1")])
        self.bridge.start()


@pytest.fixture
def timed(qapp: QApplication, desk: FakeDesk) -> Iterator[_Timed]:
    made = _Timed(desk)
    yield made
    made.bridge.stop()


def test_a_change_wakes_the_bridge(timed: _Timed, desk: FakeDesk, qtbot: QtBot) -> None:
    for frames in (2, 3):
        desk.source.apply([("100.00", f"{frames}")], [])
        desk.tell_changed()
        with qtbot.waitSignal(timed.bridge.frame_changed):
            pass
        assert len(timed.emitted.frames) == frames
        assert timed.emitted.frames[-1].bids.quantities.tolist() == [frames * 10**8]


def test_many_changes_are_one_frame(timed: _Timed, desk: FakeDesk, qtbot: QtBot) -> None:
    for size in range(2, 200):
        desk.source.apply([("100.00", str(size))], [])
        desk.tell_changed()
    assert len(timed.emitted.frames) == 1
    qtbot.waitUntil(lambda: len(timed.emitted.frames) == 2)
    QTest.qWait(50)
    assert len(timed.emitted.frames) == 2
    assert timed.emitted.frames[-1].bids.quantities.tolist() == [199 * 10**8]


def test_a_frame_waits_until_the_one_before_has_been_shown(
    timed: _Timed, desk: FakeDesk, qtbot: QtBot
) -> None:
    """The clock says when the last frame began: the timer waits for the rest of its time."""
    frame_ms = round(timed.bridge._frame_ns / 1e6)
    for passed_ms, left_ms in ((0, frame_ms), (5, frame_ms - 5), (1_000, 0)):
        timed.bridge._due.stop()
        timed.frame_ns = timed.bridge._framed_ns + passed_ms * 1_000_000
        desk.tell_changed()
        assert timed.bridge._due.interval() == left_ms


def test_asleep_no_change_wakes_it(timed: _Timed, desk: FakeDesk, qtbot: QtBot) -> None:
    desk.tell_changed()
    timed.bridge.awake = False
    desk.source.apply([("100.00", "2")], [])
    desk.tell_changed()
    QTest.qWait(50)
    assert len(timed.emitted.frames) == 1
    timed.bridge.awake = True
    qtbot.waitUntil(lambda: len(timed.emitted.frames) == 2)


def test_what_only_time_changes_is_found_by_steady_looks(
    qapp: QApplication, desk: FakeDesk, clock: Clock, qtbot: QtBot
) -> None:
    bridge = DeskBridge(desk, None, clock)
    emitted = Emitted(bridge)
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    bridge.start()
    clock.now_ns += 6_000_000_000
    qtbot.waitUntil(lambda: emitted.badges[-1].text == "stale · 6.0 s")
    bridge.awake = False
    clock.now_ns += 60_000_000_000
    qtbot.waitUntil(lambda: emitted.badges[-1].text == "stale · 66 s")
    bridge.stop()


def test_a_stopped_bridge_is_woken_by_nothing(timed: _Timed, desk: FakeDesk) -> None:
    desk.source.apply([("100.00", "2")], [])
    desk.tell_changed()
    timed.bridge.stop()
    desk.tell_changed()
    QTest.qWait(50)
    assert len(timed.emitted.frames) == 1


def test_a_moment_of_a_replay_is_told_before_its_frame_and_the_end_too(
    bridge: DeskBridge, emitted: Emitted, desk: FakeDesk
) -> None:
    bridge.look()
    replay = FakeReplay()
    desk.play(replay, replay.source)
    emitted.order.clear()
    bridge.look()
    assert emitted.order[:3] == ["desk", "replay", "frame"]
    bridge.look()
    replay.status = replace(replay.status, at_ns=replay.status.at_ns + 1)
    bridge.look()
    desk.leave_replay()
    bridge.look()
    times = [None if one is None else one.at_ns for one in emitted.replays]
    assert times == [replay.status.at_ns - 1, replay.status.at_ns, None]


def test_a_clock_that_runs_is_told_once_a_frame(timed: _Timed, desk: FakeDesk) -> None:
    frame_ms = round(timed.bridge._frame_ns / 1e6)
    replay = FakeReplay()
    desk.play(replay, replay.source)
    timed.bridge.look()
    for is_playing, left_ms in ((True, frame_ms), (False, 0)):
        timed.bridge._due.stop()
        timed.frame_ns += 1_000_000_000
        status = replay.status
        replay.status = replace(status, at_ns=status.at_ns + 1, is_playing=is_playing)
        timed.bridge.look()
        desk.tell_changed()
        assert timed.bridge._due.interval() == left_ms
