from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.desk import Notice, NoticeAction, NoticeLevel
from orderbook_desktop.gui.window.notice_bar import NoticeBar, NoticeRow

OFFLINE = Notice(
    "offline", NoticeLevel.WARNING, "Binance can't be reached <at all>.", NoticeAction.START_DEMO
)
NOTE = Notice("note", NoticeLevel.INFORMATION, "Something is worth knowing.")


@pytest.fixture
def bar(host: QWidget) -> NoticeBar:
    widget = NoticeBar(host)
    widget.resize(800, 100)
    return widget


def buttons(row: NoticeRow) -> dict[str, QPushButton]:
    found = row.findChildren(QPushButton)
    return {button.text(): button for button in found if isinstance(button, QPushButton)}


def test_takes_no_room_without_notices(bar: NoticeBar) -> None:
    assert bar.isHidden()
    bar.set_notices([NOTE])
    assert not bar.isHidden()
    bar.set_notices([])
    assert bar.isHidden()


def test_shows_level_sentence_and_action(bar: NoticeBar) -> None:
    bar.set_notices([OFFLINE])
    row = bar.rows[0]
    label = row.findChild(QLabel)
    assert isinstance(label, QLabel)
    assert "Warning" in label.text()
    assert "&lt;at all&gt;" in label.text()
    assert row.accessibleName() == "Warning: Binance can't be reached <at all>."
    assert list(buttons(row)) == ["Start the demo", "Dismiss"]
    bar.set_notices([NOTE])
    assert list(buttons(bar.rows[0])) == ["Dismiss"]


def test_an_action_names_its_symbol(bar: NoticeBar) -> None:
    action = NoticeAction.KEEP_RECORDING
    bar.set_notices([Notice("left", NoticeLevel.INFORMATION, "Left.", action, "BTC/USDT")])
    assert list(buttons(bar.rows[0])) == ["Keep recording BTC/USDT", "Dismiss"]


def test_buttons_tell(bar: NoticeBar, qtbot: QtBot) -> None:
    bar.set_notices([OFFLINE])
    row = buttons(bar.rows[0])
    with qtbot.waitSignal(bar.acted) as acted:
        QTest.mouseClick(row["Start the demo"], Qt.MouseButton.LeftButton)
    assert acted.args == [NoticeAction.START_DEMO]
    with qtbot.waitSignal(bar.dismissed) as dismissed:
        QTest.keyClick(row["Dismiss"], Qt.Key.Key_Space)
    assert dismissed.args == ["offline"]
    with qtbot.waitSignal(bar.dismissed):
        QTest.keyClick(row["Start the demo"], Qt.Key.Key_Escape)


def test_a_row_that_stays_keeps_the_focus(bar: NoticeBar) -> None:
    bar.set_notices([NOTE])
    button = buttons(bar.rows[0])["Dismiss"]
    assert button.focusPolicy() & Qt.FocusPolicy.TabFocus
    button.setFocus()
    bar.set_notices([OFFLINE, NOTE])
    assert button.hasFocus()
    assert {row.notice for row in bar.rows} == {OFFLINE, NOTE}
    layout = bar.layout()
    assert layout is not None
    first = layout.itemAt(0)
    assert first is not None
    top = first.widget()
    assert isinstance(top, NoticeRow)
    assert top.notice == OFFLINE
