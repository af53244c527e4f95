"""The transport bar: what it shows of a replay, and what its parts command."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QDate, QPoint, Qt
from PySide6.QtTest import QSignalSpy, QTest
from PySide6.QtWidgets import QApplication, QMenu, QWidget

from orderbook_desktop.core.replay import (
    REAL_TIME,
    UNLIMITED,
    Bookmark,
    Coverage,
    GapStop,
    LargeTrades,
    ReplayOrder,
    ReplayStatus,
    Step,
    Target,
)
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.gui.dialogs.large_trades import LargeTradesChoice
from orderbook_desktop.gui.theme import DARK
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.gui.window.moment_field import RecordedDays
from orderbook_desktop.gui.window.replay_control import SPEEDS, ReplayControl
from orderbook_desktop.gui.window.transport_bar import TransportBar
from orderbook_desktop.gui.window.transport_glyphs import Glyph
from tests.gui.conftest import OpenWindow
from tests.gui.fake_desk import BTC, FakeDesk, MovingMarket
from tests.gui.fake_replay import FakeReplay
from tests.gui.pane_of import ladder_of

_DAY_MS = 86_400_000
_T0_MS = 1_723_100_000_000  # 2024-08-08 06:53:20 UTC
_AT_MS = _T0_MS + 3_600_123
_NOW_MS = _T0_MS + 10 * _DAY_MS
_MS = 1_000_000
_COVERS = (
    Cover("a", 1, 5, _T0_MS, _T0_MS + 7_200_000),
    Cover("b", 9, 20, _T0_MS + 3 * _DAY_MS, _T0_MS + 4 * _DAY_MS),
)
_GAP = Gap(_COVERS[0].to_ms, _COVERS[1].from_ms, 6, 9, GapCause.SILENCE, "")
_TIMELINE = Timeline(_COVERS, (_GAP,))
_LEFT = Qt.MouseButton.LeftButton
_TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.fixture
def replay(desk: FakeDesk) -> FakeReplay:
    played = FakeReplay(at_ns=_AT_MS * _MS)
    played.coverage = Coverage(_TIMELINE)
    desk.play(played, played.source)
    return played


@pytest.fixture
def bar(desk: FakeDesk, replay: FakeReplay, host: QWidget) -> TransportBar:
    made = TransportBar(
        ReplayControl(desk, host), DARK, QMenu(host), host, now_ns=lambda: _NOW_MS * _MS
    )
    made.set_zone(UTC)
    made.resize(1_400, made.sizeHint().height())
    made.show()
    return made


def change(bar: TransportBar, replay: FakeReplay, **changes: object) -> None:
    replay.status = replace(replay.status, **changes)
    bar.look()


def press(bar: TransportBar, name: str) -> None:
    part = next(part for part in bar.findChildren(QWidget) if part.accessibleName() == name)
    QTest.mouseClick(part, _LEFT)


def test_it_shows_day_time_and_zone(bar: TransportBar) -> None:
    assert bar.day_button.text() == "8 Aug 2024"
    assert bar.moment_field.text() == "07:53:20.123"
    assert bar.zone_button.text() == "UTC"


def test_the_play_button_says_what_it_will_do(bar: TransportBar, replay: FakeReplay) -> None:
    assert (bar.play_button.glyph, bar.play_button.accessibleName()) == (Glyph.PLAY, "Play")
    change(bar, replay, is_playing=True)
    assert (bar.play_button.glyph, bar.play_button.accessibleName()) == (Glyph.PAUSE, "Pause")
    QTest.mouseClick(bar.play_button, _LEFT)
    assert replay.commands == [("pause",)]


def test_buttons_step_jump_and_mark(bar: TransportBar, replay: FakeReplay) -> None:
    for name in ("An event on", "An event back", "Next gap", "Gap before", "Add a bookmark"):
        press(bar, name)
    assert replay.commands == [
        ("step", Step.EVENT, False),
        ("step", Step.EVENT, True),
        ("jump", Target.GAP, False),
        ("jump", Target.GAP, True),
        ("add_bookmark", ""),
    ]


def test_switches_follow_the_replay(bar: TransportBar, replay: FakeReplay) -> None:
    for button in (bar.skip_quiet, bar.skip_gaps, bar.loop_button, bar.order_button):
        QTest.mouseClick(button, _LEFT)
    assert replay.commands == [
        ("set_skips", True, None),
        ("set_skips", None, True),
        ("set_loop", _AT_MS * _MS, None),
        ("set_order", ReplayOrder.EXCHANGE),
    ]
    switches = bar.skip_quiet, bar.skip_gaps, bar.loop_button, bar.order_button
    assert not any(one.isChecked() for one in switches)
    change(bar, replay, skips_quiet=True, loop=(_AT_MS * _MS, None))
    assert bar.skip_quiet.isChecked()
    assert not bar.skip_gaps.isChecked()
    assert bar.loop_button.isChecked()
    change(bar, replay, order=ReplayOrder.EXCHANGE)
    QTest.mouseClick(bar.order_button, _LEFT)
    assert replay.commands[-1] == ("set_order", ReplayOrder.RECEIVED)


def test_the_speed_box_shows_and_sets_the_speed(bar: TransportBar, replay: FakeReplay) -> None:
    left = QSignalSpy(bar.left)
    assert bar.speed_box.currentText() == f"1{_TIMES}"
    bar.speed_box.activated.emit(len(SPEEDS) - 1)
    assert replay.commands == [("set_speed", UNLIMITED)]
    # The keys of the list would else hold in the place of the replay's.
    assert left.count() == 1
    change(bar, replay, speed=UNLIMITED)
    assert bar.speed_box.currentText() == "fastest"
    change(bar, replay, speed=3_300)
    assert bar.speed_box.placeholderText() == f"3.3{_TIMES}"


def test_a_speed_that_is_not_reached_is_told(bar: TransportBar, replay: FakeReplay) -> None:
    assert bar.reached_label.isHidden()
    change(bar, replay, is_playing=True, speed=1_000_000, reached=654_321)
    assert bar.reached_label.isVisible()
    assert bar.reached_label.text() == f"reaches 654{_TIMES}"
    bar.resize(640, bar.height())
    assert bar.reached_label.isHidden()
    bar.look()
    assert bar.message == f"Reaches 654{_TIMES}"
    change(bar, replay, reached=None)
    assert bar.message == ""


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("14:05:30.250", ("seek", 1_723_125_930_250 * _MS)),
        ("yesterday 9:00", ("seek", int(datetime(2024, 8, 17, 9, tzinfo=UTC).timestamp() * 1e9))),
        ("-5m", ("seek", (_AT_MS - 300_000) * _MS)),
        ("123456", ("seek_id", 123_456)),
    ],
)
def test_a_typed_moment_is_sought(
    bar: TransportBar, replay: FakeReplay, text: str, command: tuple[object, ...]
) -> None:
    left = QSignalSpy(bar.left)
    bar.type_time()
    QTest.keyClicks(bar.moment_field, text)
    assert bar.moment_field.text() == text
    QTest.keyClick(bar.moment_field, Qt.Key.Key_Return)
    assert replay.commands == [command]
    assert left.count() == 1


def test_what_is_typed_stays_while_the_clock_runs(bar: TransportBar, replay: FakeReplay) -> None:
    bar.type_time()
    QTest.keyClicks(bar.moment_field, "9:0")
    change(bar, replay, at_ns=(_AT_MS + 1_000) * _MS)
    assert bar.moment_field.text() == "9:0"
    bar.play_button.setFocus()
    assert bar.moment_field.text() == "07:53:21.123"


def test_a_typed_text_that_is_no_moment_is_told_and_stays(
    bar: TransportBar, replay: FakeReplay
) -> None:
    bar.type_time()
    QTest.keyClicks(bar.moment_field, "noonish")
    QTest.keyClick(bar.moment_field, Qt.Key.Key_Return)
    assert bar.message.startswith("'noonish' is not a time such as")
    assert bar.moment_field.accessibleDescription() == bar.message
    assert (replay.commands, bar.moment_field.text()) == ([], "noonish")
    left = QSignalSpy(bar.left)
    QTest.keyClick(bar.moment_field, Qt.Key.Key_Escape)
    assert (bar.message, left.count()) == ("", 1)


def test_the_sentence_that_matters_most_is_told(bar: TransportBar, replay: FakeReplay) -> None:
    change(bar, replay, is_at_end=True)
    assert bar.message == "The recording ends here."
    replay.coverage = Coverage(_TIMELINE, is_growing=True)
    bar.look()
    assert bar.message == "The newest moment; the recording goes on."
    change(bar, replay, gap=GapStop(_GAP, True, 5, 9))
    assert bar.message.startswith("Before a gap of 2 days 22:00:00.000: ")
    change(bar, replay, skipped=_GAP)
    assert bar.message.startswith("Skipped a gap of 2 days 22:00:00.000: ")
    bar._brief_end.timeout.emit()
    change(bar, replay, gap=GapStop(_GAP, False, 5, 9))
    assert bar.message.startswith("After a gap of")
    change(bar, replay, problem="The minute is damaged.")
    assert bar.message == "The minute is damaged."


def test_a_bookmark_is_confirmed_or_refused(bar: TransportBar, replay: FakeReplay) -> None:
    press(bar, "Add a bookmark")  # In a gap, where the player adds none.
    assert bar.message == "No bookmark was added: no book is known at this moment."
    replay.status = replace(replay.status, update_id=7)
    press(bar, "Add a bookmark")
    assert bar.message == "Bookmark at 8 Aug 2024 07:53:20.123 UTC"
    replay.status = replace(replay.status, event_ms=_AT_MS - 23)  # As in the list of bookmarks.
    press(bar, "Add a bookmark")
    assert bar.message == "Bookmark at 8 Aug 2024 07:53:20.100 UTC"
    replay.bookmarks_problem = "The file can't be written."
    press(bar, "Add a bookmark")
    assert bar.message == "The file can't be written."
    bar._brief_end.timeout.emit()
    assert bar.message == ""


def test_the_bar_seeks_times_and_bookmarks(bar: TransportBar, replay: FakeReplay) -> None:
    marked = Bookmark("a", "BTCUSDT", _AT_MS, 77)
    bar.bar.sought.emit(_AT_MS * _MS)
    bar.bar.bookmark_sought.emit(marked)
    bar.bar.bookmark_sought.emit(replace(marked, update_id=0))
    assert replay.commands == [("seek", _AT_MS * _MS), ("seek_id", 77), ("seek", _AT_MS * _MS)]


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_a_recorded_day_is_chosen_in_the_calendar(bar: TransportBar, replay: FakeReplay) -> None:
    QTest.mouseClick(bar.day_button, _LEFT)
    opened = bar.day_button.calendar
    assert isinstance(opened, RecordedDays)
    assert opened.days.selectedDate() == QDate(2024, 8, 8)
    assert opened.days.minimumDate() == QDate(2024, 8, 8)
    assert opened.days.maximumDate() == QDate(2024, 8, 12)
    bold = [opened.days.dateTextFormat(QDate(2024, 8, day)).font().bold() for day in range(8, 13)]
    assert bold == [True, False, False, True, True]
    opened.days.activated.emit(QDate(2024, 8, 10))
    assert replay.commands == []
    opened.days.activated.emit(QDate(2024, 8, 12))
    midnight = int(datetime(2024, 8, 12, tzinfo=UTC).timestamp()) * 1_000
    assert replay.commands == [("seek", midnight * _MS)]
    assert not opened.isVisible()


def test_assistive_technology_hears_where_the_clock_came_to_rest(
    bar: TransportBar, replay: FakeReplay
) -> None:
    assert bar.bar.accessibleDescription() == "8 Aug 2024 07:53:20.123 UTC"
    change(bar, replay, is_playing=True, at_ns=(_AT_MS + 1) * _MS)
    assert bar.bar.accessibleDescription() == "8 Aug 2024 07:53:20.123 UTC"
    bar.describe()
    assert bar.bar.accessibleDescription() == "8 Aug 2024 07:53:20.124 UTC"
    change(bar, replay, is_playing=False, problem="The minute is damaged.")
    assert bar.bar.accessibleDescription() == "8 Aug 2024 07:53:20.124 UTC. The minute is damaged."


@pytest.mark.parametrize("percent", [85, 100, 150, 200])
@pytest.mark.parametrize("width", [640, 800, 1_000, 1_280, 1_920])
def test_no_part_is_cut_off(bar: TransportBar, width: int, percent: int) -> None:
    font = bar.font()
    font.setPointSizeF(font.pointSizeF() * percent / 100)
    bar.setFont(font)
    bar.resize(width * percent // 100, bar.sizeHint().height())
    QApplication.processEvents()
    parts = [part for part in bar._parts if part.isVisible()]
    assert {bar.play_button, bar.moment_field, bar.speed_box, bar.menu_button} <= set(parts)
    for part in parts:
        assert part.width() >= part.minimumSizeHint().width(), part.accessibleName()
        corner = part.mapTo(bar, QPoint(part.width() - 1, part.height() - 1))
        assert bar.rect().contains(corner)


def test_every_part_has_a_name_and_can_be_reached_by_tab(bar: TransportBar) -> None:
    for part in (*bar._parts, bar.bar):
        if part is bar.reached_label:
            continue
        assert part.focusPolicy() & Qt.FocusPolicy.TabFocus, part
        assert part.accessibleName() or part.text(), part  # type: ignore[attr-defined] # buttons


def test_the_window_has_it_in_a_replay_only(
    open_window: OpenWindow, desk: FakeDesk, preferences: object
) -> None:
    window = open_window(desk)
    assert window.transport.bar is None
    played = FakeReplay(at_ns=_AT_MS * _MS)
    played.coverage = Coverage(_TIMELINE)
    MovingMarket(BTC, played.source)
    desk.play(played, played.source)
    window.bridge.look()
    bar = window.transport.bar
    assert isinstance(bar, TransportBar)
    assert bar.isVisible()
    QTest.keyClick(ladder_of(window), Qt.Key.Key_G)
    assert bar.moment_field.hasFocus()
    QTest.keyClick(bar.moment_field, Qt.Key.Key_Escape)
    assert ladder_of(window).hasFocus()
    bar.moment_field.setFocus()
    QTest.mouseClick(bar.live_button, _LEFT)
    assert desk.commands == [("leave_replay", None)]
    assert window.transport.bar is None
    assert not bar.isVisible()
    assert ladder_of(window).hasFocus()


def test_the_window_passes_zone_and_theme(open_window: OpenWindow, desk: FakeDesk) -> None:
    played = FakeReplay(at_ns=_AT_MS * _MS)
    desk.play(played, played.source)
    window: MainWindow = open_window(desk)
    bar = window.transport.bar
    assert bar is not None
    utc = next(one for one in window.menus.actions if one.text() == "Times in U&TC")
    QTest.mouseClick(bar.zone_button, _LEFT)
    assert utc.isChecked()
    assert bar.moment_field.text() == "07:53:20.123"
    assert bar.zone_button.text() == "UTC"


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_the_window_opens_the_bookmarks_and_the_choice_of_large_trades(
    open_window: OpenWindow, desk: FakeDesk
) -> None:
    played = FakeReplay(at_ns=_AT_MS * _MS)
    played.bookmarks = (Bookmark("a", "BTCUSDT", _AT_MS, 77),)
    desk.play(played, played.source)
    window: MainWindow = open_window(desk)
    QTest.keyClick(
        ladder_of(window),
        Qt.Key.Key_B,
        Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier,
    )
    marks = window.transport.bookmarks
    assert marks is not None
    marks.go_button.click()
    assert played.commands == [("seek_id", 77)]
    marks.reject()
    next(one for one in window.menus.actions if one.text() == "&Large trades…").trigger()
    choice = window.findChild(LargeTradesChoice)
    assert isinstance(choice, LargeTradesChoice)
    choice.accept()
    assert played.commands[1:] == [("set_large", LargeTrades())]


def test_a_status_without_a_replay_is_not_shown(bar: TransportBar, desk: FakeDesk) -> None:
    desk.leave_replay()
    bar.look()
    bar.show_status(ReplayStatus(symbol="BTC/USDT", market="BTCUSDT", at_ns=0, speed=REAL_TIME))
    assert bar.moment_field.text() == "07:53:20.123"
