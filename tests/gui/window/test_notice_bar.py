from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.desk import NextAttempt, Notice, NoticeAction, NoticeLevel
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


def shown_buttons(row: NoticeRow) -> list[str]:
    return [text for text, button in buttons(row).items() if not button.isHidden()]


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
    assert shown_buttons(row) == ["Start the demo", "Dismiss"]
    bar.set_notices([NOTE])
    assert shown_buttons(bar.rows[0]) == ["Dismiss"]


def test_an_action_names_its_symbol(bar: NoticeBar) -> None:
    action = NoticeAction.KEEP_RECORDING
    bar.set_notices([Notice("left", NoticeLevel.INFORMATION, "Left.", action, "BTC/USDT")])
    assert shown_buttons(bar.rows[0]) == ["Keep recording BTC/USDT", "Dismiss"]


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


class Planned:
    """The next attempts by the key of their notice."""

    def __init__(self) -> None:
        self.attempts: dict[str, NextAttempt] = {}


@pytest.fixture
def planned() -> Planned:
    return Planned()


@pytest.fixture
def counting(host: QWidget, planned: Planned) -> NoticeBar:
    widget = NoticeBar(host, planned.attempts.get)
    widget.resize(800, 100)
    return widget


def test_counts_down_to_the_next_attempt(counting: NoticeBar, planned: Planned) -> None:
    planned.attempts["offline"] = NextAttempt(11.2)
    counting.set_notices([OFFLINE, NOTE])
    rows = {row.notice: row for row in counting.rows}
    offline, note = rows[OFFLINE], rows[NOTE]
    assert note.countdown.isHidden()
    assert note.retry_button.isHidden()
    texts = []
    for left in (11.2, 0.4, 0.0, 119.5, 130.0):
        planned.attempts["offline"] = NextAttempt(left)
        counting.count_down()
        texts.append(offline.countdown.text().removeprefix("Next attempt "))
    assert texts == ["in 12 s", "in 1 s", "in 0 s", "in 2 min", "in 3 min"]
    planned.attempts.clear()
    counting.count_down()
    assert offline.countdown.text() == "Trying again…"
    assert not offline.retry_button.isHidden()


def test_the_countdown_runs_by_itself(
    counting: NoticeBar, planned: Planned, host: QWidget, qtbot: QtBot
) -> None:
    counting.set_notices([OFFLINE])
    (row,) = counting.rows
    planned.attempts["offline"] = NextAttempt(5)
    qtbot.waitUntil(lambda: row.countdown.text() == "Next attempt in 5 s")
    planned.attempts["offline"] = NextAttempt(4)
    qtbot.waitUntil(lambda: row.countdown.text() == "Next attempt in 4 s")


def test_retry_now_keeps_the_focus(counting: NoticeBar, planned: Planned, qtbot: QtBot) -> None:
    planned.attempts["offline"] = NextAttempt(11)
    counting.set_notices([OFFLINE])
    (row,) = counting.rows
    row.retry_button.setFocus()
    for _ in range(2):
        with qtbot.waitSignal(counting.retried) as retried:
            planned.attempts.clear()
            QTest.keyClick(row.retry_button, Qt.Key.Key_Space)
        assert retried.args == ["offline"]
        assert row.retry_button.hasFocus()


def test_a_wait_that_the_exchange_asked_for_is_only_counted(
    counting: NoticeBar, planned: Planned
) -> None:
    planned.attempts["offline"] = NextAttempt(58, fixed=True)
    counting.set_notices([OFFLINE])
    (row,) = counting.rows
    assert row.countdown.text() == "Next attempt in 58 s"
    assert row.retry_button.isHidden()
