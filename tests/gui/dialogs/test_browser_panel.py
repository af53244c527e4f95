from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import segno
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QGuiApplication, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.desk import BrowserState, BrowserStatus
from orderbook_desktop.gui.dialogs.browser_panel import BrowserPanel, QrCode
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.browser_control import BrowserControl
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.gui.window.menus import SHOW_BROWSERS
from tests.gui.fake_desk import NOW_NS, FakeDesk
from tests.gui.fake_switch import LINK, OFF, ON, TAKEN, FakeSwitch
from tests.gui.pane_of import ladder_of

CONTROL = Qt.KeyboardModifier.ControlModifier
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def switch() -> FakeSwitch:
    return FakeSwitch()


@pytest.fixture
def control(host: QWidget, switch: FakeSwitch) -> BrowserControl:
    widget = BrowserControl(switch, host)
    widget.show()
    return widget


@pytest.fixture
def window(
    qapp: QApplication,
    qtbot: QtBot,
    preferences: Preferences,
    desk: FakeDesk,
    switch: FakeSwitch,
) -> Iterator[MainWindow]:
    window = MainWindow(
        desk, preferences, qapp, panes=PANES, now_ns=lambda: NOW_NS, browsers=switch
    )
    qtbot.addWidget(window)
    window.resize(1600, 900)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    yield window
    window.finish_close()


def control_of(window: MainWindow) -> BrowserControl:
    assert window.top_bar.browser_control is not None
    return window.top_bar.browser_control


def panel_of(control: BrowserControl) -> BrowserPanel:
    assert control.panel is not None
    return control.panel


def panel_with(host: QWidget, switch: FakeSwitch, status: BrowserStatus) -> BrowserPanel:
    switch.status = status
    panel = BrowserPanel(switch, host)
    panel.show()
    return panel


def test_one_click_serves_and_shows_where(control: BrowserControl, switch: FakeSwitch) -> None:
    assert control.button.text() == "○ Browser: off"
    QTest.mouseClick(control.button, LEFT)
    assert switch.commands == [True]
    assert control.button.isChecked()
    assert panel_of(control).isVisible()
    assert panel_of(control).link.text() == LINK


def test_another_click_stops(control: BrowserControl, switch: FakeSwitch) -> None:
    QTest.mouseClick(control.button, LEFT)
    QTest.mouseClick(control.button, LEFT)
    assert switch.commands == [True, False]
    assert not control.button.isChecked()
    assert control.button.text() == "○ Browser: off"
    assert panel_of(control).link.text() == ""


def test_a_failure_is_not_shown_as_on(control: BrowserControl, switch: FakeSwitch) -> None:
    switch.taken = True
    QTest.mouseClick(control.button, LEFT)
    assert not control.button.isChecked()
    assert control.button.text() == "▲ Browser: failed"
    assert control.button.toolTip() == TAKEN.problem


def test_viewers_are_counted_live(
    control: BrowserControl, switch: FakeSwitch, qtbot: QtBot
) -> None:
    QTest.mouseClick(control.button, LEFT)
    assert control.button.text() == "● Browser: on · 0 viewers"
    switch.status = replace(ON, viewers=1)
    qtbot.waitUntil(lambda: control.button.text() == "● Browser: on · 1 viewer")
    assert control.button.accessibleName() == "Browser view on · 1 viewer"
    assert control.button.toolTip().startswith("Browser view on · 1 viewer.")
    assert panel_of(control).headline.text().endswith("· 1 viewer")


@pytest.mark.parametrize("state", [BrowserState.STARTING, BrowserState.STOPPING])
def test_what_is_under_way_is_said_and_can_be_taken_back(
    control: BrowserControl, switch: FakeSwitch, state: BrowserState
) -> None:
    switch.status = BrowserStatus(state)
    control.look()
    control.open_panel()
    assert control.button.text() == f"◌ Browser: {state.value}"
    assert panel_of(control).headline.text() == f"{state.value.capitalize()}…"
    QTest.mouseClick(panel_of(control).switch_button, LEFT)
    assert switch.commands == [state is BrowserState.STOPPING]


def test_the_link_and_code_are_there_only_while_it_is_on(host: QWidget, switch: FakeSwitch) -> None:
    panel = panel_with(host, switch, OFF)
    parts = (panel.link, panel.copy_button, panel.open_button, panel.code, panel.reach)
    assert not any(part.isVisible() for part in parts)
    panel.show_status(ON)
    assert all(part.isVisible() for part in parts)


def test_copies_the_link(host: QWidget, switch: FakeSwitch) -> None:
    QGuiApplication.clipboard().clear()
    panel = panel_with(host, switch, ON)
    QTest.mouseClick(panel.copy_button, LEFT)
    assert QGuiApplication.clipboard().text() == LINK
    assert panel.copy_button.text() == "Copied"


def test_opens_the_browser(host: QWidget, switch: FakeSwitch) -> None:
    switch.status = ON
    opened: list[str] = []

    def open_link(link: str) -> bool:
        opened.append(link)
        return len(opened) > 1

    panel = BrowserPanel(switch, host, open_link)
    panel.show()
    QTest.mouseClick(panel.open_button, LEFT)
    assert "copy the link" in panel.problem.text()
    assert panel.problem.isVisible()
    QTest.mouseClick(panel.open_button, LEFT)
    assert opened == [LINK, LINK]
    assert not panel.problem.isVisible()


def test_says_who_can_open_it(host: QWidget, switch: FakeSwitch) -> None:
    panel = panel_with(host, switch, replace(ON, local_only=True))
    assert panel.reach.text().startswith("Only this computer")
    panel.show_status(ON)
    assert panel.reach.text().startswith("This link, with the token in it")


def test_there_is_no_code_for_a_link_that_only_this_computer_can_open(
    host: QWidget, switch: FakeSwitch
) -> None:
    panel = panel_with(host, switch, replace(ON, local_only=True))
    assert not panel.code.isVisible()
    panel.show_status(ON)
    assert panel.code.isVisible()


def test_one_click_lets_other_devices_in_and_another_keeps_them_out(
    host: QWidget, switch: FakeSwitch
) -> None:
    panel = panel_with(host, switch, replace(ON, local_only=True))
    panel.commanded.connect(lambda: panel.show_status(switch.status))
    panel.others_button.click()
    assert switch.commands == ["others: True"]
    assert panel.reach.text().startswith("This link, with the token in it")
    assert panel.others_button.text() == "This computer only"
    panel.others_button.click()
    assert switch.commands == ["others: True", "others: False"]
    assert not panel.code.isVisible()


def test_offers_another_port(host: QWidget, switch: FakeSwitch) -> None:
    panel = panel_with(host, switch, TAKEN)
    assert panel.problem.text() == TAKEN.problem
    assert panel.other_port_button.text() == "Use port 8001"
    QTest.mouseClick(panel.other_port_button, LEFT)
    assert switch.commands == ["other port"]
    panel.show_status(switch.status)
    assert not panel.other_port_button.isVisible()
    assert not panel.problem.isVisible()
    panel.show_status(replace(TAKEN, other_port=0))
    assert panel.other_port_button.text() == "Use another port"
    panel.show_status(replace(TAKEN, other_port=None))
    assert not panel.other_port_button.isVisible()


def test_ctrl_b_shows_it_enter_serves_and_escape_closes(
    window: MainWindow, switch: FakeSwitch, qtbot: QtBot
) -> None:
    QTest.keyClick(ladder_of(window), Qt.Key.Key_B, CONTROL)
    panel = panel_of(control_of(window))
    qtbot.waitUntil(panel.isActiveWindow)
    assert switch.commands == []
    assert panel.switch_button.hasFocus()
    QTest.keyClick(panel.switch_button, Qt.Key.Key_Return)
    assert switch.commands == [True]
    assert control_of(window).button.isChecked()
    QTest.keyClick(panel, Qt.Key.Key_Escape)
    assert not panel.isVisible()
    assert switch.commands == [True]


def test_enter_in_the_link_copies_it(host: QWidget, switch: FakeSwitch, qtbot: QtBot) -> None:
    panel = panel_with(host, switch, ON)
    panel.activateWindow()
    qtbot.waitUntil(panel.isActiveWindow)
    panel.link.setFocus()
    QGuiApplication.clipboard().clear()
    QTest.keyClick(panel.link, Qt.Key.Key_Return)
    assert QGuiApplication.clipboard().text() == LINK
    assert switch.commands == []


def test_the_menu_has_it(window: MainWindow) -> None:
    action: QAction = next(one for one in window.menus.actions if "Browser" in one.text())
    action.trigger()
    assert panel_of(control_of(window)).isVisible()
    assert SHOW_BROWSERS in window.actions_with_keys()


def test_a_window_without_a_switch_offers_none(
    qapp: QApplication, qtbot: QtBot, preferences: Preferences, desk: FakeDesk
) -> None:
    window = MainWindow(desk, preferences, qapp, panes=PANES, now_ns=lambda: NOW_NS)
    qtbot.addWidget(window)
    assert window.top_bar.browser_control is None
    assert not any("Browser" in one.text() for one in window.menus.actions)
    window.finish_close()


@pytest.mark.parametrize("width", [720, 1_000])
def test_the_bar_has_room_for_it(
    window: MainWindow, switch: FakeSwitch, qtbot: QtBot, width: int
) -> None:
    switch.status = replace(ON, viewers=500)
    control_of(window).look()
    window.resize(width, 600)
    qtbot.waitUntil(lambda: window.width() == width)
    assert window.top_bar.minimumSizeHint().width() <= width


def test_the_first_picture_does_not_wait_for_it() -> None:
    script = "import sys, orderbook_desktop.gui.window.main_window; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    later = {"segno", "orderbook_desktop.gui.dialogs.browser_panel"}
    assert not later & set(done.stdout.split())


def painted(code: QrCode) -> QImage:
    code.resize(code.sizeHint())
    return code.grab().toImage()


def test_the_code_holds_the_link(host: QWidget) -> None:
    code = QrCode(host)
    code.set_text(LINK)
    image = painted(code)
    expected = list(segno.make_qr(LINK, error="m").matrix_iter(border=4))
    size = image.width() // len(expected)
    middles = range(size // 2, image.width(), size)
    lightnesses = [[image.pixelColor(x, y).lightness() for x in middles] for y in middles]
    # The code is dark on light in every theme.
    assert lightnesses == [[0 if module else 255 for module in row] for row in expected]
    assert code.accessibleDescription() == f"Opens {LINK}"


def test_a_code_of_nothing_takes_no_room(host: QWidget) -> None:
    code = QrCode(host)
    code.set_text(LINK)
    code.set_text("")
    assert code.sizeHint().isEmpty()
    assert code.accessibleDescription() == ""


def test_every_state_has_room(host: QWidget, switch: FakeSwitch) -> None:
    states = [BrowserStatus(state) for state in BrowserState if state is not BrowserState.ON]
    panel = panel_with(host, switch, OFF)
    widths = set()
    # Each status follows each other status: the one before must not decide the size.
    for status in [later for first in (*states, ON, TAKEN) for later in (first, OFF, first)]:
        panel.show_status(status)
        widths.add(panel.width())
        assert panel.headline.width() >= panel.headline.sizeHint().width(), status.state
        assert panel.height() >= panel.close_button.geometry().bottom(), status.state
        assert panel.height() - panel.close_button.geometry().bottom() < 30, status.state
    assert len(widths) == 1
    panel.close()
