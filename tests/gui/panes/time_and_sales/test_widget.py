"""The pane of trades: what it draws, how it is paced, and how it is handled."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QAccessible, QGuiApplication, QHelpEvent, QImage, QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QToolTip
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.tape_rows import NEW_ROWS_AT_MOST
from orderbook_desktop.gui.panes.book_frame import read_frame
from orderbook_desktop.gui.panes.time_and_sales.widget import TimeAndSales
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK, LIGHT
from tests.core.trades_made import FIRST_MS, made_tape, made_trade
from tests.gui.fake_desk import BTC, PEPE, FakeDesk, MovingMarket, frame_of
from tests.gui.panes.time_and_sales.test_model import Pages
from tests.gui.pixels import colours_of


@pytest.fixture
def pane(qtbot: QtBot, preferences: Preferences) -> TimeAndSales:
    widget = TimeAndSales(DARK, preferences)
    qtbot.addWidget(widget)
    widget.resize(420, 600)
    widget.show()
    widget.setFocus()
    return widget


@pytest.fixture
def filled(pane: TimeAndSales, desk: FakeDesk) -> TimeAndSales:
    """A pane with two hundred trades, of which every third is sold."""
    MovingMarket(BTC, desk.source)
    desk.source.tape = made_tape(
        made_trade(number, "57123.45", "0.5", sold=number % 3 == 0) for number in range(200)
    )
    pane.set_frame(frame_of(desk))
    return pane


def _image(pane: TimeAndSales) -> QImage:
    return pane.grab().toImage()


def _line(pane: TimeAndSales, place: int) -> QPointF:
    """Return a point in the row at `place` from the top."""
    body = pane._body()
    return QPointF(60, body.y() + (place + 0.5) * pane._line_height)


def _newest(pane: TimeAndSales) -> int:
    return pane.model.view(pane.lines)[0].first_id


def _wheel(pane: TimeAndSales, angle: int) -> None:
    at = _line(pane, 2)
    event = QWheelEvent(
        *(at, at, QPoint(), QPoint(0, angle)),
        *(Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier),
        *(Qt.ScrollPhase.NoScrollPhase, False),
    )
    pane.wheelEvent(event)


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=["dark", "light"])
def test_bought_and_sold_differ_by_colour_and_by_word(
    filled: TimeAndSales, theme: object, desk: FakeDesk
) -> None:
    filled.set_theme(LIGHT if theme is LIGHT else DARK)
    used = LIGHT if theme is LIGHT else DARK
    image, body = _image(filled), filled._body()
    # The newest one, 199, was bought, and 198 was sold.
    height = filled._line_height
    rows = [image.copy(0, body.y() + height * place, 420, height) for place in (0, 1)]
    assert used.bid.rgb() in colours_of(rows[0])
    assert used.ask.rgb() not in colours_of(rows[0])
    assert used.ask.rgb() in colours_of(rows[1])
    scene = filled.model.scene(2)
    assert scene is not None
    assert [scene.format.texts(row).side for row in scene.rows] == ["Buy", "Sell"]
    assert desk.source.tape is not None


@pytest.mark.parametrize("market", [BTC, PEPE], ids=["btc", "pepe"])
@pytest.mark.parametrize("width", [1_000, 420, 340, 300, 260, 0])
def test_columns_do_not_overlap(
    pane: TimeAndSales, desk: FakeDesk, market: object, width: int
) -> None:
    desk = FakeDesk(PEPE.info if market is PEPE else BTC.info)
    desk.source.load([("0.00000812", "100")], [("0.00000813", "100")])
    prices = ("0.00000812", "0.00000813") if market is PEPE else ("57123.45", "57123.46")
    desk.source.tape = made_tape(
        made_trade(number, prices[number], "12345.5", at_ms=FIRST_MS) for number in range(2)
    )
    pane.resize(max(width, pane.minimumWidth()), 600)
    pane.set_frame(frame_of(desk))
    scene, measure = pane.model.scene(9), pane._numbers.width
    columns = pane._columns(scene)
    assert scene is not None
    texts = scene.format.texts(scene.rows[0])
    assert texts.note == "x2"
    ends = [
        (0, columns.time, columns.time_text(texts)),
        (columns.time, columns.side, columns.side_text(texts)),
        (columns.side, columns.note, texts.note),
    ]
    before_price = columns.note
    if columns.began is not None:
        before_price = columns.began
        ends.append((columns.note, columns.began, scene.format.range_text(scene.rows[0])))
    ends += [(before_price, columns.price, texts.price)]
    for left, right, text in ends:
        assert measure(text) <= right - left + 1, (text, width)
    assert columns.began is not None or width < 1_000
    assert columns.size <= pane.width()


def test_new_trades_come_at_their_pace(filled: TimeAndSales, desk: FakeDesk, qtbot: QtBot) -> None:
    tape = desk.source.tape
    assert tape is not None
    assert _newest(filled) == 199
    for number in range(200, 1_150):
        tape.add(made_trade(number, "57123.45", "0.5"))
    filled.set_frame(frame_of(desk))
    assert _newest(filled) == 199
    qtbot.waitUntil(lambda: _newest(filled) == 1_149)
    fresh = [row for row in filled.model.rows if row.last_id >= 200]
    assert len(fresh) == NEW_ROWS_AT_MOST
    assert (fresh[0].first_id, fresh[0].last_id) == (200, 1_125)


def test_scrolled_back_the_picture_stands_still(
    filled: TimeAndSales, desk: FakeDesk, qtbot: QtBot
) -> None:
    assert filled._newest.isHidden()
    _wheel(filled, -240)
    assert not filled._newest.isHidden()
    body, before = filled._body(), _image(filled)
    tape = desk.source.tape
    assert tape is not None
    for number in range(200, 300):
        tape.add(made_trade(number, "57123.45", "0.5"))
    filled.set_frame(frame_of(desk))
    qtbot.waitUntil(lambda: "106 newer trades" in filled.summary())
    assert _image(filled).copy(body) == before.copy(body)
    QTest.keyClick(filled, Qt.Key.Key_End)
    assert filled._newest.isHidden()
    assert _newest(filled) == 299


def test_keys_scroll_and_pick(filled: TimeAndSales) -> None:
    QTest.keyClick(filled, Qt.Key.Key_PageDown)
    assert _newest(filled) == 199 - (filled.lines - 1) or _newest(filled) < 190
    QTest.keyClick(filled, Qt.Key.Key_PageUp)
    QTest.keyClick(filled, Qt.Key.Key_Home)
    assert _newest(filled) == 199
    QTest.keyClick(filled, Qt.Key.Key_Down)
    QTest.keyClick(filled, Qt.Key.Key_Down)
    row = filled.model.picked_row
    assert row is not None
    assert row.first_id == 198
    assert filled.accessibleDescription().startswith("Sold 0.50000 BTC at ")
    assert DARK.focus.rgb() in colours_of(_image(filled).copy(5, 5, 400, 500))
    QTest.keyClick(filled, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text().startswith("Sold 0.50000 BTC at ")
    QTest.keyClick(filled, Qt.Key.Key_Up)
    QTest.keyClick(filled, Qt.Key.Key_Return)
    QTest.keyClick(filled, Qt.Key.Key_Escape)
    assert filled.model.picked_row is None
    QGuiApplication.clipboard().setText("")
    filled.copy_row()
    assert QGuiApplication.clipboard().text() == ""
    filled._expand_picked()


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_the_mouse_picks_points_and_explains(filled: TimeAndSales, qtbot: QtBot) -> None:
    with qtbot.waitSignal(filled.price_pointed) as pointed:
        filled.mouseMoveEvent(_mouse(filled, 1))
    assert pointed.args == [57123_45000000]
    QTest.mouseClick(filled, Qt.MouseButton.LeftButton, pos=_line(filled, 1).toPoint())
    assert filled.model.picked == 198
    QTest.mouseDClick(filled, Qt.MouseButton.LeftButton, pos=_line(filled, 1).toPoint())
    at = _line(filled, 0).toPoint()
    filled.event(QHelpEvent(QEvent.Type.ToolTip, at, filled.mapToGlobal(at)))
    assert QToolTip.text().startswith("Bought 0.50000 BTC")
    filled.event(QHelpEvent(QEvent.Type.ToolTip, QPoint(2, 2), QPoint(2, 2)))
    with qtbot.waitSignal(filled.price_pointed) as pointed:
        filled.leaveEvent(QEvent(QEvent.Type.Leave))
    assert pointed.args == [None]


def test_where_no_book_is_known_prices_keep_their_places(
    pane: TimeAndSales, desk: FakeDesk
) -> None:
    """As at a gap of a replay, where the exchange has not told the tick of the market."""
    unknown = replace(BTC.info, tick_size=0, step_size=0)
    desk.source.load(bids=[("57123.45", "1.25")], asks=[("57123.50", "1")])
    desk.source.tape = made_tape([made_trade(1, "57123.5", "0.5")])
    pane.set_frame(read_frame(unknown, desk.source.look()))
    desk.source.book.clear()
    pane.set_frame(read_frame(unknown, desk.source.look()))
    scene = pane.model.scene(1)
    assert scene is not None
    texts = scene.format.texts(scene.rows[0])
    assert (texts.price, texts.quantity) == ("57,123.50", "0.50")


def _mouse(pane: TimeAndSales, place: int) -> QMouseEvent:
    at = _line(pane, place)
    return QMouseEvent(
        *(QEvent.Type.MouseMove, at, at, Qt.MouseButton.NoButton),
        *(Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier),
    )


@pytest.mark.qt_log_ignore("This plugin does not support raise")
@pytest.mark.parametrize(
    ("typed", "size"),
    [
        *((".5", "0.5"), ("1,000.5", "1000.5"), ("from 2", "2"), (" 0.5 BTC ", "0.5"), ("", "")),
        *((text, "0.75") for text in ("0,5", "1e3", "-1", "5.", "much")),
    ],
)
def test_a_typed_text_that_is_no_size_changes_nothing(
    filled: TimeAndSales, typed: str, size: str
) -> None:
    for text in ("0.75", typed):
        filled.size_box.setCurrentText(text)
        filled.size_box.activated.emit(0)
    assert filled.model.size.text == size
    assert filled.size_box.currentText() == (f"from {size} BTC" if size else "All sizes")


def test_a_typed_text_that_is_no_size_is_told_as_such(
    filled: TimeAndSales, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(filled.size_box, "tell", told.append)
    for text in ("much", "2"):
        filled.size_box.setCurrentText(text)
        filled.size_box.activated.emit(0)
    assert told == ["much is no size; type a number, such as 0.5"]


def test_the_least_size_is_chosen_typed_and_remembered(
    filled: TimeAndSales, preferences: Preferences, desk: FakeDesk, qtbot: QtBot
) -> None:
    box = filled.size_box
    assert [box.itemText(place) for place in range(3)] == [
        "All sizes",
        "from 0.1 BTC",
        "from 0.2 BTC",
    ]
    QTest.keyClick(filled, Qt.Key.Key_F)
    assert box.hasFocus() or filled.focusWidget() is box.lineEdit()
    line_edit = box.lineEdit()
    assert line_edit is not None
    QTest.keyClicks(line_edit, "0.75")
    QTest.keyClick(line_edit, Qt.Key.Key_Return)
    assert filled.model.size.text == "0.75"
    assert (
        filled.summary()
        == "No trade of at least 0.75 BTC among the newest. Scroll on for older trades."
    )
    assert box.currentText() == "from 0.75 BTC"
    assert preferences.tape_size("BTCUSDT") == "0.75"
    assert _image(filled)
    again = TimeAndSales(DARK, preferences)
    qtbot.addWidget(again)
    again.set_frame(frame_of(desk))
    assert again.size_box.currentText() == "from 0.75 BTC"
    box.setCurrentIndex(0)
    box.activated.emit(0)
    assert preferences.tape_size("BTCUSDT") == ""
    assert len(filled.model.rows) == 200


def test_older_trades_are_read_from_the_recording(filled: TimeAndSales, desk: FakeDesk) -> None:
    pages = Pages([made_trade(number, "57123.45", "0.5") for number in range(-0, 1)])
    filled.set_pages(pages)
    for _ in range(20):
        filled.scroll_rows(filled.lines)
        pages.answer()
    scene = filled.model.scene(filled.lines)
    assert scene is not None
    assert scene.rows[-1].first_id == 0
    assert _image(filled)


def test_messages_are_painted_as_they_change(pane: TimeAndSales, desk: FakeDesk) -> None:
    assert _image(pane)
    desk.source.load([("100.00", "1.5")], [("100.01", "2")])
    pane.set_frame(frame_of(desk))
    assert pane.summary().startswith("The trades of BTC/USDT are not followed.")
    empty = _image(pane)
    desk.source.tape = made_tape([])
    pane.set_frame(frame_of(desk))
    assert _image(pane) != empty
    pane.set_quote_units(wanted=True)
    desk.source.tape.add(made_trade(1, "100", "2"))
    pane.take_trades()
    scene = pane.model.scene(1)
    assert scene is not None
    assert scene.format.texts(scene.rows[0]).quantity == "200.00"
    pane.begin_anew()
    assert pane.summary() == ""
    pane.take_trades()


def test_assistive_technology_finds_the_rows_as_a_table(filled: TimeAndSales) -> None:
    QTest.keyClick(filled, Qt.Key.Key_Down)
    QTest.keyClick(filled, Qt.Key.Key_Down)
    filled.summary()
    table = QAccessible.queryAccessibleInterface(filled.table)
    assert table is not None
    parts = [table.child(place) for place in range(table.childCount())]
    texts: dict[QAccessible.Role, list[str]] = {}
    for part in parts:
        texts.setdefault(part.role(), []).append(part.text(QAccessible.Text.Name))
    assert texts[QAccessible.Role.ColumnHeader] == ["Time", "Side", "Price, USDT", "Size, BTC"]
    cells = texts[QAccessible.Role.Cell]
    assert len(cells) == 4 * len(filled.model.view(filled.lines))
    assert cells[1].startswith("Bought 0.50000 BTC at ")
    assert (cells[2:4], cells[5][:5]) == (["57,123.45", "0.50000"], "Sold ")
    (chosen,) = filled.table.selectionModel().selectedRows()
    assert chosen.row() == 1
    rect = next(part for part in parts if part.role() == QAccessible.Role.Cell).rect()
    assert filled.mapFromGlobal(rect.topLeft()).y() == filled._body().y()
    with_table = _image(filled)
    filled.table.hide()
    assert _image(filled) == with_table


def test_missing_trades_and_sums_are_painted(pane: TimeAndSales, desk: FakeDesk) -> None:
    desk.source.load([("100.00", "1.5")], [("100.01", "2")])
    desk.source.tape = tape = made_tape([made_trade(0)])
    pane.set_frame(frame_of(desk))
    for number in (*range(1, 60), *range(70, 100)):
        tape.add(made_trade(number))
    tape.add(made_trade(100, quantity="900"))
    pane.take_trades()
    body = pane._body()
    colours = colours_of(_image(pane).copy(body))
    assert DARK.caution.rgb() in colours
    assert DARK.raised.rgb() in colours


def test_a_time_of_another_pane_marks_the_last_trade_up_to_it(filled: TimeAndSales) -> None:
    before = _image(filled)
    rows = filled.model.view(filled.lines)
    for row, later in ((rows[0], 10_000), (rows[3], 0)):
        filled.mark_time(row.event_ms + later)
        scene = filled.model.scene(filled.lines)
        assert scene is not None
        assert scene.marked == row.first_id
    assert _image(filled) != before
    filled.mark_time(rows[0].event_ms - 10**9)
    assert _image(filled) == before
    filled.mark_time(None)
    assert _image(filled) == before
