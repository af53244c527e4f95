"""Assistive technology finds the ladder's rows as a table, and hears the row that is picked."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QAccessible, QAccessibleEvent, QAccessibleInterface
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.gui.panes.ladder.layout import ColumnChoice
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK
from tests.gui.fake_desk import FakeDesk, frame_of

STEP = 10**6


@pytest.fixture
def ladder(qtbot: QtBot, preferences: Preferences, desk: FakeDesk) -> DepthLadder:
    widget = DepthLadder(DARK, preferences)
    qtbot.addWidget(widget)
    widget.resize(430, 800)
    widget.show()
    desk.source.load([("100.00", "1.5"), ("99.98", "2")], [("100.01", "0.25"), ("100.02", "4")])
    widget.set_step(STEP)
    widget.set_frame(frame_of(desk))
    widget.summary()
    return widget


def interface_of(widget: QWidget) -> QAccessibleInterface:
    found = QAccessible.queryAccessibleInterface(widget)
    assert found is not None
    return found


def texts_of(ladder: DepthLadder) -> dict[QAccessible.Role, list[str]]:
    """Return the texts of headings and cells, as assistive technology reads them."""
    table = interface_of(ladder.table)
    texts: dict[QAccessible.Role, list[str]] = {}
    for place in range(table.childCount()):
        part = table.child(place)
        texts.setdefault(part.role(), []).append(part.text(QAccessible.Text.Name))
    return texts


def test_rows_are_cells_below_headings_that_name_their_unit(ladder: DepthLadder) -> None:
    assert interface_of(ladder).childCount() >= 1
    assert interface_of(ladder.table).role() == QAccessible.Role.Table
    texts = texts_of(ladder)
    assert texts[QAccessible.Role.ColumnHeader] == ["Price, USDT", "Size, BTC", "Total, BTC"]
    assert texts[QAccessible.Role.Cell] == [
        *("ask 100.02", "4.00000", "4.25000"),
        *("ask 100.01", "0.25000", "0.25000"),
        *("bid 100.00", "1.50000", "1.50000"),
        *("bid 99.98", "2.00000", "3.50000"),
    ]


def test_it_follows_the_book_and_the_columns(ladder: DepthLadder, desk: FakeDesk) -> None:
    desk.source.apply([("100.00", "0.5")], [])
    ladder.set_frame(frame_of(desk))
    ladder.set_columns(ColumnChoice.of_text("size price -total"))
    ladder.set_quote_units(True)
    ladder.summary()
    texts = texts_of(ladder)
    assert texts[QAccessible.Role.ColumnHeader] == ["Size, USDT", "Price, USDT"]
    assert texts[QAccessible.Role.Cell][4:6] == ["50.00", "bid 100.00"]
    ladder.stand_still(True)
    ladder.summary()
    cells = texts_of(ladder)[QAccessible.Role.Cell]
    assert cells[cells.index("bid 99.98") - 2] == "no level 99.99"
    desk.source.book.clear()
    ladder.set_frame(frame_of(desk))
    ladder.summary()
    assert QAccessible.Role.Cell not in texts_of(ladder)


def test_cells_are_where_the_ladder_shows_them(ladder: DepthLadder) -> None:
    scene = ladder.scene
    assert scene is not None
    places = {}
    for place in range(interface_of(ladder.table).childCount()):
        part = interface_of(ladder.table).child(place)
        places[part.text(QAccessible.Text.Name)] = part.rect()
    for row in scene.rows:
        side = row.row.side
        assert side is not None
        rect = places[f"{side.value} {row.price}"]
        top = ladder.mapFromGlobal(rect.topLeft()).y()
        assert abs(top - row.span.start) <= 1


def test_it_changes_nothing_on_screen(ladder: DepthLadder) -> None:
    with_table = ladder.grab().toImage()
    ladder.table.hide()
    assert ladder.grab().toImage() == with_table


class _Paints(QObject):
    """Counts the paints of a widget."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self.count = 0
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        self.count += event.type() == QEvent.Type.Paint
        return super().eventFilter(watched, event)


def test_to_renew_it_paints_no_ladder(ladder: DepthLadder, desk: FakeDesk, qtbot: QtBot) -> None:
    desk.source.apply([("100.00", "7")], [("100.02", "8")])
    ladder.highlights_changes = False
    ladder.set_frame(frame_of(desk))
    qtbot.wait(50)
    paints = _Paints(ladder)
    ladder.summary()
    qtbot.wait(50)
    assert paints.count == 0
    assert "bid 100.00" in texts_of(ladder)[QAccessible.Role.Cell]
    ladder.update()
    qtbot.waitUntil(lambda: paints.count == 1)


@pytest.mark.parametrize("key", [Qt.Key.Key_Down, Qt.Key.Key_Up, Qt.Key.Key_PageUp])
def test_the_row_picked_by_keys_is_read_out(
    ladder: DepthLadder, monkeypatch: pytest.MonkeyPatch, key: Qt.Key
) -> None:
    told: list[str] = []

    def note(event: QAccessibleEvent) -> None:
        assert event.type() == QAccessible.Event.Announcement
        told.append(ladder.accessibleDescription())

    QTest.keyClick(ladder, Qt.Key.Key_Down)
    monkeypatch.setattr(QAccessible, "updateAccessibility", note)
    QTest.keyClick(ladder, key)
    row = ladder.picked_row
    assert row is not None
    assert told == [ladder.model.describe(row)]
    selected = ladder.table.selectionModel().selectedRows()
    price = ladder.table.model().data(selected[0])
    assert price == f"{row.price / 10**8:.2f}"
    QTest.keyClick(ladder, Qt.Key.Key_Escape)
    ladder.summary()
    assert not ladder.table.selectionModel().selectedRows()
