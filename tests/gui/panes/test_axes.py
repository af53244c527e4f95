from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPointF, QRect
from PySide6.QtGui import QColor, QFont, QPainter, QPixmap
from PySide6.QtWidgets import QApplication

from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.panes.axes import (
    AxisPainter,
    PlotArea,
    PriceView,
    TextPictures,
    next_round_step,
    round_step,
    scale_top,
    ticks_between,
)
from orderbook_desktop.gui.theme import DARK


@given(st.floats(1, 1e18), st.integers(1, 40))
def test_round_steps_are_round_and_few_enough(span: float, at_most: int) -> None:
    step = round_step(span, at_most)
    assert str(step).rstrip("0") in {"1", "2", "5"}
    assert span / step <= at_most or step == 1
    assert len(ticks_between(0, span, step)) <= span / step + 1


def test_steps_in_order() -> None:
    steps = [1]
    while len(steps) < 8:
        steps.append(next_round_step(steps[-1]))
    assert steps == [1, 2, 5, 10, 20, 50, 100, 200]


@given(st.integers(1, 10**15), st.floats(1e-6, 0.5), st.integers(60, 4_000))
def test_price_labels_never_touch(qapp: QApplication, mid: int, share: float, width: int) -> None:
    numbers = NumberMetrics(number_font(QFont()))
    axes = AxisPainter(DARK, numbers)
    half = max(1.0, mid * share)
    area = PlotArea(QRect(0, 0, width, 400), mid - half, mid + half, 1.0)
    ticks = axes.price_ticks(area, 1, lambda units, step: f"{units // step * step:,}")
    labels = [(area.x(tick), numbers.width(f"{tick:,}")) for tick in ticks]
    for (x, wide), (next_x, next_wide) in pairwise(labels):
        assert x + wide / 2 < next_x - next_wide / 2


def test_labels_are_no_finer_than_the_tick(qapp: QApplication) -> None:
    axes = AxisPainter(DARK, NumberMetrics(number_font(QFont())))
    area = PlotArea(QRect(0, 0, 1_000, 400), 9_000_000.0, 11_000_000.0, 1.0)
    ticks = axes.price_ticks(area, 1_000_000, lambda units, _: str(units))
    assert ticks.step >= 1_000_000
    assert len(ticks) >= 2


class TestPriceView:
    def test_takes_the_automatic_range(self) -> None:
        view = PriceView()
        view.follow(1_000, (950, 1_040))
        assert (view.low, view.high) == (950, 1_040)
        view.follow(1_001, (951, 1_041))
        assert (view.low, view.high) == (951, 1_041)

    def test_zoomed_it_stands_still_while_the_mid_trembles_and_follows_when_it_moves(self) -> None:
        view = PriceView()
        view.follow(1_000, (900, 1_100))
        view.zoom(0.5, 1_000, 1_000, (1, 100))
        view.follow(1_002, (900, 1_100))
        assert view.centre == 1_000
        view.follow(1_010, (900, 1_100))
        assert view.centre == 1_010

    @given(st.floats(0.3, 3), st.floats(900, 1_100))
    def test_zooming_keeps_the_price_under_the_pointer_where_it_is(
        self, factor: float, at: float
    ) -> None:
        view = PriceView()
        view.follow(1_000, (900, 1_100))
        place = (at - view.low) / (view.high - view.low)
        view.zoom(factor, at, 1_000, (1, 300))
        assert view.half_span == pytest.approx(100 * factor)
        assert (at - view.low) / (view.high - view.low) == pytest.approx(place)
        # And then the mid stays about where it is on screen.
        mid_at = (1_000 - view.low) / (view.high - view.low)
        view.follow(2_000, (900, 1_100))
        assert (2_000 - view.low) / (view.high - view.low) == pytest.approx(mid_at, abs=0.04)

    def test_a_chosen_zoom_is_kept_as_a_share_of_another_mid(self) -> None:
        view = PriceView()
        view.follow(1_000, (950, 1_050))
        view.zoom(0.5, 980, 1_000, (1, 100))
        view.reset(keep_zoom=True)
        view.follow(200, (150, 250))
        assert (view.centre, view.half_span) == (200, 5)

    def test_zoom_has_limits(self) -> None:
        view = PriceView()
        view.follow(1_000, (950, 1_050))
        view.zoom(1e-9, 1_000, 1_000, (5, 400))
        assert view.half_span == 5
        view.zoom(1e9, 1_000, 1_000, (5, 400))
        assert view.half_span == 400

    def test_panned_it_stays_until_reset(self) -> None:
        view = PriceView()
        view.follow(1_000, (950, 1_050))
        view.pan(0.5)
        view.follow(1_040, (990, 1_090))
        assert view.centre == 1_050
        view.reset()
        view.follow(1_040, (990, 1_090))
        assert view.centre == 1_040

    @given(st.floats(-9, 9), st.floats(0.01, 100), st.floats(0, 2_000))
    def test_a_curve_stays_in_view(self, pan: float, factor: float, at: float) -> None:
        spans = [(900, 990), (1_010, 1_200)]
        view = PriceView()
        view.follow(1_000, (900, 1_100))
        for turn in range(2):
            if turn:
                view.zoom(factor, at, 1_000, (1, 500))
            else:
                view.pan(pan)
            view.keep_in_view(spans, 1_000)
            assert any(first < view.high and last > view.low for first, last in spans)
            assert view.low >= 0


def test_the_size_axis_grows_at_once_and_shrinks_late() -> None:
    top = scale_top(100, 0)
    assert top >= 100
    assert scale_top(100.5, top) == top
    assert scale_top(70, top) == top
    assert scale_top(200, top) >= 200
    assert 10 <= scale_top(10, top) < top
    assert scale_top(0, 0) > 0


def test_labels_are_round_where_the_tick_is_not(qapp: QApplication) -> None:
    axes = AxisPainter(DARK, NumberMetrics(number_font(QFont())))
    area = PlotArea(QRect(0, 0, 1_000, 400), 1_000.0, 1_200.0, 1.0)
    step = axes.price_ticks(area, 25, lambda units, _: f"{units:,}").step
    assert step >= 25
    assert str(step).rstrip("0") in {"1", "2", "5"}


def test_a_tag_leaves_no_part_of_a_label_beside_it(qapp: QApplication) -> None:
    """The rest of `56,800` beside a tag would be read as the number `800`."""
    numbers = NumberMetrics(number_font(QFont()))
    axes, area = AxisPainter(DARK, numbers), PlotArea(QRect(10, 5, 400, 300), 0.0, 100.0, 100.0)
    half = numbers.width("56,800") / 2
    pictures = []
    for prices, sizes in (({50: "56,800"}, {50: "5,600"}), ({}, {})):
        picture = QPixmap(600, 400)
        picture.fill(DARK.panel)
        with QPainter(picture) as painter:
            for placed in axes.price_axis(area, prices, "USDT", 1):
                painter.drawPixmap(*placed)
            for placed in axes.size_axis(area, sizes, "BTC", 1):
                painter.drawPixmap(*placed)
            # The tags cover about half of the labels.
            at = QPointF(area.x(50) + half, area.y(50) + numbers.height / 2)
            axes.draw_crosshair(painter, area, at, "57", "6")
        pictures.append(picture.toImage())
    below = QRect(0, area.rect.bottom() + 2, 600, 400)
    beside = QRect(area.rect.right() + 2, 0, 600, area.rect.bottom())
    for part in (below, beside):
        assert pictures[0].copy(part) == pictures[1].copy(part)


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_a_picture_of_a_text_has_the_pixels_of_the_text(qapp: QApplication, ratio: float) -> None:
    font = number_font(QFont())
    texts = TextPictures(font, DARK.muted, DARK.panel)
    pictures = []
    for is_picture in (True, False):
        picture = QPixmap(round(200 * ratio), round(200 * ratio))
        picture.setDevicePixelRatio(ratio)
        picture.fill(DARK.panel)
        with QPainter(picture) as painter:
            painter.setFont(font)
            painter.setPen(DARK.muted)
            for line, (text, left) in enumerate(
                (("61,800", 10), ("0.0000134", 10.5), ("≥ 12.5M", 7.25), ("61,800", 60.75))
            ):
                baseline = 30 * (line + 1) + line / 4
                if is_picture:
                    painter.drawPixmap(*texts.placed(left, baseline, text, ratio))
                else:
                    painter.drawText(QPointF(left, baseline), text)
        pictures.append(picture.toImage())
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_a_line_of_the_grid_is_a_line_of_its_colour(qapp: QApplication, ratio: float) -> None:
    axes = AxisPainter(DARK, NumberMetrics(number_font(QFont())))
    area = PlotArea(QRect(10, 5, 100, 60), 0.0, 100.0, 1.0)
    pictures = []
    for draws_axis in (True, False):
        picture = QPixmap(round(200 * ratio), round(120 * ratio))
        picture.setDevicePixelRatio(ratio)
        picture.fill(DARK.panel)
        with QPainter(picture) as painter:
            if draws_axis:
                for placed in axes.price_axis(area, {50: ""}, "", ratio):
                    painter.drawPixmap(*placed)
            else:
                colour = QColor(DARK.muted)
                colour.setAlphaF(0.16)
                painter.fillRect(60, 5, 1, 60, colour)
        pictures.append(picture.toImage())
    assert pictures[0] == pictures[1]
