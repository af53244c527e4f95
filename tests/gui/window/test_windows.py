"""What holds for each window of the program: its keys, its focus, Return and Escape."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QModelIndex, QPoint, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)
from pytestqt.qtbot import QtBot

import orderbook_desktop.gui
from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.desk import (
    BrowserState,
    BrowserStatus,
    Notice,
    NoticeAction,
    NoticeLevel,
)
from orderbook_desktop.core.library_jobs import EntryKey
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.replay import Bookmark, LargeTrades
from orderbook_desktop.gui.dialogs.bookmark_list import BookmarkList
from orderbook_desktop.gui.dialogs.browser_panel import BrowserPanel
from orderbook_desktop.gui.dialogs.gap_list import GapList
from orderbook_desktop.gui.dialogs.help import About, KeyList
from orderbook_desktop.gui.dialogs.large_trades import LargeTradesChoice
from orderbook_desktop.gui.dialogs.order_dialogs import RemovalDialog, TargetDialog
from orderbook_desktop.gui.dialogs.question import Answer, Question
from orderbook_desktop.gui.dialogs.recordings import RecordingManager
from orderbook_desktop.gui.dialogs.space_dialog import SpaceDialog
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Appearance, contrast
from orderbook_desktop.gui.window import menus
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.fake_desk import BTC, EVENT_MS, NOW_NS, FakeDesk, MovingMarket
from tests.gui.fake_library import FakeLibrary, entry
from tests.gui.fake_replay import FakeReplay
from tests.gui.fake_storage import FakeStorage
from tests.gui.fake_switch import ON, TAKEN, FakeSwitch
from tests.gui.pane_of import ladder_of

# The offscreen platform can neither raise a window nor size it.
pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")
CONTROL = Qt.KeyboardModifier.ControlModifier
RECORDINGS = (
    RecordingStatus("BTC/USDT", RecordingState.RECORDING, kept=False),
    RecordingStatus("ETH/USDT", RecordingState.RECORDING, kept=True),
    RecordingStatus("SOL/USDT", RecordingState.STOPPED, wanted=False, kept=True),
)


@pytest.fixture
def switch() -> FakeSwitch:
    return FakeSwitch()


@pytest.fixture
def whole(
    qapp: QApplication,
    qtbot: QtBot,
    preferences: Preferences,
    desk: FakeDesk,
    switch: FakeSwitch,
) -> Iterator[MainWindow]:
    """A window with all its parts, a welcome, two notices, and a book."""
    desk.recordings = RECORDINGS
    desk.library = FakeLibrary(entry("SOL/USDT", 2, 1), entry("XRP/USDT", file="/a/week.obd"))
    desk.library.verify(EntryKey("SOLUSDT"))
    desk.notify(
        Notice("exchange", NoticeLevel.WARNING, "No network.", NoticeAction.START_DEMO),
        Notice("note", NoticeLevel.INFORMATION, "A note."),
    )
    MovingMarket(BTC, desk.source)
    window = MainWindow(
        *(desk, preferences, qapp),
        panes=PANES,
        now_ns=lambda: NOW_NS,
        storage=FakeStorage(),
        browsers=switch,
    )
    qtbot.addWidget(window)
    window.resize(1_280, 800)
    window.show()
    activate(window, qtbot)
    window.bridge.look()
    yield window
    window.dialogs.close_all()
    window.finish_close()


def activate(window: QWidget, qtbot: QtBot) -> None:
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)


def trigger(window: MainWindow, text: str) -> None:
    next(made for made in window.menus.actions if made.text() == text).trigger()


def _opened(window: MainWindow, text: str) -> QDialog:
    """Open a dialog by the menu."""
    before = _visible(window)
    trigger(window, text)
    (dialog,) = _visible(window) - before
    return dialog


def _visible(window: MainWindow) -> set[QDialog]:
    found = window.findChildren(QDialog)
    return {dialog for dialog in found if isinstance(dialog, QDialog) and dialog.isVisible()}


def _removal(window: MainWindow) -> QDialog:
    """Open the question of the recording manager."""
    manager = _opened(window, menus.MANAGE.text)
    assert isinstance(manager, RecordingManager)
    manager.table.selectAll()
    manager.remove_button.click()
    (question,) = _visible(window) - {manager}
    return question


def _ordered(window: MainWindow, symbol: str, command: str) -> QDialog:
    """Open a dialog of the library's commands on what is stored of a market."""
    manager = _opened(window, menus.MANAGE.text)
    assert isinstance(manager, RecordingManager)
    model = manager.table.model()
    names = [model.index(place, 0).data() for place in range(model.rowCount(QModelIndex()))]
    manager.table.select_only(names.index(symbol))
    getattr(manager.stored, command)()
    (dialog,) = _visible(window) - {manager}
    return dialog


def _bookmarks(window: MainWindow) -> QDialog:
    """Open the list of a replay's bookmarks; without a replay it closes."""
    desk, replay = FakeDesk(), FakeReplay()
    replay.bookmarks = (Bookmark("a", "BTCUSDT", EVENT_MS, 1_234, "the sweep"),)
    desk.play(replay, replay.source)
    return _shown(BookmarkList(desk, window))


def _large_trades(window: MainWindow) -> QDialog:
    """Open the choice of large trades."""
    return _shown(LargeTradesChoice(LargeTrades(), "BTC", window))


def _shown(dialog: QDialog) -> QDialog:
    dialog.show()
    return dialog


DIALOGS: dict[str, Callable[[MainWindow], QDialog]] = {
    "keys": lambda window: _opened(window, menus.SHOW_KEYS.text),
    "about": lambda window: _opened(window, menus.SHOW_ABOUT.text),
    "space": lambda window: _opened(window, menus.SHOW_SPACE.text),
    "browser": lambda window: _opened(window, menus.SHOW_BROWSERS.text),
    "recordings": lambda window: _opened(window, menus.MANAGE.text),
    "gaps": lambda window: _opened(window, menus.SHOW_GAPS.text),
    "removal": _removal,
    "export": lambda window: _ordered(window, "SOL/USDT", "export"),
    "bookmarks": _bookmarks,
    "large trades": _large_trades,
    "removal of what is stored": lambda window: _ordered(window, "SOL/USDT", "remove"),
}
EACH_DIALOG = pytest.mark.parametrize("name", list(DIALOGS))


def active_dialog(name: str, window: MainWindow, qtbot: QtBot) -> QDialog:
    """Open the dialog `name` of `window`, and activate it."""
    dialog = DIALOGS[name](window)
    activate(dialog, qtbot)
    return dialog


def test_each_dialog_of_the_program_is_looked_at_here() -> None:
    """A dialog class that is new has to join the tests of this module, and the base class."""
    sources = Path(orderbook_desktop.gui.__path__[0]).rglob("*.py")
    classes = [
        node
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    bases = {node.name: {ast.unparse(base) for base in node.bases} for node in classes}
    assert [name for name, of in bases.items() if "QDialog" in of] == ["Dialog"]
    of_files = {RecordingManager, SpaceDialog, GapList, TargetDialog, RemovalDialog}
    known = {About, KeyList, BrowserPanel, Question, BookmarkList, LargeTradesChoice} | of_files
    shared = {"Dialog", "_HelpDialog", "ListDialog"}
    dialogs = {name for name, of in bases.items() if of & shared}
    assert dialogs == {kind.__name__ for kind in known} | shared - {"Dialog"}


class TestKeys:
    @EACH_DIALOG
    def test_ctrl_q_quits_from_everywhere(
        self, whole: MainWindow, desk: FakeDesk, qtbot: QtBot, name: str
    ) -> None:
        dialog = active_dialog(name, whole, qtbot)
        # A kept recording would be asked about.
        desk.recordings = ()
        with qtbot.waitSignal(whole.close_requested):
            QTest.keyClick(dialog, Qt.Key.Key_Q, CONTROL)

    @EACH_DIALOG
    def test_f1_shows_the_keys_from_everywhere(
        self, whole: MainWindow, qtbot: QtBot, name: str
    ) -> None:
        dialog = active_dialog(name, whole, qtbot)
        QTest.keyClick(dialog, Qt.Key.Key_F1)
        QTest.keyClick(dialog, Qt.Key.Key_F1)
        (keys,) = whole.findChildren(KeyList)
        assert isinstance(keys, KeyList)
        # A list below a question that blocks the window could not be closed.
        activate(keys, qtbot)
        QTest.keyClick(keys, Qt.Key.Key_Escape)
        assert not keys.isVisible()

    @EACH_DIALOG
    def test_f11_is_full_screen_from_everywhere(
        self, whole: MainWindow, qtbot: QtBot, name: str
    ) -> None:
        dialog = active_dialog(name, whole, qtbot)
        QTest.keyClick(dialog, Qt.Key.Key_F11)
        assert whole.isFullScreen()
        assert not dialog.isFullScreen()
        activate(dialog, qtbot)
        QTest.keyClick(dialog, Qt.Key.Key_F11)
        assert not whole.isFullScreen()

    @EACH_DIALOG
    def test_ctrl_k_finds_a_symbol_from_everywhere(
        self, whole: MainWindow, desk: FakeDesk, qtbot: QtBot, name: str
    ) -> None:
        dialog = active_dialog(name, whole, qtbot)
        QTest.keyClick(dialog, Qt.Key.Key_K, CONTROL)
        qtbot.waitUntil(whole.isActiveWindow)
        assert whole.focusWidget() is whole.top_bar.symbol_box
        assert whole.top_bar.symbol_box.popup is not None
        assert QApplication.activeModalWidget() is None
        assert desk.commands == []

    def test_escape_leaves_the_full_screen(self, whole: MainWindow) -> None:
        for _ in range(2):
            QTest.keyClick(whole, Qt.Key.Key_F11)
            assert whole.isFullScreen()
            QTest.keyClick(ladder_of(whole), Qt.Key.Key_Escape)
            assert not whole.isFullScreen()
        full = next(made for made in whole.menus.actions if made.text() == menus.FULL_SCREEN.text)
        assert not full.isChecked()

    def test_escape_closes_a_list_before_it_leaves_the_full_screen(self, whole: MainWindow) -> None:
        QTest.keyClick(whole, Qt.Key.Key_F11)
        QTest.keyClick(whole, Qt.Key.Key_K, CONTROL)
        box = whole.top_bar.symbol_box
        QTest.keyClick(box, Qt.Key.Key_Escape)
        assert box.popup is None
        assert whole.isFullScreen()
        QTest.keyClick(whole.focusWidget() or whole, Qt.Key.Key_Escape)
        assert not whole.isFullScreen()

    def test_outside_the_full_screen_escape_is_a_key_of_the_panes(self, whole: MainWindow) -> None:
        leave = next(one for one in whole.menus.actions if one.text() == "&Leave full screen")
        enabled = []
        for _ in range(2):
            enabled.append(leave.isEnabled())
            QTest.keyClick(whole, Qt.Key.Key_F11)
        assert enabled == [False, True]

    def test_a_maximised_window_is_maximised_after_the_full_screen(self, whole: MainWindow) -> None:
        whole.showMaximized()
        QTest.keyClick(whole, Qt.Key.Key_F11)
        assert whole.isFullScreen()
        QTest.keyClick(whole, Qt.Key.Key_F11)
        assert whole.isMaximized()


class TestReturnAndEscape:
    @EACH_DIALOG
    def test_escape_closes_and_changes_nothing(
        self, whole: MainWindow, desk: FakeDesk, switch: FakeSwitch, qtbot: QtBot, name: str
    ) -> None:
        dialog = active_dialog(name, whole, qtbot)
        for box in dialog.findChildren(QAbstractButton):
            if isinstance(box, QAbstractButton) and box.isCheckable() and box.isVisible():
                box.setChecked(True)
        QTest.keyClick(dialog, Qt.Key.Key_Escape)
        qtbot.waitUntil(lambda: not dialog.isVisible())
        assert (desk.commands, switch.commands) == ([], [])

    @pytest.mark.parametrize("name", ["keys", "about", "gaps"])
    def test_return_closes_what_only_tells(
        self, whole: MainWindow, qtbot: QtBot, name: str
    ) -> None:
        dialog = active_dialog(name, whole, qtbot)
        QTest.keyClick(dialog, Qt.Key.Key_Return)
        assert not dialog.isVisible()

    def test_return_answers_a_question_and_space_does_not(
        self, whole: MainWindow, desk: FakeDesk, qtbot: QtBot
    ) -> None:
        question = _removal(whole)
        activate(question, qtbot)
        for _ in range(3):
            QTest.keyClick(question.focusWidget() or question, Qt.Key.Key_Space)
        assert question.isVisible()
        QTest.keyClick(question.focusWidget() or question, Qt.Key.Key_Return)
        assert not question.isVisible()
        assert [symbol for name, symbol in desk.commands if name == "remove_recording"] == [
            "ETH/USDT",
            "SOL/USDT",
        ]

    def test_a_focused_button_gets_its_return(self, host: QWidget, qtbot: QtBot) -> None:
        taken: list[str] = []
        answers = [Answer(text, partial(taken.append, text)) for text in ("First", "Other")]
        for button in ("First", "Other", "Cancel"):
            question = Question("Title", "Which?", answers, host)
            question.open()
            activate(question, qtbot)
            focused = {**question.buttons, "Cancel": question.cancel_button}[button]
            focused.setFocus()
            QTest.keyClick(focused, Qt.Key.Key_Return)
            assert not question.isVisible()
        assert taken == ["First", "Other"]


# Buttons that only end something, and change nothing.
_ENDS = {"Close", "Cancel", "OK", "Got it", "Dismiss"}


class TestFocus:
    @pytest.mark.parametrize("name", ["main", *DIALOGS])
    def test_no_button_passes_the_focus_on_to_another_command(
        self, whole: MainWindow, desk: FakeDesk, switch: FakeSwitch, qtbot: QtBot, name: str
    ) -> None:
        """A person who presses the space bar twice must not give two different commands."""
        statuses = (switch.status, ON, TAKEN, BrowserStatus(BrowserState.STARTING))
        texts: set[str] = set()
        for status in statuses if name == "browser" else statuses[:1]:
            for place in range(12):
                switch.status, desk.recordings = status, RECORDINGS
                desk.revision += 1
                whole.bridge.look()
                window = whole if name == "main" else DIALOGS[name](whole)
                activate(window, qtbot)
                if isinstance(window, RecordingManager):
                    window.table.selectAll()
                elif isinstance(window, SpaceDialog):
                    window.by_age.toggle()
                elif isinstance(window, BrowserPanel):
                    window.show_status(status)
                buttons = [
                    button
                    for button in window.findChildren(QAbstractButton)
                    if isinstance(button, QAbstractButton)
                    and button.isVisible()
                    and button.isEnabled()
                    and button.focusPolicy() & Qt.FocusPolicy.TabFocus
                    and button.window() is window
                ]
                if place < len(buttons):
                    button = buttons[place]
                    texts.add(button.text())
                    button.setFocus()
                    QTest.keyClick(button, Qt.Key.Key_Space)
                    focused = window.focusWidget()
                    passed_on = (
                        window.isVisible()
                        and isinstance(focused, QAbstractButton)
                        and focused is not button
                        and focused.text() not in _ENDS
                    )
                    assert not passed_on, (button.text(), focused)
                whole.dialogs.close_all()
                QApplication.processEvents()
        assert texts

    @pytest.mark.parametrize("appearance", [Appearance.DARK, Appearance.LIGHT])
    @pytest.mark.parametrize("name", ["main", *DIALOGS])
    def test_the_focus_is_seen_on_every_control(
        self,
        whole: MainWindow,
        switch: FakeSwitch,
        qtbot: QtBot,
        name: str,
        appearance: Appearance,
    ) -> None:
        """WCAG 2.2, "Focus Visible", in each state that a control may have."""
        QApplication.setCursorFlashTime(0)
        whole.themes.set_appearance(appearance)
        switch.status = ON
        window = whole if name == "main" else DIALOGS[name](whole)
        activate(window, qtbot)
        if isinstance(window, SpaceDialog):
            window.by_age.setChecked(True)
        controls = _tab_stops(window)
        assert len(controls) >= (12 if name == "main" else 1)
        for control in controls:
            checks = (False, True) if _is_checkable(control) else (None,)
            for is_checked in checks:
                for is_hovered in (False, True):
                    control.setAttribute(Qt.WidgetAttribute.WA_UnderMouse, is_hovered)
                    if is_checked is not None and isinstance(control, QAbstractButton):
                        control.setChecked(is_checked)
                    seen = _pixels_of_focus(window, control)
                    state = (control, control.objectName(), is_checked, is_hovered)
                    assert seen >= min(control.width(), control.height()), state


def _is_checkable(control: QWidget) -> bool:
    return isinstance(control, QAbstractButton) and control.isCheckable()


def _tab_stops(window: QWidget) -> list[QWidget]:
    """Return the widgets to which the Tab key leads."""
    found: list[QWidget] = []
    for _ in range(80):
        QTest.keyClick(window.focusWidget() or window, Qt.Key.Key_Tab)
        focused = window.focusWidget()
        if focused is None or focused in found:
            break
        found.append(focused)
    return found


def _pixels_of_focus(window: QWidget, control: QWidget) -> int:
    """Return how many pixels around `control` differ well while it has the focus."""

    def picture() -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
        QApplication.processEvents()
        at = control.mapTo(window, QPoint())
        area = control.rect().translated(at).adjusted(-3, -3, 3, 3).intersected(window.rect())
        image = window.grab(area).toImage().convertToFormat(QImage.Format.Format_ARGB32)
        return np.frombuffer(image.constBits(), np.uint32).copy()

    control.setFocus(Qt.FocusReason.TabFocusReason)
    if isinstance(control, QLineEdit):
        control.deselect()
    with_focus = picture()
    control.clearFocus()
    without = picture()
    differ = with_focus != without
    pairs = np.stack([with_focus[differ], without[differ]])
    kinds, counts = np.unique(pairs, axis=1, return_counts=True)
    return sum(
        int(count)
        for (first, second), count in zip(kinds.T.tolist(), counts, strict=True)
        if contrast(QColor.fromRgb(first), QColor.fromRgb(second)) >= 2
    )


class TestTextSize:
    def test_all_text_follows_and_it_is_remembered(
        self, whole: MainWindow, preferences: Preferences
    ) -> None:
        manager = _opened(whole, menus.MANAGE.text)
        labels = [*whole.findChildren(QLabel), *manager.findChildren(QPushButton), *whole.panes]
        heights = {
            part: part.fontMetrics().height() for part in labels if isinstance(part, QWidget)
        }
        badge = whole.top_bar.badge.sizeHint().height()
        trigger(whole, menus.TEXT_SIZES[150].text)
        QApplication.processEvents()
        assert preferences.text_percent == 150
        for part, height in heights.items():
            assert part.fontMetrics().height() >= 1.3 * height, part
        assert whole.top_bar.badge.sizeHint().height() > badge
        trigger(whole, menus.TEXT_SIZES[100].text)
        QApplication.processEvents()
        for part, height in heights.items():
            assert part.fontMetrics().height() == height, part

    def test_the_next_window_has_it(
        self, qapp: QApplication, qtbot: QtBot, desk: FakeDesk, preferences: Preferences
    ) -> None:
        preferences.text_percent = 200
        window = MainWindow(desk, preferences, qapp, panes=PANES, now_ns=lambda: NOW_NS)
        qtbot.addWidget(window)
        window.show()
        action = next(one for one in window.menus.actions if one.text() == "200 %")
        assert action.isChecked()
        large = window.fontMetrics().height()
        window.themes.set_text_percent(100)
        assert large >= 1.8 * window.fontMetrics().height()
        window.finish_close()

    @pytest.mark.parametrize("percent", [85, 200])
    def test_everything_has_room(self, whole: MainWindow, percent: int) -> None:
        trigger(whole, menus.TEXT_SIZES[percent].text)
        QApplication.processEvents()
        bar = whole.top_bar
        parts = [
            bar.badge,
            bar.record_button,
            bar.grouping_box,
            *bar.source_switch.buttons.values(),
        ]
        for part in parts:
            assert not part.isVisible() or part.width() >= part.sizeHint().width(), part
        corner = bar.badge.mapTo(whole, QPoint(bar.badge.width(), bar.badge.height()))
        assert whole.rect().contains(corner)
        trigger(whole, menus.TEXT_SIZES[100].text)

    def test_a_size_that_is_not_on_offer_is_the_usual_one(self, preferences: Preferences) -> None:
        preferences.text_percent = 3_000
        assert preferences.text_percent == 100
