"""The bar of all that is recorded, below the heatmap."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.replay import Coverage
from orderbook_desktop.gui.panes.heatmap.overview import OverviewBar
from orderbook_desktop.gui.theme import DARK, LIGHT
from tests.core.heatmap.made_cells import recorded
from tests.gui.pixels import colours_of

BEGIN = 1_723_000_000_000
DAY = 86_400_000
GAP = (BEGIN + DAY // 2, BEGIN + DAY // 2 + DAY // 10)


@pytest.fixture
def bar(host: QWidget, qtbot: QtBot) -> OverviewBar:
    made = OverviewBar(DARK, host)
    made.resize(620, made.sizeHint().height())
    made.show_coverage(recorded("BTCUSDT", BEGIN, BEGIN + DAY, GAP))
    made.show_view(View(BEGIN, BEGIN + DAY // 10, 1, 2), None)
    made.show()
    qtbot.waitExposed(made)
    return made


def test_the_handle_is_the_part_in_sight(bar: OverviewBar) -> None:
    handle = bar.handle()
    assert handle is not None
    assert (handle.left(), handle.width()) == (10, 60)
    bar.show_view(View(BEGIN + DAY - 1_000, BEGIN + DAY, 1, 2), None)
    short = bar.handle()
    assert short is not None
    assert short.width() == pytest.approx(6)


def test_a_press_beside_the_handle_moves_the_view_there(bar: OverviewBar) -> None:
    wanted: list[int] = []
    bar.moved.connect(wanted.append)
    y = bar.height() // 3
    QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=QPoint(310, y))
    assert wanted == [BEGIN + DAY // 2]


def test_a_drag_of_the_handle_moves_it_by_as_much(bar: OverviewBar) -> None:
    wanted: list[int] = []
    bar.moved.connect(wanted.append)
    y = bar.height() // 3
    QTest.mousePress(bar, Qt.MouseButton.LeftButton, pos=QPoint(20, y))
    assert wanted == [BEGIN + DAY // 20]
    QTest.mouseMove(bar, QPoint(80, y))
    QTest.mouseRelease(bar, Qt.MouseButton.LeftButton, pos=QPoint(80, y))
    QTest.mouseMove(bar, QPoint(200, y))
    assert wanted[-1] == BEGIN + DAY // 20 + DAY // 10


def test_it_tells_what_is_below_the_mouse(bar: OverviewBar) -> None:
    x = bar.x_of(sum(GAP) // 2)
    assert x is not None
    assert "Gap of 2:24:00.000: the connection to the exchange was lost." in bar.tip_at(x)
    assert "Gap" not in bar.tip_at(30)


def test_it_shows_gaps_the_clock_and_follows_the_theme(bar: OverviewBar) -> None:
    assert DARK.replay.rgb() not in colours_of(bar.grab().toImage())
    bar.show_view(View(BEGIN, BEGIN + DAY // 10, 1, 2), BEGIN + DAY // 10)
    assert DARK.replay.rgb() in colours_of(bar.grab().toImage())
    bar.set_theme(LIGHT)
    assert LIGHT.window.rgb() in colours_of(bar.grab().toImage())
    assert LIGHT.window.alphaF() == 1


def test_without_a_recording_it_is_empty(bar: OverviewBar) -> None:
    bar.show_coverage(Coverage())
    assert colours_of(bar.grab().toImage()) == {DARK.window.rgb()}
    assert bar.handle() is None
    assert bar.time_at(20) is None
    assert not bar.tip_at(20)
    assert not bar.has_something
