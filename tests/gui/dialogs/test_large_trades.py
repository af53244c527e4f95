"""The choice of the trades that count as large."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QSignalSpy, QTest
from PySide6.QtWidgets import QWidget

from orderbook_desktop.core.replay import LargeTrades
from orderbook_desktop.gui.dialogs.large_trades import LargeTradesChoice

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")


def opened(host: QWidget, large: LargeTrades) -> LargeTradesChoice:
    choice = LargeTradesChoice(large, "BTC", host)
    choice.open()
    return choice


def test_it_begins_with_what_holds(host: QWidget) -> None:
    by_share = opened(host, LargeTrades(percentile=99_900))
    assert by_share.by_share.isChecked()
    assert by_share.share_box.currentText() == "0.1 %"
    by_share.reject()
    by_size = opened(host, LargeTrades("2.5"))
    assert by_size.by_size.isChecked()
    assert by_size.size_field.text() == "2.5"
    by_size.reject()


def test_a_share_is_chosen(host: QWidget) -> None:
    choice = opened(host, LargeTrades("2.5"))
    chosen = QSignalSpy(choice.chosen)
    choice.share_box.setCurrentIndex(0)
    choice.share_box.activated.emit(0)
    choice.accept()
    assert chosen.count() == 1
    assert chosen.at(0) == [LargeTrades(percentile=90_000)]


def test_a_size_is_typed(host: QWidget) -> None:
    choice = opened(host, LargeTrades())
    chosen = QSignalSpy(choice.chosen)
    QTest.keyClicks(choice.size_field, "1,000.25")
    QTest.keyClick(choice.size_field, Qt.Key.Key_Return)
    assert chosen.count() == 1
    assert chosen.at(0) == [LargeTrades("1000.25")]


@pytest.mark.parametrize(
    ("typed", "told"),
    [("much", "'much' is no size such as 2.5."), ("0", "'0' is no size"), ("", "Type a size.")],
)
def test_what_is_no_size_is_told(host: QWidget, typed: str, told: str) -> None:
    choice = opened(host, LargeTrades())
    chosen = QSignalSpy(choice.chosen)
    choice.by_size.setChecked(True)
    QTest.keyClicks(choice.size_field, typed)
    choice.accept()
    assert choice.problem.text().startswith(told)
    assert (chosen.count(), choice.isVisible()) == (0, True)
    choice.reject()
