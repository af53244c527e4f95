from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.desk import Notice, NoticeAction, NoticeLevel
from orderbook_desktop.core.disk import Retention
from orderbook_desktop.core.recording_status import RecordingCounts, RecordingState, RecordingStatus
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.gui.dialogs.welcome import WelcomePanel
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.fake_desk import NOW_NS, FakeDesk
from tests.gui.fake_storage import GB, FakeStorage
from tests.gui.pane_of import ladder_of

Start = Callable[[], MainWindow]


@pytest.fixture
def storage() -> FakeStorage:
    return FakeStorage()


@pytest.fixture
def start(
    qapp: QApplication, qtbot: QtBot, settings: QSettings, desk: FakeDesk, storage: FakeStorage
) -> Iterator[Start]:
    """Open the window again and again, with the same preferences."""
    opened: list[MainWindow] = []

    def start_anew() -> MainWindow:
        for window in opened:
            window.finish_close()
        window = MainWindow(
            desk, Preferences(settings), qapp, panes=PANES, now_ns=lambda: NOW_NS, storage=storage
        )
        qtbot.addWidget(window)
        window.show()
        opened[:] = [window]
        return window

    yield start_anew
    for window in opened:
        window.finish_close()


@pytest.fixture
def panel(qtbot: QtBot, start: Start) -> WelcomePanel:
    return panel_of(start())


def panel_of(window: MainWindow) -> WelcomePanel:
    assert window.welcome is not None
    return window.welcome


def help_action(window: MainWindow) -> QAction:
    return next(one for one in window.menus.actions if one.text() == "&Welcome")


def recorded(payload_bytes: int) -> RecordingStatus:
    counts = RecordingCounts(events=payload_bytes // 1_000, payload_bytes=payload_bytes)
    return RecordingStatus("BTC/USDT", RecordingState.RECORDING, counts=counts, kept=False)


def test_only_the_first_start_welcomes(start: Start) -> None:
    first = start()
    assert panel_of(first).isVisible()
    assert start().welcome is None


def test_an_upgrade_does_not_show_the_welcome_again(start: Start, settings: QSettings) -> None:
    # The preferences that a version without a welcome stored.
    settings.setValue("market/symbol", "ETH/USDT")
    assert start().welcome is None


def test_help_brings_it_back(start: Start) -> None:
    start()
    window = start()
    help_action(window).trigger()
    assert panel_of(window).isVisible()
    again = panel_of(window)
    help_action(window).trigger()
    assert panel_of(window) is again


def test_there_is_no_welcome_without_a_place(
    qapp: QApplication, qtbot: QtBot, preferences: Preferences, desk: FakeDesk
) -> None:
    window = MainWindow(desk, preferences, qapp, panes=PANES, now_ns=lambda: NOW_NS)
    qtbot.addWidget(window)
    assert window.welcome is None
    assert not preferences.welcomed
    window.finish_close()


def test_dismissing_leads_to_the_ladder(start: Start, qtbot: QtBot) -> None:
    window = start()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    panel = panel_of(window)
    QTest.mouseClick(panel.close_button, Qt.MouseButton.LeftButton)
    assert window.welcome is None
    assert panel.isHidden()
    assert ladder_of(window).hasFocus()


def test_escape_dismisses(start: Start) -> None:
    window = start()
    panel = panel_of(window)
    panel.demo_button.setFocus()
    QTest.keyClick(panel.demo_button, Qt.Key.Key_Escape)
    assert window.welcome is None


def test_the_welcome_claims_no_recording_while_there_is_no_book(
    start: Start, desk: FakeDesk
) -> None:
    desk.recording = recorded(0)
    window = start()
    panel = panel_of(window)
    assert panel.title.text().endswith("of BTC/USDT appears here once it is loaded.")
    assert "will be recorded in the folder of recordings" in panel.recorded.text()
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    window.bridge.look()
    assert panel.title.text().endswith("of BTC/USDT, live from the exchange.")
    assert "is being recorded" in panel.recorded.text()
    desk.source.lose(FeedState.RECONNECTING)
    window.bridge.look()
    assert "live" not in panel.title.text()


def test_says_what_is_recorded_where(start: Start, desk: FakeDesk) -> None:
    desk.recording = recorded(0)
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    panel = panel_of(start())
    assert panel.title.text().startswith("Welcome. This is the order book of BTC/USDT, live")
    assert "is being recorded in the folder of recordings" in panel.recorded.text()
    assert panel.disk.text() == "Disk: being measured; 50.0 GB are free."
    assert panel.disk.isVisible()


def test_says_that_the_symbol_on_screen_is_recorded_and_how_to_keep_several(
    start: Start, desk: FakeDesk
) -> None:
    desk.recording = recorded(0)
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    window = start()
    text = panel_of(window).recorded.text()
    assert "of BTC/USDT is being recorded" in text
    assert "as long as it is on screen" in text
    assert "Library of recordings… keeps several" in text
    desk.start_recording("BTC/USDT")
    window.bridge.look()
    assert "also while another symbol is on screen" in panel_of(window).recorded.text()


def test_says_that_nothing_is_recorded(start: Start, desk: FakeDesk) -> None:
    desk.recording = RecordingStatus("BTC/USDT", RecordingState.STOPPED, wanted=False, kept=False)
    panel = panel_of(start())
    assert "not being recorded" in panel.recorded.text()
    assert not panel.disk.isVisible()


def test_says_why_recording_does_not_work(start: Start, desk: FakeDesk) -> None:
    window = start()
    desk.recording = replace(recorded(0), problem="The database is away.")
    window.bridge.look()
    window.bridge.recording_changed.emit(desk.recording)
    assert panel_of(window).recorded.text().endswith("The database is away.")


def test_says_how_much_disk_a_day_takes(panel: WelcomePanel, storage: FakeStorage) -> None:
    storage.measured(bytes_per_day=GB)
    panel.show_disk()
    # The files grow by a tenth more than the recordings; half a gigabyte in them is free.
    assert panel.disk.text() == "Disk: about 1.1 GB a day; 50.0 GB are free, enough for 45 days."


def test_what_is_kept_is_a_choice_from_the_start(
    start: Start, desk: FakeDesk, storage: FakeStorage, qtbot: QtBot
) -> None:
    desk.recording = recorded(0)
    panel = panel_of(start())
    storage.measured(bytes_per_day=GB)
    box = panel.retention_box
    assert box.isVisible()
    assert box.currentText() == "Keep everything"
    with qtbot.waitSignal(box.chosen):
        box.setFocus()
        for key in (Qt.Key.Key_Down, Qt.Key.Key_Down):
            QTest.keyClick(box, key)
    assert storage.chosen[-1] == Retention(days=30)
    assert panel.disk.text().endswith("50.0 GB are free, enough for all that is kept.")


def test_without_a_recording_there_is_nothing_to_keep(start: Start, desk: FakeDesk) -> None:
    desk.recording = RecordingStatus("BTC/USDT", RecordingState.STOPPED, wanted=False, kept=False)
    assert not panel_of(start()).retention_box.isVisible()


def test_chooses_a_symbol(start: Start, desk: FakeDesk) -> None:
    window = start()
    panel = panel_of(window)
    by_symbol = {button.text(): button for button in panel.symbol_buttons}
    assert by_symbol["BTC/USDT"].isChecked()
    QTest.mouseClick(by_symbol["ETH/USDT"], Qt.MouseButton.LeftButton)
    assert desk.commands == [("select_symbol", "ETH/USDT")]
    assert window.windowTitle().startswith("ETH/USDT")
    assert [text for text, one in by_symbol.items() if one.isChecked()] == ["ETH/USDT"]
    QTest.mouseClick(by_symbol["ETH/USDT"], Qt.MouseButton.LeftButton)
    assert by_symbol["ETH/USDT"].isChecked()


def test_leads_to_all_symbols(start: Start, qtbot: QtBot) -> None:
    window = start()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    QTest.mouseClick(panel_of(window).search_button, Qt.MouseButton.LeftButton)
    assert window.top_bar.symbol_box.hasFocus()


def test_the_demo_is_one_click_away_and_one_click_back(start: Start, desk: FakeDesk) -> None:
    window = start()
    panel = panel_of(window)
    QTest.mouseClick(panel.demo_button, Qt.MouseButton.LeftButton)
    assert desk.commands == [("act", NoticeAction.START_DEMO)]
    desk.demo = True
    panel.show_desk()
    assert panel.demo_button.text() == "Leave the demo"
    assert "made-up market" in panel.title.text()
    QTest.mouseClick(panel.demo_button, Qt.MouseButton.LeftButton)
    assert desk.commands[1:] == [("act", NoticeAction.LEAVE_DEMO)]
    desk.demo = False
    panel.show_desk()
    assert panel.demo_button.text() == "Try the demo"


@pytest.mark.parametrize(
    "reason",
    [
        "The exchange can't be reached (its name is not known); check the network connection.",
        "The exchange doesn't serve your region (HTTP 451); set ORDERBOOK_REST_URL.",
    ],
)
def test_trouble_is_explained_beside_it_with_the_demo(
    start: Start, desk: FakeDesk, reason: str
) -> None:
    window = start()
    desk.notices = [Notice("exchange", NoticeLevel.WARNING, reason, NoticeAction.START_DEMO)]
    desk.revision += 1
    window.bridge.look()
    assert [row.notice.text for row in window.notice_bar.rows] == [reason]
    assert window.notice_bar.isVisible()
    assert panel_of(window).isVisible()


def test_says_that_another_program_records(start: Start, desk: FakeDesk) -> None:
    desk.recording = replace(
        recorded(0), state=RecordingState.ELSEWHERE, recorded_by="another program (process 9)"
    )
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    text = panel_of(start()).recorded.text()
    assert text.startswith("It is being recorded by another program (process 9).")
    assert "The Record button above ends it" not in text
