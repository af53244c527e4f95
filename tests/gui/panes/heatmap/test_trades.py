"""Trades over the heatmap: bubbles with exact sums, each trade once, and a profile by price."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from PySide6.QtCore import QPointF, QRect
from PySide6.QtGui import QColor, QImage, QPainter

from orderbook_desktop.core.heatmap.flows import FlowTrades
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.units import Scale
from orderbook_desktop.gui.panes.book_frame import BookFrame, read_frame
from orderbook_desktop.gui.panes.heatmap.trades import TradesLayer
from orderbook_desktop.gui.theme import DARK
from tests.core.trades_made import made_trade
from tests.gui.fake_desk import FakeDesk
from tests.gui.fake_heatmaps import FakeHeatmaps

# A pixmap needs the application.
pytestmark = pytest.mark.usefixtures("qapp")

T0 = 1_700_000_000_000
UNIT = 10**8
PLOT = QRect(0, 0, 600, 300)
VIEW = View(T0, T0 + 60_000, 100 * UNIT, 200 * UNIT)


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 10**9
        return self.now_ns


def frame_with(desk: FakeDesk, *trades: tuple[int, int, str, str, bool]) -> BookFrame:
    """A frame whose tape has trades: id, ms after T0, price, quantity, whether it was sold."""
    tape = Tape("BTCUSDT")
    for trade_id, at_ms, price, quantity, is_sold in trades:
        made = made_trade(trade_id)
        tape.add(
            replace(made, event_ms=T0 + at_ms, price=price, quantity=quantity, is_sold=is_sold)
        )
    return replace(read_frame(desk.symbol, desk.source.look()), tape=tape)


@pytest.fixture
def pages() -> FakeHeatmaps:
    made = FakeHeatmaps()
    made.trades = FlowTrades(
        Scale(0, 0),
        T0 + np.array([1_000, 1_300, 30_000, 59_000]),
        np.array([150, 150, 170, 180]),
        np.array([3, 1, 8, 100]),
        np.array([False, True, True, False]),
    )
    return made


@pytest.fixture
def layer(pages: FakeHeatmaps, desk: FakeDesk) -> TradesLayer:
    made = TradesLayer(lambda: None, Clock())
    made.set_pages(pages)
    made.follow(frame_with(desk))
    made.set_limit(T0 + 60_000, T0 + 60_000)
    made.set_view(VIEW, PLOT)
    return made


def painted(layer: TradesLayer, view: View = VIEW) -> QImage:
    image = QImage(PLOT.size(), QImage.Format.Format_RGB32)
    image.fill(0)
    with QPainter(image) as painter:
        layer.paint(painter, PLOT, view, DARK)
    return image


def at(time_ms: int, price: int, view: View = VIEW) -> QPointF:
    x = (T0 + time_ms - view.from_ms) / view.length_ms * PLOT.width()
    return QPointF(x, (view.high - price * UNIT) / view.height * PLOT.height())


def sums(layer: TradesLayer) -> list[int]:
    cells = layer.cells
    assert cells is not None
    unit = 10**cells.scale.quantity
    return [sum(map(int, side)) // unit for side in (cells.bought, cells.sold)] + [
        int(cells.counts.sum())
    ]


def test_the_recording_and_the_tape_give_each_trade_once(
    layer: TradesLayer, desk: FakeDesk
) -> None:
    # What is newer than five seconds may not be recorded yet: the tape has it.
    assert sums(layer) == [3, 9, 3]
    frame = frame_with(
        desk,
        (1, 1_000, "150", "3", False),
        (4, 59_000, "180", "100", False),
        (5, 59_500, "181", "0.5", True),
    )
    for _ in range(2):
        layer.follow(frame)
        assert sums(layer) == [103, 9, 5]
    assert frame.tape is not None
    frame.tape.add(
        replace(made_trade(6), event_ms=T0 + 59_900, price="181", quantity="1.5", is_sold=True)
    )
    layer.follow(frame)
    assert sums(layer) == [103, 11, 6]
    # A replay that goes back shows no trade of after its clock, not even in the same cell.
    layer.set_limit(T0 + 1_200, T0 + 60_000)
    assert layer.cells is None
    layer.set_limit(T0 + 40_000, T0 + 60_000)
    layer.set_view(VIEW, PLOT)
    assert sums(layer) == [3, 9, 3]


def test_another_tape_with_the_same_trades_counts_none_twice(
    layer: TradesLayer, desk: FakeDesk
) -> None:
    trades = [(4, 59_000, "180", "100", False), (5, 59_500, "181", "0.5", True)]
    for _ in range(2):
        layer.follow(frame_with(desk, *trades))
        assert sums(layer) == [103, 9, 5]
        layer.follow(replace(frame_with(desk), tape=None))
    # A jump of a replay brings another tape, which has more.
    layer.follow(frame_with(desk, *trades, (6, 59_900, "181", "1.5", True)))
    assert sums(layer) == [103, 11, 6]


def test_what_is_not_recorded_comes_from_the_tape(pages: FakeHeatmaps, desk: FakeDesk) -> None:
    layer = TradesLayer(lambda: None, Clock())
    layer.set_pages(pages)
    frame = frame_with(desk, (1, 1_000, "150", "3", False), (2, 58_000, "180", "9", False))
    for to_ms in (60_000, 130_000, 200_000):
        layer.follow(frame)
        layer.set_limit(T0 + to_ms, 0)
        layer.set_view(VIEW, PLOT)
        layer.follow(frame)
        assert sums(layer) == [12, 0, 2]


def test_trades_stay_in_sight_while_they_are_read_again(
    layer: TradesLayer, pages: FakeHeatmaps
) -> None:
    pages.waits = True
    layer.set_limit(T0 + 130_000, T0 + 130_000)
    layer.set_view(VIEW.moved(70_000, 0), PLOT)
    assert len(pages.requests) == 1
    assert sums(layer) == [3, 9, 3]
    pages.requests[0].answer()
    assert sums(layer) == [100, 0, 1]


def test_a_pan_beyond_what_was_read_asks_for_more(layer: TradesLayer, pages: FakeHeatmaps) -> None:
    near = View(T0 + 500, T0 + 2_500, 149 * UNIT, 152 * UNIT)
    layer.set_view(near, PLOT)
    pages.waits = True
    layer.set_view(near.moved(500, 0), PLOT)
    assert pages.requests == []
    layer.set_view(near.moved(28_500, 0), PLOT)
    assert len(pages.requests) == 1


def test_a_cell_in_which_the_reading_ends_has_its_later_trades(
    layer: TradesLayer, desk: FakeDesk
) -> None:
    # Cells of this view are longer than the five seconds after which a trade is settled.
    long = View(T0 - 3_600_000, T0 + 60_000, 100 * UNIT, 200 * UNIT)
    layer.set_view(long, PLOT)
    layer.follow(frame_with(desk, (4, 59_000, "180", "100", False)))
    assert sums(layer) == [103, 9, 4]


def test_bubbles_lie_where_the_trades_were(layer: TradesLayer) -> None:
    image = painted(layer)
    spot = at(30_000, 170).toPoint()
    near = [
        image.pixelColor(spot.x() + dx, spot.y() + dy).name()
        for dx in range(-12, 13)
        for dy in range(-12, 13)
    ]
    assert DARK.ask.name() in near
    assert image.pixelColor(300, 280) == QColor(0, 0, 0)
    tip = layer.tip(QPointF(spot), PLOT, VIEW)
    assert "sold 8" in tip
    assert "1 trade " in tip
    # Bubbles that would lie on one another are one.
    tip = layer.tip(at(1_200, 150), PLOT, VIEW)
    assert "2 trades" in tip
    assert "bought 3" in tip
    assert layer.tip(QPointF(200, 290), PLOT, VIEW) == ""


def test_bubbles_come_apart_on_zooming_in(layer: TradesLayer) -> None:
    near = View(T0 + 500, T0 + 2_500, 149 * UNIT, 152 * UNIT)
    layer.set_view(near, PLOT)
    painted(layer, near)
    tip = layer.tip(at(1_050, 150, near), PLOT, near)
    assert tip.startswith("1 trade ")
    assert "bought 3" in tip


def test_small_bubbles_can_be_left_out(layer: TradesLayer) -> None:
    before = painted(layer)
    layer.set_least(5)
    image = painted(layer)
    assert image != before
    assert layer.tip(at(1_200, 150), PLOT, VIEW) == ""
    assert "sold 8" in layer.tip(at(30_000, 170), PLOT, VIEW)


def test_the_profile_has_the_exact_sums_of_each_price(layer: TradesLayer) -> None:
    painted(layer)
    tip = layer.tip(QPointF(PLOT.right(), at(0, 150).y() - 1), PLOT, VIEW)
    assert "2 trades" in tip
    assert "sold 1" in tip
    layer.choose(profile=False)
    painted(layer)
    assert layer.tip(QPointF(PLOT.right(), at(0, 150).y() - 1), PLOT, VIEW) == ""


def test_hidden_trades_are_neither_read_nor_drawn(pages: FakeHeatmaps, desk: FakeDesk) -> None:
    layer = TradesLayer(lambda: None, Clock())
    layer.choose(bubbles=False, profile=False)
    layer.set_pages(pages)
    layer.follow(frame_with(desk))
    layer.set_limit(T0 + 60_000, T0 + 60_000)
    layer.set_view(VIEW, PLOT)
    assert pages.requests == []
    assert layer.cells is None
    assert painted(layer) == painted(TradesLayer(lambda: None))


def test_a_view_that_was_read_is_not_read_again(layer: TradesLayer, pages: FakeHeatmaps) -> None:
    pages.waits = True
    layer.set_view(VIEW.moved(3_000, UNIT), PLOT)
    assert pages.requests == []
    layer.set_view(VIEW.moved(-50_000, 0), PLOT)
    assert len(pages.requests) == 1
    layer.reset()
    assert pages.requests[0].is_cancelled
