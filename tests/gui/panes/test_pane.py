"""A pane is added by its class alone: the window passes it every change, and shows its actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QSplitter, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.app.window import PANES
from orderbook_desktop.gui.actions import Action, Command, FocusKeys
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.panes.pane import Pane, PaneMaker
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import LIGHT, Appearance, Theme
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.fake_desk import BTC, FakeDesk, FakeSource, MovingMarket
from tests.gui.pane_of import heatmap_of, trades_of


class Counter(Pane):
    def __init__(self, theme: Theme, _preferences: Preferences, parent: QWidget) -> None:
        super().__init__(theme, "Counter of levels", parent)
        self.levels = 0

    def set_frame(self, frame: BookFrame) -> None:
        self.levels = len(frame.bids.prices) + len(frame.asks.prices)

    def summary(self) -> str:
        return f"{self.levels} levels"


class Listener(Counter):
    """Notes every call that a pane may get."""

    def __init__(self, theme: Theme, preferences: Preferences, parent: QWidget) -> None:
        super().__init__(theme, preferences, parent)
        self.calls: list[object] = []
        self.focus_keys = FocusKeys(
            {Action("Listener: ring", "ring", ("B",)): (lambda: self.calls.append("ring"),)}
        )

    def set_step(self, step: int) -> None:
        self.calls.append(step)

    def set_quote_units(self, wanted: bool) -> None:
        self.calls.append(f"quote units: {wanted}")

    def begin_anew(self) -> None:
        self.calls.append("anew")

    def set_theme(self, theme: Theme) -> None:
        super().set_theme(theme)
        self.calls.append(theme)

    def commands(self) -> Sequence[Command]:
        return (Command(Action("&Wake", "wake", ("Ctrl+9",)), lambda: self.calls.append("wake")),)


def _window(
    desk: FakeDesk, store: QSettings, application: QApplication, *panes: PaneMaker
) -> MainWindow:
    preferences = Preferences(store)
    preferences.appearance = Appearance.DARK
    window = MainWindow(desk, preferences, application, panes=panes)
    window.resize(1_600, 900)
    window.show()
    window.activateWindow()
    return window


@pytest.fixture
def window(
    qapp: QApplication, qtbot: QtBot, desk: FakeDesk, settings: QSettings
) -> Iterator[MainWindow]:
    """A window with another pane, after a window that was closed without."""
    _window(desk, settings, qapp, *PANES).finish_close()
    window = _window(desk, settings, qapp, *PANES, Counter)
    qtbot.addWidget(window)
    qtbot.waitUntil(window.isActiveWindow)
    yield window
    window.finish_close()


def test_another_pane_shows_the_book(window: MainWindow, desk: FakeDesk, qtbot: QtBot) -> None:
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    counter = window.panes[-1]
    assert counter.summary() == "4000 levels"
    assert counter.accessibleName() == "Counter of levels"
    qtbot.waitUntil(lambda: counter.accessibleDescription().endswith("4000 levels"))
    splitter = window.findChild(QSplitter)
    assert isinstance(splitter, QSplitter)
    assert splitter.count() == len(PANES) + 1
    # The remembered widths are those of the panes before.
    assert all(pane.width() >= 200 for pane in window.panes)
    assert window.panes[0].hasFocus()


def test_a_pane_that_can_be_hidden_is_shown_where_it_has_room(
    qapp: QApplication, qtbot: QtBot, desk: FakeDesk, settings: QSettings
) -> None:
    window = _window(desk, settings, qapp, *PANES)
    qtbot.addWidget(window)
    qtbot.waitUntil(window.isActiveWindow)
    trades = trades_of(window)
    switch = _action(window, "&Time and sales")
    assert trades.isVisible()
    trades.setFocus()
    heatmap = heatmap_of(window)
    for width, is_shown, shows_heatmap in (
        *((1_600, True, True), (900, False, False)),
        *((1_440, False, True), (1_000, False, False)),
    ):
        window.resize(width, 800)
        QApplication.processEvents()
        assert window.width() == width
        assert (trades.isVisible(), switch.isChecked()) == (is_shown, is_shown)
        assert heatmap.isVisible() is shows_heatmap
    assert window.panes[0].hasFocus()
    # What the person chose counts from then on, at any width.
    switch.trigger()
    assert trades.isVisible()
    assert trades.width() >= trades.minimumWidth()
    switch.trigger()
    window.resize(1_600, 800)
    QApplication.processEvents()
    assert not trades.isVisible()
    window.finish_close()
    again = _window(desk, settings, qapp, *PANES)
    qtbot.addWidget(again)
    assert not trades_of(again).isVisible()
    _action(again, "&Time and sales").trigger()
    widths = [pane.width() for pane in again.panes]
    assert all(width >= 200 for width in widths)
    again.finish_close()


def test_a_pane_is_told_everything(
    qapp: QApplication, qtbot: QtBot, desk: FakeDesk, settings: QSettings
) -> None:
    Preferences(settings).set_grouping(BTC.info.market, "0.01")
    window = _window(desk, settings, qapp, Listener)
    qtbot.addWidget(window)
    qtbot.waitUntil(window.isActiveWindow)
    (pane,) = window.panes
    assert isinstance(pane, Listener)
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    window.menus.actions[0].trigger()  # Another widget has the focus.
    QTest.keyClick(pane, Qt.Key.Key_B)
    QTest.keyClick(pane, Qt.Key.Key_BracketRight)
    QTest.keyClick(pane, Qt.Key.Key_9, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(pane, Qt.Key.Key_U)
    _action(window, "&Light").trigger()
    desk.demo, desk.source = True, FakeSource(desk.symbol.market)
    desk.revision += 1
    window.bridge.look()
    tick = BTC.info.tick_size
    # Without a book there is nothing to group.
    assert pane.calls == [1, tick, "ring", 2 * tick, "wake", "quote units: True", LIGHT, "anew"]
    assert pane.summary() == "0 levels"
    assert {"&Wake", "Listener: ring"} <= {one.text for one in window.actions_with_keys()}
    window.finish_close()
    assert Preferences(settings).shows_quote


def test_a_window_may_have_no_pane_at_all(
    qapp: QApplication, qtbot: QtBot, desk: FakeDesk, settings: QSettings
) -> None:
    window = _window(desk, settings, qapp)
    qtbot.addWidget(window)
    MovingMarket(BTC, desk.source)
    window.bridge.look()
    assert window.status_line.text("update id") == "Update 1000"
    window.finish_close()


def test_panes_remember_their_own_choices(
    qapp: QApplication, qtbot: QtBot, desk: FakeDesk, settings: QSettings
) -> None:
    first = _window(desk, settings, qapp, *PANES)
    qtbot.addWidget(first)
    _action(first, "&Highlight changes").trigger()
    first.finish_close()
    again = _window(desk, settings, qapp, *PANES)
    qtbot.addWidget(again)
    assert not _action(again, "&Highlight changes").isChecked()
    again.finish_close()


def _action(window: MainWindow, text: str) -> QAction:
    return next(one for one in window.menus.actions if one.text() == text)
