from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QWheelEvent
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.gui.panes.depth_chart.painter import (
    DepthScene,
    legend_text,
    reading_lines,
)
from orderbook_desktop.gui.panes.depth_chart.widget import DepthChart
from orderbook_desktop.gui.panes.hatching import CONTRAST
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK, LIGHT, blend
from tests.examples import some_of
from tests.gui.fake_desk import BTC, FakeDesk, MovingMarket, frame_of
from tests.gui.pixels import colours_of


@pytest.fixture
def chart(qtbot: QtBot, preferences: Preferences) -> DepthChart:
    widget = DepthChart(DARK, preferences)
    qtbot.addWidget(widget)
    widget.resize(1_000, 700)
    widget.show()
    return widget


@pytest.fixture
def deep(chart: DepthChart, desk: FakeDesk) -> DepthChart:
    MovingMarket(BTC, desk.source)
    chart.set_frame(frame_of(desk))
    return chart


def scene_of(chart: DepthChart) -> DepthScene:
    scene = chart.scene
    assert scene is not None
    return scene


def image_of(chart: DepthChart) -> QImage:
    return chart.grab().toImage()


def test_fills_reach_up_to_the_cumulative_size(chart: DepthChart, desk: FakeDesk) -> None:
    desk.source.load([("100.00", "1"), ("99.00", "3")], [("102.00", "2"), ("103.00", "2")])
    chart.set_frame(frame_of(desk))
    chart.zoom(1.25)
    image, area = image_of(chart), scene_of(chart).area

    def colour(price: float, size: float) -> QColor:
        return image.pixelColor(round(area.x(price * 1e8)), round(area.y(size * 1e8)))

    bid, ask = DARK.tint(DARK.bid, 0.26), DARK.tint(DARK.ask, 0.26)
    assert colour(99.53, 0.77) == bid
    assert colour(99.53, 1.17) == DARK.panel
    assert colour(102.53, 1.77) == ask
    assert colour(102.53, 2.17) == DARK.panel
    assert colour(100.77, 0.13) == DARK.panel
    assert colour(98.57, 0.77) == DARK.panel


def test_no_curve_strikes_the_legend_through(chart: DepthChart, desk: FakeDesk) -> None:
    desk.source.load(
        [("100.00", "100"), ("50.00", "0.01")], [("102.00", "100"), ("200.00", "0.01")]
    )
    chart.set_frame(frame_of(desk))
    area, line = scene_of(chart).area, chart.fontMetrics().height()
    middle = area.rect.top() + 2 * line + 2 + line // 2
    size = f"{area.top / 1e8 * (area.rect.bottom() - middle) / area.rect.height():.2f}"
    desk.source.apply([("100.00", size)], [("102.00", size)])
    chart.set_frame(frame_of(desk))
    assert scene_of(chart).area == area
    image = image_of(chart)
    # The background beside the first and the last letter; farther out, the curve goes on.
    for x, beside in ((area.rect.left(), 1), (area.rect.right(), -1)):
        column = [image.pixelColor(x + 9 * beside, y) for y in range(middle - 4, middle + 5)]
        assert column == [DARK.panel] * 9
        column = [image.pixelColor(x + 2 * beside, y) for y in range(middle - 4, middle + 5)]
        assert column != [DARK.panel] * 9


def test_without_a_book_there_is_a_message_and_no_curve(deep: DepthChart, desk: FakeDesk) -> None:
    desk.source.be_unknown(FeedState.SYNCING, "Fetching a snapshot.")
    deep.set_frame(frame_of(desk))
    assert deep.scene is None
    assert deep.summary() == "Syncing BTC/USDT. Fetching a snapshot."
    image = image_of(deep)
    fills = {DARK.tint(colour, 0.26).rgb() for colour in (DARK.bid, DARK.ask)}
    assert not colours_of(image) & fills


@pytest.mark.parametrize("side", list(Side))
def test_one_side_alone_is_drawn(chart: DepthChart, desk: FakeDesk, side: Side) -> None:
    levels = [("100.00", "1"), ("99.00" if side is Side.BID else "101.00", "2")]
    desk.source.load(*((levels, []) if side is Side.BID else ([], levels)))
    chart.set_frame(frame_of(desk))
    assert scene_of(chart).mid_text == "no mid"
    image = image_of(chart)
    fill = DARK.tint(DARK.bid if side is Side.BID else DARK.ask, 0.26).rgb()
    area = scene_of(chart).area
    row = round(area.y(0.4e8))
    line = image.copy(round(area.rect.left()), row, round(area.rect.width()), 1)
    assert fill in colours_of(line)


def test_a_crossed_book_is_drawn(chart: DepthChart, desk: FakeDesk) -> None:
    desk.source.load([("101.00", "1")], [("100.00", "1")])
    chart.set_frame(frame_of(desk))
    assert scene_of(chart).mid_text == "mid 100.50"
    assert not image_of(chart).isNull()


def test_the_crosshair_tells_exact_sums(deep: DepthChart, desk: FakeDesk) -> None:
    frame = frame_of(desk)
    price = int(frame.asks.prices[37])
    deep.put_crosshair(price)
    pairs = list(
        zip(frame.asks.prices[:38].tolist(), frame.asks.quantities[:38].tolist(), strict=True)
    )
    reading = deep.crosshair_reading
    assert reading is not None
    assert reading.side is Side.ASK
    assert reading.point.size == sum(size for _, size in pairs)
    assert reading.point.cost == sum(at * size for at, size in pairs)
    lines = dict(reading_lines(scene_of(deep), reading))
    assert lines["Price"] == f"{price / 1e8:,.2f} USDT"
    size, cost = reading.point.size, reading.point.cost
    assert lines["Asks to here"] == f"{size // 10**8:,}.{size % 10**8:08d}"[:-3] + " BTC"
    shown = lines["Cost"].removesuffix(" USDT").replace(",", "")
    whole, fraction = shown.split(".")
    assert int(whole) * 10**16 + int(fraction.ljust(16, "0")) == cost


def test_inside_the_spread_nothing_rests(chart: DepthChart, desk: FakeDesk) -> None:
    desk.source.load([("100.00", "1")], [("102.00", "2")])
    chart.set_frame(frame_of(desk))
    chart.put_crosshair(101 * 10**8)
    reading = chart.crosshair_reading
    assert reading is not None
    assert reading.side is None
    assert ("Size", "inside the spread") in reading_lines(scene_of(chart), reading)
    assert chart.summary() == "At 101.00 USDT: size inside the spread"


class TestKeysAndMouse:
    def test_the_crosshair_moves_by_whole_ticks(self, deep: DepthChart) -> None:
        QTest.keyClick(deep, Qt.Key.Key_Right)
        first = deep.crosshair_reading
        assert first is not None
        assert first.point.price % BTC.info.tick_size == 0
        assert "asks to here" in deep.accessibleDescription()
        QTest.keyClick(deep, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
        second = deep.crosshair_reading
        assert second is not None
        assert second.point.price > first.point.price
        QTest.keyClick(deep, Qt.Key.Key_Left, Qt.KeyboardModifier.ShiftModifier)
        third = deep.crosshair_reading
        assert third is not None
        assert third.point.price == first.point.price
        QTest.keyClick(deep, Qt.Key.Key_Escape)
        assert deep.crosshair_reading is None

    def test_the_crosshair_never_leaves_the_view(self, deep: DepthChart) -> None:
        for _ in range(60):
            QTest.keyClick(deep, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
        reading = deep.crosshair_reading
        assert reading is not None
        assert reading.point.price <= deep.view.high

    def test_the_crosshair_follows_the_mouse(self, deep: DepthChart) -> None:
        area = scene_of(deep).area
        QTest.mouseMove(deep, QPoint(area.rect.left() + 100, 300))
        QTest.mouseMove(deep, QPoint(area.rect.left() + 101, 300))
        reading = deep.crosshair_reading
        assert reading is not None
        assert reading.side is Side.BID
        assert area.x(reading.point.price) == pytest.approx(area.rect.left() + 101, abs=1.5)

    def test_zoom_by_keys_wheel_and_reset(self, deep: DepthChart, preferences: Preferences) -> None:
        natural = deep.view.half_span
        # Some keyboards need Shift for this key.
        QTest.keyClick(deep, Qt.Key.Key_Plus, Qt.KeyboardModifier.ShiftModifier)
        assert deep.view.half_span < natural
        assert preferences.chart_share == deep.view.chosen_share is not None
        QTest.keyClick(deep, Qt.Key.Key_Minus)
        assert deep.view.half_span == pytest.approx(natural)
        wheel(deep, 240)
        assert deep.view.half_span < natural
        QTest.keyClick(deep, Qt.Key.Key_0)
        assert preferences.chart_share is None
        assert deep.view.half_span == pytest.approx(natural)

    def test_dragging_pans_and_a_double_click_resets(self, deep: DepthChart) -> None:
        centre = deep.view.centre
        QTest.mousePress(deep, Qt.MouseButton.LeftButton, pos=QPoint(500, 300))
        QTest.mouseMove(deep, QPoint(400, 300))
        QTest.mouseRelease(deep, Qt.MouseButton.LeftButton, pos=QPoint(400, 300))
        assert deep.view.centre > centre
        QTest.mouseDClick(deep, Qt.MouseButton.LeftButton, pos=QPoint(400, 300))
        assert deep.view.centre == pytest.approx(centre)

    def test_nothing_breaks_without_a_book(self, chart: DepthChart, desk: FakeDesk) -> None:
        for _ in range(2):
            for key in (Qt.Key.Key_Plus, Qt.Key.Key_Right, Qt.Key.Key_Home, Qt.Key.Key_Escape):
                QTest.keyClick(chart, key)
            QTest.mouseMove(chart, QPoint(300, 300))
            QTest.mouseClick(chart, Qt.MouseButton.LeftButton, pos=QPoint(300, 300))
            wheel(chart, 120)
            assert chart.scene is None
            chart.set_frame(frame_of(desk))


def wheel(chart: DepthChart, delta: int, x: float = 300) -> None:
    at = QPointF(x, 300)
    chart.wheelEvent(
        QWheelEvent(
            at,
            chart.mapToGlobal(at),
            QPoint(),
            QPoint(0, delta),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
    )


def test_the_zoom_stays_for_another_market_but_not_the_place(
    deep: DepthChart, desk: FakeDesk
) -> None:
    deep.zoom(0.5)
    share = deep.view.chosen_share
    desk.select_symbol("ETH/USDT")
    desk.source.load([("3000.00", "1")], [("3000.01", "1")])
    deep.set_frame(frame_of(desk))
    assert deep.view.chosen_share == share
    assert deep.view.low < 3000e8 < deep.view.high
    assert deep.crosshair_reading is None


CHANGES: dict[str, Callable[[DepthChart], None]] = {
    "next frame": lambda _: None,
    "size": lambda chart: chart.resize(700, 500),
    "asset": lambda chart: chart.set_quote_units(wanted=True),
    "range": lambda chart: chart.zoom(0.5),
    "theme": lambda chart: chart.set_theme(LIGHT),
    "crosshair": lambda chart: chart.put_crosshair(5_712_000_000_000),
}


def test_what_frames_have_in_common_is_never_that_of_another_frame(
    chart: DepthChart, desk: FakeDesk
) -> None:
    market, theme = MovingMarket(BTC, desk.source), DARK
    chart.set_frame(frame_of(desk))
    for name, change in CHANGES.items():
        image_of(chart)
        change(chart)
        theme = LIGHT if name == "theme" else theme
        market.step()
        chart.set_frame(frame_of(desk))
        shown = image_of(chart)
        # A theme, also the same, is drawn by a painter that has painted nothing before.
        chart.set_theme(theme)
        assert shown == image_of(chart), name


class TestQuoteUnits:
    @pytest.fixture
    def few(self, chart: DepthChart, desk: FakeDesk) -> DepthChart:
        desk.source.load(*FEW, depth=2)
        desk.source.apply([("99.00", "700")], [])
        chart.set_frame(frame_of(desk))
        chart.put_crosshair(100 * 10**8)
        chart.set_quote_units(wanted=True)
        return chart

    def test_the_crosshair_names_the_cost_first(self, few: DepthChart) -> None:
        scene = scene_of(few)
        assert scene.reading is not None
        assert reading_lines(scene, scene.reading)[2:] == [
            ("Bids to here", "400.50 USDT"),
            ("Size", "4.00000 BTC"),
        ]
        few.put_crosshair(99 * 10**8)
        scene = scene_of(few)
        assert scene.reading is not None
        assert reading_lines(scene, scene.reading)[2:] == [
            ("Level 99.00", "69,300.00 USDT"),
            ("Bids to here", "at least 599.50 USDT; known to 99.50"),
            ("Size", "at least 6.00000 BTC"),
        ]
        assert "bids to here at least 599.50 USDT; known to 99.50" in few.summary()

    def test_axis_and_legend_are_of_the_quote_asset(self, few: DepthChart) -> None:
        scene = scene_of(few)
        assert scene.asset == "USDT"
        assert [legend_text(scene, side) for side in Side] == [
            "Bids ≥ 599.50 USDT",
            "Asks ≥ 610.00 USDT",
        ]
        assert scene.area.top == pytest.approx(610 * 1e16 * 1.12)

    def test_back_in_the_base_asset_all_is_as_before(self, few: DepthChart, desk: FakeDesk) -> None:
        in_quote = image_of(few)
        few.set_quote_units(wanted=False)
        again = image_of(few)
        few.begin_anew()
        few.set_frame(frame_of(desk))
        few.put_crosshair(100 * 10**8)
        assert again == image_of(few)
        assert again != in_quote

    def test_sums_are_exact_where_no_double_is(self, chart: DepthChart, desk: FakeDesk) -> None:
        desk.source.load(
            [("57123.45", "90071.99254740993"), ("57123.44", "0.00001")], [("57123.46", "1")]
        )
        chart.set_quote_units(wanted=True)
        chart.set_frame(frame_of(desk))
        chart.put_crosshair(5712344 * 10**6)
        scene = scene_of(chart)
        assert scene.reading is not None
        exact = Decimal("57123.45") * Decimal("90071.99254740993") + Decimal("0.5712344")
        shown = dict(reading_lines(scene, scene.reading))["Bids to here"]
        assert shown == f"{exact.normalize():,f} USDT"

    def test_a_chart_begins_with_what_was_chosen(
        self, qtbot: QtBot, preferences: Preferences, desk: FakeDesk
    ) -> None:
        preferences.shows_quote = True
        chart = DepthChart(DARK, preferences)
        qtbot.addWidget(chart)
        MovingMarket(BTC, desk.source)
        chart.set_frame(frame_of(desk))
        assert scene_of(chart).asset == "USDT"


FEW = [("100.50", "1"), ("100.00", "3"), ("99.50", "2")], [("101.00", "2"), ("102.00", "4")]


class TestUnknownDepth:
    @pytest.fixture
    def cut(self, chart: DepthChart, desk: FakeDesk) -> DepthChart:
        """A book known from 99.50 to 102; single levels far beyond are larger than the rest."""
        desk.source.load(*FEW, depth=2)
        desk.source.apply([("90.00", "700")], [("190.00", "0.5"), ("2000.00", "900")])
        chart.set_frame(frame_of(desk))
        return chart

    def test_the_automatic_range_ends_at_the_edges(self, cut: DepthChart) -> None:
        assert (cut.view.low, cut.view.high) == (99.5e8, 102e8)

    def test_sums_beyond_are_lower_bounds_that_name_the_edge(self, cut: DepthChart) -> None:
        for price, side, size, cost, edge in (
            (60, "Bids", "6.00000", "599.50", "99.50"),
            (1999, "Asks", "6.00000", "610.00", "102.00"),
        ):
            cut.put_crosshair(price * 10**8)
            reading = cut.crosshair_reading
            assert reading is not None
            lines = dict(reading_lines(scene_of(cut), reading))
            assert lines[f"{side} to here"] == f"at least {size} BTC; known to {edge}"
            assert lines["Cost"] == f"at least {cost} USDT"
            assert f"at least {size} BTC; known to {edge}" in cut.summary()
        cut.put_crosshair(100 * 10**8)
        assert "at least" not in cut.summary()

    def test_a_level_beyond_is_read_by_itself(self, cut: DepthChart) -> None:
        cut.put_crosshair(90 * 10**8)
        reading = cut.crosshair_reading
        assert reading is not None
        lines = dict(reading_lines(scene_of(cut), reading))
        assert lines["Level 90.00"] == "700.00000 BTC"
        assert lines["Bids to here"] == "at least 6.00000 BTC; known to 99.50"

    def test_what_lies_beyond_has_a_texture_and_single_levels(self, cut: DepthChart) -> None:
        for _ in range(12):
            cut.zoom(1.25)
        image, area = image_of(cut), scene_of(cut).area
        assert cut.view.low < 85e8
        for price, unknown in ((85, True), (115, True), (100.6, False)):
            x, y = round(area.x(price * 1e8)), area.rect.top() + area.rect.height() // 2
            patch = image.copy(x - 12, y - 12, 8, 8)
            # The texture is not colour alone: lines on the background, at every place.
            line = blend(DARK.muted, DARK.panel, CONTRAST)
            lines = sum(patch.pixelColor(at % 8, at // 8) == line for at in range(64))
            assert (6 <= lines <= 16) == unknown, price
            assert unknown or not lines
        bid = DARK.bid.rgb()
        x = round(area.x(90e8))
        assert bid in colours_of(image.copy(x - 2, area.rect.bottom() - 30, 5, 28))

    def test_header_sums_are_lower_bounds(self, cut: DepthChart, desk: FakeDesk) -> None:
        texts = [legend_text(scene_of(cut), side) for side in Side]
        assert texts == ["Bids ≥ 6.00000 BTC", "Asks ≥ 6.00000 BTC"]
        desk.source.load(*FEW)
        cut.set_frame(frame_of(desk))
        assert legend_text(scene_of(cut), Side.BID) == "Bids 6.00000 BTC"

    def test_where_it_is_not_known_how_deep_every_sum_says_so(
        self, chart: DepthChart, desk: FakeDesk
    ) -> None:
        desk.source.load(*FEW, depth=None)
        chart.set_frame(frame_of(desk))
        chart.put_crosshair(100 * 10**8)
        assert "at least 4.00000 BTC; not known how deep" in chart.summary()
        assert legend_text(scene_of(chart), Side.BID) == "Bids ≥ 6.00000 BTC"

    def test_the_edge_is_named(self, cut: DepthChart) -> None:
        image = image_of(cut)
        assert DARK.caution.rgb() in colours_of(image)

    @pytest.mark.parametrize(("width", "lines"), [(1_000, 1), (240, 2)])
    def test_the_names_of_both_edges_stand_on_one_line_if_there_is_room(
        self, cut: DepthChart, width: int, lines: int
    ) -> None:
        cut.resize(width, 400)
        image = image_of(cut)
        # The edges themselves are lines from top to bottom.
        rows = [
            row
            for row in range(image.height())
            if sum(image.pixel(x, row) == DARK.caution.rgb() for x in range(image.width())) > 2
        ]
        parts = 1 + sum(after - row > 2 for row, after in pairwise(rows))
        assert parts == lines


@pytest.mark.sweep
@pytest.mark.parametrize("x", some_of([40, 300, 500, 700, 880], 2))
def test_the_wheel_zooms_around_the_pointer_and_never_to_an_empty_picture(
    deep: DepthChart, x: int
) -> None:
    area = scene_of(deep).area
    before = area.price_at(x)
    wheel(deep, 120, x)
    assert scene_of(deep).area.price_at(x) == pytest.approx(before, rel=1e-9)
    for delta in [240] * 60 + [-240] * 120:
        wheel(deep, delta, x)
        fills = {DARK.tint(colour, 0.26).rgb() for colour in (DARK.bid, DARK.ask)}
        if delta == 240 and deep.view.half_span > 6 * BTC.info.tick_size:
            continue
        assert fills & colours_of(image_of(deep))


def test_a_wide_spread_can_be_zoomed_into_but_not_to_nothing(
    chart: DepthChart, desk: FakeDesk
) -> None:
    desk.source.load([("50.00", "1")], [("150.00", "2")])
    chart.set_frame(frame_of(desk))
    for _ in range(40):
        wheel(chart, 120, 480)
    fills = {DARK.tint(colour, 0.26).rgb() for colour in (DARK.bid, DARK.ask)}
    assert fills & colours_of(image_of(chart))
