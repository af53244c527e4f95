from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QListView, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.gui.symbol_box import SymbolBox
from orderbook_desktop.gui.symbol_popup import SymbolPopup
from orderbook_desktop.gui.theme import Appearance, ThemeKeeper
from tests.gui.fake_desk import many_symbols


@pytest.fixture
def box(host: QWidget) -> SymbolBox:
    widget = SymbolBox(host)
    widget.setGeometry(10, 10, 200, 28)
    other = QWidget(host)
    other.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    other.setObjectName("other")
    widget.show()
    other.show()
    widget.set_symbols(many_symbols(), ("SOL/USDT", "BTC/USDT"))
    widget.set_current("BTC/USDT")
    other.setFocus()
    return widget


def popup_of(box: SymbolBox) -> SymbolPopup:
    assert box.popup is not None
    return box.popup


def chosen_by(box: SymbolBox) -> list[str]:
    chosen: list[str] = []
    box.chosen.connect(chosen.append)
    return chosen


def press(box: SymbolBox, *keys: Qt.Key) -> None:
    for key in keys:
        QTest.keyClick(box, key)


def test_opens_with_recents_on_top_of_everything(box: SymbolBox) -> None:
    box.search_now()
    found = popup_of(box).found
    assert found[:2] == ["SOL/USDT", "BTC/USDT"]
    assert len(found) == 500
    assert box.selectedText() == "BTC/USDT"


def test_typing_narrows_and_enter_takes_the_likeliest(box: SymbolBox) -> None:
    chosen = chosen_by(box)
    box.search_now()
    QTest.keyClicks(box, "doge")
    assert popup_of(box).found == ["DOGE/USDT", "DOGE/USDC", "DOGE/EUR"]
    press(box, Qt.Key.Key_Return)
    assert chosen == ["DOGE/USDT"]
    assert box.text() == "DOGE/USDT"
    assert box.popup is None


def test_the_mark_moves_and_stays_inside(box: SymbolBox) -> None:
    chosen = chosen_by(box)
    box.search_now()
    QTest.keyClicks(box, "btc/")
    press(box, Qt.Key.Key_Up)
    assert popup_of(box).marked == "BTC/USDT"
    press(box, Qt.Key.Key_Down)
    assert popup_of(box).marked == "BTC/USDC"
    press(box, Qt.Key.Key_PageDown, Qt.Key.Key_Down)
    assert popup_of(box).marked == popup_of(box).found[-1]
    press(box, Qt.Key.Key_PageUp, Qt.Key.Key_Down, Qt.Key.Key_Enter)
    assert chosen == ["BTC/USDC"]


def test_down_opens_the_list(box: SymbolBox) -> None:
    box.setFocus(Qt.FocusReason.OtherFocusReason)
    assert box.popup is None
    press(box, Qt.Key.Key_Down)
    assert box.popup is not None


def test_escape_leaves_everything_as_it_was(box: SymbolBox, qtbot: QtBot) -> None:
    chosen = chosen_by(box)
    box.search_now()
    QTest.keyClicks(box, "eth")
    with qtbot.waitSignal(box.left):
        press(box, Qt.Key.Key_Escape)
    assert (box.text(), box.popup, chosen) == ("BTC/USDT", None, [])


def test_text_in_an_empty_box_stays_until_it_is_given_up(box: SymbolBox, qtbot: QtBot) -> None:
    box.set_current("")
    box.setFocus()
    QTest.keyClicks(box, "eth")
    press(box, Qt.Key.Key_Escape)
    assert (box.text(), box.popup) == ("eth", None)
    other = box.window().findChild(QWidget, "other")
    assert isinstance(other, QWidget)
    other.setFocus()
    assert box.text() == "eth"
    box.search_now()
    assert popup_of(box).found[0].startswith("ETH/")
    press(box, Qt.Key.Key_Escape)
    with qtbot.waitSignal(box.left):
        press(box, Qt.Key.Key_Escape)
    assert box.text() == ""


def test_the_mark_stays_while_nothing_is_new(box: SymbolBox) -> None:
    symbols = many_symbols()
    box.set_symbols(symbols, ["SOL/USDT", "BTC/USDT"])
    box.search_now()
    press(box, Qt.Key.Key_Down, Qt.Key.Key_Down)
    marked = popup_of(box).marked
    # The window sets the symbols again and again.
    box.set_symbols(symbols, ["SOL/USDT", "BTC/USDT"])
    assert popup_of(box).marked == marked != popup_of(box).found[0]


def test_losing_the_focus_does_too(box: SymbolBox) -> None:
    box.search_now()
    QTest.keyClicks(box, "eth")
    other = box.window().findChild(QWidget, "other")
    assert isinstance(other, QWidget)
    other.setFocus()
    assert (box.text(), box.popup) == ("BTC/USDT", None)


def test_an_unknown_symbol_is_answered_in_place(box: SymbolBox) -> None:
    chosen = chosen_by(box)
    box.search_now()
    QTest.keyClicks(box, "nosuchcoin")
    assert popup_of(box).sentence == "No traded symbol matches “nosuchcoin”."
    press(box, Qt.Key.Key_Return)
    assert chosen == []
    assert popup_of(box).sentence
    QTest.keyClick(box, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(box, "sol")
    assert popup_of(box).sentence == ""
    assert popup_of(box).marked == "SOL/USDT"


def test_before_the_symbols_are_known_a_whole_one_can_be_typed(box: SymbolBox) -> None:
    chosen = chosen_by(box)
    box.set_symbols((), ())
    box.search_now()
    assert "symbols are not known yet" in popup_of(box).sentence
    QTest.keyClicks(box, "ethbtc")
    press(box, Qt.Key.Key_Return)
    assert chosen == ["ETH/BTC"]


def test_half_a_symbol_is_not_taken_before_the_symbols_are_known(box: SymbolBox) -> None:
    chosen = chosen_by(box)
    box.set_symbols((), ())
    box.search_now()
    QTest.keyClicks(box, "eth")
    press(box, Qt.Key.Key_Return)
    assert popup_of(box).sentence == "“eth” is not a symbol such as BTC/USDT."
    assert chosen == []


def test_what_cannot_be_a_symbol_is_told(box: SymbolBox) -> None:
    chosen = chosen_by(box)
    box.set_symbols((), ())
    box.search_now()
    QTest.keyClicks(box, "a/b/c")
    press(box, Qt.Key.Key_Return)
    assert popup_of(box).sentence == "“a/b/c” is not a symbol such as BTC/USDT."
    assert chosen == []


def test_symbols_that_arrive_fill_an_open_list(box: SymbolBox) -> None:
    box.set_symbols((), ())
    box.search_now()
    QTest.keyClicks(box, "sol")
    box.set_symbols(many_symbols(), ())
    assert popup_of(box).found[0] == "SOL/USDT"


def test_a_click_takes_a_row(box: SymbolBox) -> None:
    chosen = chosen_by(box)
    QTest.mouseClick(box, Qt.MouseButton.LeftButton)
    rows = popup_of(box).findChild(QListView)
    assert isinstance(rows, QListView)
    rect = rows.visualRect(rows.model().index(1, 0))
    QTest.mouseClick(rows.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert chosen == ["BTC/USDT"]


def test_the_list_stays_inside_the_window(box: SymbolBox) -> None:
    box.search_now()
    popup, window = popup_of(box), box.window()
    assert window.rect().contains(popup.geometry())
    assert popup.mapTo(window, QPoint()).y() >= box.geometry().bottom()


def test_a_long_sentence_is_whole_from_the_first_time_on(host: QWidget, qapp: QApplication) -> None:
    keeper = ThemeKeeper(qapp, Appearance.DARK)
    assert keeper.appearance is Appearance.DARK
    box = SymbolBox(host)
    box.setGeometry(10, 10, 200, 28)
    box.show()
    box.search_now()
    sentence = popup_of(box).findChild(QLabel)
    assert isinstance(sentence, QLabel)
    QApplication.processEvents()
    assert len(sentence.text()) > 60
    assert sentence.height() >= sentence.heightForWidth(sentence.width())
