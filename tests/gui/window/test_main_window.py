from __future__ import annotations

import time

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QEvent, QPoint, Qt, QTimer
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog, QPushButton
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.desk import Notice, NoticeAction, NoticeLevel
from orderbook_desktop.core.heatmap.pages import TileStatus
from orderbook_desktop.core.recording_status import RecordingState
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.gui.panes.ladder.layout import Column
from orderbook_desktop.gui.panes.ladder.scene import LadderRow
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK, Appearance
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.gui.window.menus import BUILD_TILES, REPLAY
from tests.gui.conftest import OpenWindow
from tests.gui.fake_desk import BTC, NOW_NS, FakeDesk, FakeSource, MovingMarket
from tests.gui.fake_heatmaps import FakeHeatmaps
from tests.gui.fake_replay import FakeReplay
from tests.gui.pane_of import chart_of, ladder_of
from tests.gui.pixels import colours_of

CONTROL = Qt.KeyboardModifier.ControlModifier


def price_texts(window: MainWindow) -> list[str]:
    scene = ladder_of(window).scene
    return [row.price for row in scene.rows] if scene is not None else []


def sizes_of(window: MainWindow) -> list[int]:
    """Return the sizes in the ladder, in units."""
    ladder = ladder_of(window).model.ladder
    sides = () if ladder is None else (ladder.bids, ladder.asks)
    return [size for side in sides for size in side.quantities.tolist()]


def fills_of(window: MainWindow) -> set[int]:
    """Return the fill colours of curves and bars that are on screen."""
    image: QImage = window.grab().toImage()
    colours = {
        DARK.tint(side, share).rgb()
        for side in (DARK.bid, DARK.ask)
        for share in (0.13, 0.26, 0.32, 0.45)
    }
    return colours & colours_of(image.copy(0, 60, image.width(), image.height() - 60))


def fills_in(window: MainWindow) -> int:
    """Return the number of pixels on screen that the curves fill."""
    image = window.grab().toImage()
    fills = {DARK.tint(colour, 0.26).rgb() for colour in (DARK.bid, DARK.ask)}
    places = ((x, y) for x in range(0, image.width(), 4) for y in range(0, image.height(), 4))
    return sum(image.pixelColor(x, y).rgb() in fills for x, y in places)


def test_shows_a_moving_book(window: MainWindow, desk: FakeDesk, qtbot: QtBot) -> None:
    market = MovingMarket(BTC, desk.source)
    qtbot.waitUntil(lambda: "57,123.45" in price_texts(window))
    assert len(fills_of(window)) >= 6
    market.step()
    qtbot.waitUntil(lambda: window.status_line.text("update id") == "Update 1001")
    assert window.top_bar.badge.text == "synced · 0.2 s"


def test_another_symbol_shows_nothing_of_the_old_one(window: MainWindow, desk: FakeDesk) -> None:
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    assert fills_of(window)
    QTest.keyClick(ladder_of(window), Qt.Key.Key_K, CONTROL)
    QTest.keyClicks(window.top_bar.symbol_box, "ethusdt")
    QTest.keyClick(window.top_bar.symbol_box, Qt.Key.Key_Return)
    # No frame has passed, but the window already paints the new symbol.
    assert desk.commands == [("select_symbol", "ETH/USDT")]
    assert window.windowTitle() == "ETH/USDT · Orderbook Desktop"
    assert window.top_bar.symbol_box.text() == "ETH/USDT"
    assert ladder_of(window).scene is None
    assert chart_of(window).scene is None
    assert fills_of(window) == set()
    assert window.status_line.text("update id") == ""
    assert ladder_of(window).hasFocus()


def test_an_unknown_symbol_leaves_everything(window: MainWindow, desk: FakeDesk) -> None:
    window.top_bar.symbol_box.chosen.emit("NO/SUCH")
    assert window.windowTitle() == "BTC/USDT · Orderbook Desktop"
    assert window.top_bar.symbol_box.text() == "BTC/USDT"
    assert [row.notice.text for row in window.notice_bar.rows] == ["NO/SUCH is not traded."]


def test_slash_finds_a_symbol(window: MainWindow) -> None:
    QTest.keyClick(ladder_of(window), Qt.Key.Key_Slash)
    assert window.top_bar.symbol_box.hasFocus()
    QTest.keyClicks(window.top_bar.symbol_box, "btc/eur")
    assert window.top_bar.symbol_box.text() == "btc/eur"


@pytest.mark.parametrize("state", list(FeedState))
def test_a_book_that_was_never_known_is_a_sentence(
    window: MainWindow, desk: FakeDesk, state: FeedState
) -> None:
    desk.source.be_unknown(state, "The reason.")
    window.bridge.look()
    text = window.top_bar.badge.text.lower()
    assert text.startswith(state.value) or state is FeedState.RECONNECTING
    assert fills_of(window) == set()
    assert ladder_of(window).summary().endswith("The reason.")
    assert not window.veil.isVisible()


@pytest.mark.parametrize(
    "state", [FeedState.SYNCING, FeedState.SYNCED, FeedState.RECONNECTING, FeedState.NOT_TRADED]
)
def test_a_lost_book_stays_dimmed_with_its_age_across_it(
    window: MainWindow, desk: FakeDesk, state: FeedState
) -> None:
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    assert not window.veil.isVisible()
    bright = fills_in(window)
    desk.source.lose(state, "The reason.")
    window.bridge.look()
    assert window.veil.isVisible()
    assert window.veil.text == window.top_bar.badge.text == f"{state.value} · 0.2 s"
    assert ladder_of(window).scene is not None
    assert fills_in(window) < bright // 100
    window._describe()
    assert chart_of(window).accessibleDescription().startswith(f"{state.value} · 0.2 s")
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    window.bridge.look()
    assert not window.veil.isVisible()


def test_a_silent_book_is_dimmed(window: MainWindow, desk: FakeDesk) -> None:
    MovingMarket(BTC, desk.source)
    for age_ms, is_dimmed in ((2_900, False), (3_100, True), (200, False)):
        as_of_ns = NOW_NS + 200_000_000 - age_ms * 1_000_000
        desk.source.status = replace(desk.source.status, as_of_ns=as_of_ns, is_active=True)
        desk.revision += 1
        window.bridge.look()
        assert window.veil.isVisible() == is_dimmed


def test_switches_command_the_desk(window: MainWindow, desk: FakeDesk) -> None:
    direct = window.top_bar.source_switch.buttons[SourceKind.DIRECT]
    QTest.mouseClick(direct, Qt.MouseButton.LeftButton)
    QTest.mouseClick(window.top_bar.record_button, Qt.MouseButton.LeftButton)
    assert desk.commands == [("select_source", SourceKind.DIRECT), ("set_recording", True)]
    assert direct.isChecked()
    assert window.top_bar.record_button.text() == "● Record: on"
    QTest.keyClick(window, Qt.Key.Key_1, CONTROL)
    QTest.keyClick(window, Qt.Key.Key_R, CONTROL)
    assert desk.commands[2:] == [("select_source", SourceKind.MONGO), ("set_recording", False)]
    assert window.top_bar.record_button.text() == "○ Record: off"


def test_a_problem_of_the_recording_is_told(window: MainWindow, desk: FakeDesk) -> None:
    desk.recording = replace(
        desk.recording, state=RecordingState.DELAYED, wanted=True, problem="The database is away."
    )
    desk.revision += 1
    window.bridge.look()
    assert window.top_bar.record_button.text() == "▲ Record: waiting"
    assert window.top_bar.record_button.toolTip() == "The database is away."


def test_notices_act_and_go(window: MainWindow, desk: FakeDesk) -> None:
    desk.notify(
        Notice("offline", NoticeLevel.WARNING, "No network.", NoticeAction.START_DEMO),
        Notice("note", NoticeLevel.INFORMATION, "A note."),
    )
    window.bridge.look()
    assert len(window.notice_bar.rows) == 2
    row = next(row for row in window.notice_bar.rows if row.notice.key == "offline")
    for button in row.findChildren(QPushButton):
        assert isinstance(button, QPushButton)
        if button.isVisible():
            button.click()
    assert desk.commands == [("act", NoticeAction.START_DEMO), ("dismiss", "offline")]
    assert [row.notice.key for row in window.notice_bar.rows] == ["note"]


def test_grouping_by_keys_is_remembered(
    window: MainWindow, desk: FakeDesk, preferences: Preferences
) -> None:
    preferences.set_grouping("BTCUSDT", "0.01")
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    for _ in range(3):
        QTest.keyClick(ladder_of(window), Qt.Key.Key_BracketRight)
    assert window.top_bar.grouping_box.currentText() == "0.1"
    assert "57,123.4" in price_texts(window)
    QTest.keyClick(ladder_of(window), Qt.Key.Key_BracketLeft)
    assert window.top_bar.grouping_box.currentText() == "0.05"
    QTest.keyClick(ladder_of(window), Qt.Key.Key_Plus, CONTROL)
    assert preferences.grouping("BTCUSDT") == "0.1"


def test_the_demo_says_so(open_window: OpenWindow) -> None:
    window = open_window(FakeDesk(demo=True))
    assert window.windowTitle() == "DEMO · BTC/USDT · Orderbook Desktop"
    assert window.demo_strip.isVisible()
    assert "DEMO" in window.demo_strip.text()


def test_the_real_market_does_not(window: MainWindow) -> None:
    assert not window.demo_strip.isVisible()
    assert "DEMO" not in window.windowTitle()


def test_the_demo_is_not_remembered(open_window: OpenWindow, preferences: Preferences) -> None:
    preferences.symbol, preferences.recents = "SOL/USDT", ("SOL/USDT",)
    desk = FakeDesk(demo=True)
    window = open_window(desk)
    desk.select_symbol("ETH/USDT")
    desk.select_source(SourceKind.DIRECT)
    window.bridge.look()
    window.finish_close()
    assert (preferences.symbol, preferences.recents) == ("SOL/USDT", ("SOL/USDT",))
    assert preferences.source is None


def test_one_key_shows_sizes_totals_and_chart_in_the_quote_asset(
    window: MainWindow, desk: FakeDesk, preferences: Preferences
) -> None:
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    for in_quote, asset in ((True, "USDT"), (False, "BTC")):
        QTest.keyClick(window, Qt.Key.Key_U)
        scene = chart_of(window).scene
        assert scene is not None
        assert scene.asset == asset
        headings = ladder_of(window).headings
        assert all(headings[column].endswith(asset) for column in (Column.SIZE, Column.TOTAL))
        assert preferences.shows_quote is in_quote


def test_one_key_shows_times_in_utc(
    window: MainWindow, desk: FakeDesk, preferences: Preferences, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "XXX-5")
    time.tzset()
    try:
        MovingMarket(BTC, desk.source)
        window.bridge.look()
        for zone, hour, in_utc in (("UTC", "06", True), ("XXX", "11", False)):
            QTest.keyClick(window, Qt.Key.Key_U, CONTROL)
            assert window.status_line.text("time") == f"{hour}:53:20.000 {zone}"
            assert preferences.shows_utc is in_utc
    finally:
        monkeypatch.undo()
        time.tzset()


def test_one_key_goes_back_into_the_recording_and_returns(
    window: MainWindow, desk: FakeDesk
) -> None:
    replay = FakeReplay()
    shown = next(one for one in window.menus.actions if one.text() == REPLAY.text)
    QTest.keyClick(window, Qt.Key.Key_P, CONTROL | Qt.KeyboardModifier.ShiftModifier)
    assert desk.commands == [("start_replay", (None, None, None))]
    # The recording is not open yet.
    assert not shown.isChecked()
    desk.play(replay, replay.source)
    window.bridge.look()
    assert shown.isChecked()
    QTest.keyClick(window, Qt.Key.Key_P, CONTROL | Qt.KeyboardModifier.ShiftModifier)
    assert desk.commands[1:] == [("leave_replay", None)]
    assert not shown.isChecked()


def test_a_moment_that_a_pane_wants_is_replayed(window: MainWindow, desk: FakeDesk) -> None:
    window.panes[0].moment_wanted.emit(7_000_000_000_000)
    assert desk.commands[-1] == ("start_replay", (None, 7_000_000_000_000, None))
    replay = FakeReplay()
    desk.play(replay, FakeSource("BTCUSDT"))
    window.bridge.look()
    window.panes[0].moment_wanted.emit(8_000_000_000_000)
    assert replay.commands[-1] == ("seek", 8_000_000_000_000)


def test_panes_read_the_heatmaps_of_what_is_on_screen(
    window: MainWindow, desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    monkeypatch.setattr(window.panes[0], "set_heatmaps", given.append)
    desk.heatmaps = FakeHeatmaps()
    for _ in range(2):
        desk.revision += 1
        window.bridge.look()
    assert given == [desk.heatmaps]


def test_the_demo_begins_anew(window: MainWindow, desk: FakeDesk) -> None:
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    ladder_of(window).scroll_rows(7)
    chart_of(window).put_crosshair(5_712_300_000_000)
    assert not ladder_of(window).model.is_home
    desk.demo = True
    desk.source = FakeSource(desk.symbol.market)
    MovingMarket(BTC, desk.source, seed=8)
    desk.revision += 1
    window.bridge.look()
    assert window.windowTitle() == "DEMO · BTC/USDT · Orderbook Desktop"
    assert window.demo_strip.isVisible()
    assert ladder_of(window).model.is_home
    assert chart_of(window).crosshair_reading is None


class TestClosing:
    def test_asks_first_and_closes_when_told(self, window: MainWindow, qtbot: QtBot) -> None:
        with qtbot.waitSignal(window.close_requested):
            assert not window.close()
        assert window.isVisible()
        window.finish_close()
        assert not window.isVisible()

    def test_quit_asks_too(self, window: MainWindow, qtbot: QtBot) -> None:
        with qtbot.waitSignal(window.close_requested):
            QTest.keyClick(window, Qt.Key.Key_Q, CONTROL)
        assert window.isVisible()

    def test_afterwards_the_desk_is_left_alone(self, window: MainWindow) -> None:
        timers = [*window.bridge.findChildren(QTimer), *window.findChildren(QTimer)]
        assert any(isinstance(timer, QTimer) and timer.isActive() for timer in timers)
        window.finish_close()
        assert not any(isinstance(timer, QTimer) and timer.isActive() for timer in timers)

    def test_everything_is_remembered(
        self, window: MainWindow, desk: FakeDesk, preferences: Preferences
    ) -> None:
        window.resize(1_111, 666)
        desk.select_symbol("SOL/USDT")
        desk.select_source(SourceKind.DIRECT)
        window.bridge.look()
        window.finish_close()
        assert preferences.symbol == "SOL/USDT"
        assert preferences.recents == ("SOL/USDT", "BTC/USDT")
        assert preferences.source is SourceKind.DIRECT
        assert not preferences.geometry.isEmpty()


def test_a_hidden_window_reads_no_book(window: MainWindow, desk: FakeDesk, qtbot: QtBot) -> None:
    window.hide()
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    window.bridge.look()
    assert ladder_of(window).scene is None
    window.show()
    assert ladder_of(window).scene is not None


def test_a_hidden_window_nearly_rests(window: MainWindow, desk: FakeDesk, qtbot: QtBot) -> None:
    def running() -> list[int]:
        timers = [one for one in window.findChildren(QTimer) if one.isActive()]
        return sorted(one.interval() for one in timers if not one.isSingleShot())

    shown = running()
    for rest, wake in ((window.hide, window.show), (window.showMinimized, window.showNormal)):
        rest()
        assert running() == [1_000]
        desk.source.load([("100.00", "1")], [("100.01", "1")])
        desk.tell_changed()
        assert running() == [1_000]
        wake()
        assert running() == shown
        qtbot.waitUntil(lambda: ladder_of(window).scene is not None)


def test_a_change_of_the_book_is_shown(window: MainWindow, desk: FakeDesk, qtbot: QtBot) -> None:
    for size in (15, 25):
        desk.source.load([("100.00", f"{size}")], [("100.01", f"{size}")])
        desk.tell_changed()
        with qtbot.waitSignal(window.bridge.frame_changed):
            pass
        assert sizes_of(window) == 2 * [size * 10**8]


@pytest.mark.parametrize(
    "size", [(640, 480), (720, 480), (1_024, 640), (1_600, 900), (3_840, 2_160)]
)
def test_everything_has_room(window: MainWindow, desk: FakeDesk, size: tuple[int, int]) -> None:
    MovingMarket(BTC, desk.source)
    desk.notify(Notice("n", NoticeLevel.WARNING, "A sentence. " * 9, NoticeAction.START_DEMO))
    window.resize(*size)
    window.bridge.look()
    QApplication.processEvents()
    assert (window.width(), window.height()) == size
    badge = window.top_bar.badge
    assert badge.width() >= badge.sizeHint().width()
    corner = badge.mapTo(window, QPoint(badge.width(), badge.height()))
    assert window.rect().contains(corner)
    assert len(price_texts(window)) >= 8


def test_a_notice_that_goes_leaves_the_focus_to_the_book(
    window: MainWindow, desk: FakeDesk
) -> None:
    desk.notify(Notice("offline", NoticeLevel.WARNING, "No network.", NoticeAction.START_DEMO))
    window.bridge.look()
    window.notice_bar.rows[0].findChildren(QPushButton)[0].setFocus()
    desk.notices = ()
    desk.revision += 1
    window.bridge.look()
    assert ladder_of(window).hasFocus()
    assert window.top_bar.symbol_box.popup is None


def test_appearance_changes_live(window: MainWindow, preferences: Preferences) -> None:
    dark = window.grab().toImage().pixelColor(4, 300)
    action = next(action for action in window.menus.actions if action.text() == "&Light")
    action.trigger()
    assert preferences.appearance is Appearance.LIGHT
    assert window.grab().toImage().pixelColor(4, 300).lightness() > dark.lightness() + 100


def test_the_menu_tells_how_many_tiles_there_are_and_pauses_them(
    window: MainWindow, desk: FakeDesk, preferences: Preferences
) -> None:
    name = BUILD_TILES.text
    action = next(action for action in window.menus.actions if action.text() == name)
    assert action.isChecked()
    desk.made_tiles.status = TileStatus(done=41, wanted=100, market="BTCUSDT")
    window.menus.recording_menu.aboutToShow.emit()
    assert action.text() == f"{name} (41 %)"
    assert action.toolTip() == "41 of 100 stretches have tiles; BTCUSDT is being built."
    action.trigger()
    assert (desk.made_tiles.status.is_on, preferences.builds_tiles) == (False, False)
    action.trigger()
    assert (desk.made_tiles.status.is_on, preferences.builds_tiles) == (True, True)
    # Another engine begins as the person wants; it has its own tiles.
    desk.made_tiles.switch(wanted=False)
    window.menus.recording_menu.aboutToShow.emit()
    assert not action.isChecked()


@pytest.mark.qt_log_ignore("This plugin does not support")
@pytest.mark.parametrize("name", ["&Keyboard shortcuts", "&About Orderbook Desktop"])
def test_dialogs_open_without_blocking(window: MainWindow, name: str) -> None:
    action = next(action for action in window.menus.actions if action.text() == name)
    action.trigger()
    dialog = window.findChild(QDialog)
    assert isinstance(dialog, QDialog)
    assert dialog.isVisible()
    dialog.close()


def test_only_what_the_exchange_trades_is_remembered(
    window: MainWindow, desk: FakeDesk, preferences: Preferences
) -> None:
    remembered = preferences.symbol, preferences.recents
    assert remembered[0] == "BTC/USDT"
    traded, desk.symbols = desk.symbols, ()
    desk.select_symbol("NO/NE")
    window.bridge.look()
    assert (preferences.symbol, preferences.recents) == remembered
    desk.symbols = traded
    desk.revision += 1
    window.bridge.look()
    assert preferences.symbol == "BTC/USDT"
    assert "NO/NE" in desk.recents
    assert "NO/NE" not in preferences.recents


def test_the_status_line_names_another_exchange(window: MainWindow, desk: FakeDesk) -> None:
    desk.exchange = "127.0.0.1:8900"
    desk.revision += 1
    window.bridge.look()
    assert window.status_line.text("exchange") == "Exchange: 127.0.0.1:8900"


def test_the_symbol_on_screen_is_kept_from_the_menu(window: MainWindow, desk: FakeDesk) -> None:
    keep = next(one for one in window.menus.actions if one.text() == "&Keep recording this symbol")
    assert not keep.isChecked()
    keep.trigger()
    assert keep.isChecked()
    desk.select_symbol("ETH/USDT")
    window.bridge.look()
    assert not keep.isChecked()
    desk.select_symbol("BTC/USDT")
    window.bridge.look()
    assert keep.isChecked()
    keep.trigger()
    assert not keep.isChecked()
    assert [one for one in desk.commands if one[0] != "select_symbol"] == [
        ("start_recording", "BTC/USDT"),
        ("remove_recording", "BTC/USDT"),
    ]


def test_every_shortcut_is_used_once(window: MainWindow) -> None:
    keys = [keys for action in window.menus.actions for keys in action.shortcuts()]
    assert len({key.toString() for key in keys}) == len(keys)
    listed = {action.title: action.keys_text for action in window.actions_with_keys()}
    assert listed["Find symbol"] == "Ctrl+K, /"
    assert listed["Chart: zoom"] == "+, =, -, wheel"


def test_full_screen_and_back(window: MainWindow) -> None:
    QTest.keyClick(window, Qt.Key.Key_F11)
    assert window.isFullScreen()
    QTest.keyClick(window, Qt.Key.Key_F11)
    assert not window.isFullScreen()


def test_the_chart_zoom_is_remembered(
    window: MainWindow, desk: FakeDesk, preferences: Preferences
) -> None:
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    chart_of(window).zoom(0.5)
    assert preferences.chart_share == chart_of(window).view.chosen_share
    QTest.keyClick(window, Qt.Key.Key_0, CONTROL)
    assert preferences.chart_share is None


def test_highlighting_can_be_switched_off(window: MainWindow, preferences: Preferences) -> None:
    action = next(a for a in window.menus.actions if a.text() == "&Highlight changes")
    action.trigger()
    assert not ladder_of(window).highlights_changes
    assert not preferences.highlights_changes


def test_assistive_technology_is_told(window: MainWindow, desk: FakeDesk, qtbot: QtBot) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    qtbot.waitUntil(
        lambda: (
            ladder_of(window).accessibleDescription()
            == "best bid 100.00, best ask 100.01, mid 100.005 spread 0.01  (0.01000 %)"
        )
    )


def test_the_button_of_the_source_follows_the_book_on_screen(
    window: MainWindow, desk: FakeDesk
) -> None:
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    buttons = window.top_bar.source_switch.buttons
    assert buttons[SourceKind.MONGO].isChecked()
    desk.source.status = replace(
        desk.source.status,
        state=FeedState.DATABASE_LATE,
        source=SourceKind.DIRECT,
        detail="The database is behind the exchange.",
        stands_in=True,
    )
    window.bridge.look()
    assert buttons[SourceKind.DIRECT].isChecked()
    assert "behind the exchange" in buttons[SourceKind.MONGO].toolTip()
    assert not window.veil.isVisible()


class TestPointing:
    def test_the_price_under_the_pointer_of_the_chart_is_marked_in_the_ladder(
        self, window: MainWindow, desk: FakeDesk
    ) -> None:
        desk.source.load([("100.00", "1.5"), ("99.98", "2")], [("100.01", "0.25"), ("100.05", "1")])
        window.bridge.look()
        chart, ladder = chart_of(window), ladder_of(window)
        before = ladder.grab().toImage()
        area = chart.scene.area if chart.scene is not None else None
        assert area is not None
        QTest.mouseMove(chart, QPoint(round(area.x(100.03e8)), 200))
        QTest.mouseMove(chart, QPoint(round(area.x(100.03e8)) + 1, 200))
        marked = ladder.grab().toImage()
        rows = [row for row in ladder.scene.rows if row.size] if ladder.scene is not None else []
        changed = [
            row.price
            for row in rows
            if before.copy(*box(ladder, row)) != marked.copy(*box(ladder, row))
        ]
        assert changed == ["100.05"]
        QTest.mouseMove(chart, QPoint(1, 1))
        QApplication.sendEvent(chart, QEvent(QEvent.Type.Leave))
        assert ladder.grab().toImage() == before

    def test_the_row_under_the_pointer_is_marked_in_the_chart(
        self, window: MainWindow, desk: FakeDesk
    ) -> None:
        desk.source.load([("100.00", "1.5"), ("99.98", "2")], [("100.01", "0.25"), ("100.05", "1")])
        window.bridge.look()
        chart, ladder = chart_of(window), ladder_of(window)
        ladder.grab()
        assert ladder.scene is not None
        row = next(row for row in ladder.scene.rows if row.price == "99.98")
        QTest.mouseMove(ladder, QPoint(50, row.span.start + 2))
        QTest.mouseMove(ladder, QPoint(50, row.span.start + 3))
        reading = chart.crosshair_reading
        assert reading is not None
        assert (reading.point.price, reading.point.size) == (9_998_000_000, 350_000_000)
        QApplication.sendEvent(ladder, QEvent(QEvent.Type.Leave))
        assert chart.crosshair_reading is None


def box(ladder: DepthLadder, row: LadderRow) -> tuple[int, int, int, int]:
    """Return the place of a row in a picture of the ladder."""
    return 2, row.span.start + 2, ladder.width() - 4, row.span.length - 4
