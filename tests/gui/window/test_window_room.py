"""No part of the window is cut off in a small window or on a small screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QApplication, QDialog, QScrollArea
from pytestqt.qtbot import QtBot

from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.fake_desk import NOW_NS, PEPE, FakeDesk, MovingMarket, symbol_info
from tests.gui.fake_switch import FakeSwitch

Open = Callable[[FakeDesk], MainWindow]


@pytest.fixture
def open_first(qapp: QApplication, qtbot: QtBot, preferences: Preferences) -> Iterator[Open]:
    """Open windows with all their parts, in the size that they choose themselves."""
    opened: list[MainWindow] = []

    def open_on(desk: FakeDesk) -> MainWindow:
        window = MainWindow(
            desk, preferences, qapp, panes=PANES, now_ns=lambda: NOW_NS, browsers=FakeSwitch()
        )
        qtbot.addWidget(window)
        window.show()
        opened.append(window)
        return window

    yield open_on
    for window in opened:
        window.finish_close()


@pytest.mark.parametrize("width", [640, 799, 800, 859, 860, 999, 1_000])
def test_the_bar_has_room_for_the_longest_words(open_first: Open, width: int) -> None:
    desk = FakeDesk(PEPE.info)
    MovingMarket(PEPE, desk.source)
    desk.recording = RecordingStatus(
        "BTC/USDT", RecordingState.DELAYED, problem="The database is away.", kept=False
    )
    hours_ago = NOW_NS - 119 * 60_000_000_000
    window = open_first(desk)
    window.resize(width, 480)
    bar = window.top_bar
    parts = (bar.badge, bar.record_button, bar.grouping_box, *bar.source_switch.buttons.values())
    for state in FeedState:
        desk.source.status = replace(desk.source.status, state=state, as_of_ns=hours_ago)
        window.bridge.look()
        QApplication.processEvents()
        assert window.width() == width
        for part in (one for one in parts if one.isVisible()):
            assert part.width() >= part.sizeHint().width(), (state, part)
        corner = bar.badge.mapTo(window, QPoint(bar.badge.width() - 1, 0))
        assert window.rect().contains(corner), state


@pytest.mark.parametrize("width", [640, 760, 840, 1_000])
def test_a_long_symbol_is_whole_where_there_is_room(open_first: Open, width: int) -> None:
    window = open_first(FakeDesk(symbol_info("1000SATS/FDUSD")))
    window.resize(width, 480)
    QApplication.processEvents()
    box = window.top_bar.symbol_box
    assert box.text() == "1000SATS/FDUSD"
    assert box.width() >= box.fontMetrics().horizontalAdvance(box.text()) + 20
    box.setFixedWidth(80)
    QApplication.processEvents()
    assert box.cursorPositionAt(QPoint(12, 12)) == 0


def test_a_first_window_is_no_larger_than_the_screen(open_first: Open) -> None:
    window = open_first(FakeDesk())
    room = window.screen().availableSize()
    assert room.width() < 1_440
    assert window.width() <= room.width()
    assert window.height() < room.height()


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_the_list_of_keys_fits_the_screen(open_first: Open) -> None:
    window = open_first(FakeDesk())
    next(one for one in window.menus.actions if one.text() == "&Keyboard shortcuts").trigger()
    dialog = window.findChild(QDialog)
    assert isinstance(dialog, QDialog)
    room = dialog.screen().availableSize()
    assert dialog.height() < room.height()
    assert dialog.width() < room.width()
    listed = dialog.findChild(QScrollArea)
    assert isinstance(listed, QScrollArea)
    QApplication.processEvents()
    assert listed.horizontalScrollBar().maximum() == 0
    dialog.close()
