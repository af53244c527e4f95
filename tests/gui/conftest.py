"""Windows, desks and preferences for the tests of the window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.app.window import PANES
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from tests.gui.fake_desk import NOW_NS, FakeDesk

OpenWindow = Callable[[FakeDesk], MainWindow]


@pytest.fixture
def settings(tmp_path: Path) -> QSettings:
    return QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)


@pytest.fixture
def preferences(settings: QSettings) -> Preferences:
    return Preferences(settings)


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


@pytest.fixture
def host(qtbot: QtBot) -> Iterator[QWidget]:
    """An active window of 1400x900 to put a part into."""
    window = QWidget()
    qtbot.addWidget(window)
    window.resize(1_400, 900)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    yield window
    window.close()


@pytest.fixture
def open_window(qapp: QApplication, qtbot: QtBot, preferences: Preferences) -> Iterator[OpenWindow]:
    """Open windows that are shown at 1600x900 and really closed after the test."""
    opened: list[MainWindow] = []

    def open_on(desk: FakeDesk) -> MainWindow:
        window = MainWindow(
            desk, preferences, qapp, panes=PANES, now_ns=lambda: NOW_NS + 200_000_000
        )
        qtbot.addWidget(window)
        window.resize(1600, 900)
        window.show()
        window.activateWindow()
        qtbot.waitUntil(window.isActiveWindow)
        opened.append(window)
        return window

    yield open_on
    for window in opened:
        window.finish_close()


@pytest.fixture
def window(open_window: OpenWindow, desk: FakeDesk) -> MainWindow:
    return open_window(desk)
