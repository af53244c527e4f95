from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QHelpEvent, QImage, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton, QToolTip
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.gui.panes.ladder.layout import Row
from orderbook_desktop.gui.panes.ladder.painter import LadderRow, LadderScene
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK, LIGHT
from tests.gui.fake_desk import BTC, PEPE, FakeDesk, Market, MovingMarket, frame_of
from tests.gui.pixels import colours_of

STEP = 10**6


@pytest.fixture
def ladder(qtbot: QtBot, preferences: Preferences) -> DepthLadder:
    widget = DepthLadder(DARK, preferences)
    qtbot.addWidget(widget)
    widget.resize(430, 800)
    widget.show()
    widget.setFocus()
    return widget


@pytest.fixture
def small(ladder: DepthLadder, desk: FakeDesk) -> DepthLadder:
    """A ladder of two bids and three asks."""
    desk.source.load(
        [("100.00", "1.5"), ("99.98", "2")], [("100.01", "0.25"), ("100.02", "4"), ("100.05", "1")]
    )
    ladder.set_step(STEP)
    ladder.set_frame(frame_of(desk))
    return ladder


def scene_of(ladder: DepthLadder) -> LadderScene:
    scene = ladder.scene
    assert scene is not None
    return scene


def texts(ladder: DepthLadder, side: Side) -> list[tuple[str, str, str]]:
    return [
        (row.price, row.size, row.total) for row in scene_of(ladder).rows if row.row.side is side
    ]


def image_of(ladder: DepthLadder) -> QImage:
    return ladder.grab().toImage()


def test_rows_from_the_spread_outward(small: DepthLadder) -> None:
    assert texts(small, Side.ASK) == [
        ("100.01", "0.25000", "0.25000"),
        ("100.02", "4.00000", "4.25000"),
        ("100.05", "1.00000", "5.25000"),
    ]
    assert texts(small, Side.BID) == [
        ("100.00", "1.50000", "1.50000"),
        ("99.98", "2.00000", "3.50000"),
    ]
    assert scene_of(small).spread_lines == ("mid 100.005", "spread 0.01  (0.01000 %)")


def test_grouping_changes_rows_and_places(small: DepthLadder) -> None:
    small.set_step(5 * STEP)
    assert texts(small, Side.ASK) == [("100.05", "5.25000", "5.25000")]
    assert [row[0] for row in texts(small, Side.BID)] == ["100.00", "99.95"]
    small.set_step(100 * STEP)
    assert [row[0] for row in texts(small, Side.ASK)] == ["101"]


def test_bars_and_colours_are_where_they_belong(small: DepthLadder) -> None:
    image = image_of(small)
    scene = scene_of(small)
    ask = next(row for row in scene.rows if row.price == "100.02")
    bid = next(row for row in scene.rows if row.price == "99.98")
    columns = scene.columns
    ask_bar = image.pixelColor(columns.ask_size.start + 1, ask.span.start + 2)
    bid_bar = image.pixelColor(columns.bid_size.end - 2, bid.span.start + 2)
    assert ask_bar == DARK.tint(DARK.ask, 0.32)
    assert bid_bar == DARK.tint(DARK.bid, 0.32)
    empty = image.pixelColor(columns.bid_size.end - 2, ask.span.start + 2)
    assert empty == DARK.panel
    assert _has(image, ask, columns.price.start, columns.price.end, DARK.ask.rgb())
    assert _has(image, bid, columns.price.start, columns.price.end, DARK.bid.rgb())


def _has(image: QImage, row: LadderRow, left: int, right: int, colour: int) -> bool:
    cell = image.copy(left, row.span.start, right - left, row.span.end - row.span.start)
    return colour in colours_of(cell)


def test_another_theme_draws_in_other_colours(small: DepthLadder) -> None:
    small.set_theme(LIGHT)
    scene = scene_of(small)
    row = scene.rows[0]
    assert image_of(small).pixelColor(2, row.span.start) in (
        LIGHT.panel,
        LIGHT.tint(LIGHT.bid, 0.13),
    )


@pytest.mark.parametrize("market", [BTC, PEPE], ids=["btc", "pepe"])
def test_texts_fit_their_columns(ladder: DepthLadder, market: Market) -> None:
    desk = FakeDesk(market.info)
    MovingMarket(market, desk.source)
    frame = frame_of(desk)
    ladder.set_step(frame.format.tick)
    ladder.set_frame(frame)
    scene = scene_of(ladder)
    metrics = ladder.fontMetrics()
    assert len(scene.rows) > 30
    for row in scene.rows:
        assert metrics.horizontalAdvance(row.size) < scene.columns.ask_size.length
        assert metrics.horizontalAdvance(row.total) < scene.columns.ask_total.length
        assert metrics.horizontalAdvance(row.price) < scene.columns.price.length


def test_without_a_book_there_is_a_message_and_no_row(small: DepthLadder, desk: FakeDesk) -> None:
    desk.source.lose(FeedState.RECONNECTING, "The connection was lost.")
    small.set_frame(frame_of(desk))
    assert small.scene is None
    assert small.summary() == "Reconnecting to BTC/USDT. The connection was lost."
    colours = {DARK.bid.rgb(), DARK.ask.rgb(), DARK.tint(DARK.bid, 0.32).rgb()}
    assert not colours_of(image_of(small)) & colours


def test_one_side_is_said_to_be_missing(ladder: DepthLadder, desk: FakeDesk) -> None:
    desk.source.load([("100.00", "1.5")], [])
    ladder.set_frame(frame_of(desk))
    assert scene_of(ladder).spread_lines == ("no asks", "")
    desk.source.apply([("100.00", "0")], [("100.01", "1")])
    ladder.set_frame(frame_of(desk))
    assert scene_of(ladder).spread_lines == ("no bids", "")


def test_a_crossed_book_says_so(ladder: DepthLadder, desk: FakeDesk) -> None:
    desk.source.load([("100.02", "1.5")], [("100.00", "1")])
    ladder.set_frame(frame_of(desk))
    assert scene_of(ladder).spread_lines[1].startswith("crossed by 0.02")


class TestScrolling:
    @pytest.fixture
    def deep(self, ladder: DepthLadder, desk: FakeDesk) -> DepthLadder:
        MovingMarket(BTC, desk.source)
        ladder.set_step(STEP)
        ladder.set_frame(frame_of(desk))
        return ladder

    def test_keys(self, deep: DepthLadder) -> None:
        QTest.keyClick(deep, Qt.Key.Key_PageUp)
        page = deep.offset
        assert page > 5
        QTest.keyClick(deep, Qt.Key.Key_PageDown)
        QTest.keyClick(deep, Qt.Key.Key_PageDown)
        assert deep.offset == -page
        QTest.keyClick(deep, Qt.Key.Key_Home)
        assert deep.offset == 0
        QTest.keyClick(deep, Qt.Key.Key_PageUp)
        QTest.keyClick(deep, Qt.Key.Key_Space)
        assert deep.offset == 0

    def test_the_wheel_adds_fractions_of_a_notch(self, deep: DepthLadder) -> None:
        for _ in range(4):
            wheel(deep, 30)
        assert deep.offset == 3
        wheel(deep, -120)
        assert deep.offset == 0

    def test_a_button_leads_back(self, deep: DepthLadder) -> None:
        button = deep.findChild(QPushButton)
        assert isinstance(button, QPushButton)
        assert not button.isVisible()
        deep.scroll_rows(10_000)
        assert button.isVisible()
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        assert deep.offset == 0
        assert not button.isVisible()

    def test_the_last_ask_is_the_end(self, deep: DepthLadder) -> None:
        deep.scroll_rows(10_000)
        assert max(row.row.index for row in scene_of(deep).rows) == BTC.levels - 1

    def test_another_market_starts_centred(self, deep: DepthLadder) -> None:
        deep.scroll_rows(20)
        other = FakeDesk(PEPE.info)
        MovingMarket(PEPE, other.source)
        deep.set_frame(frame_of(other))
        assert deep.offset == 0


def wheel(ladder: DepthLadder, delta: int) -> None:
    at = QPointF(50, 50)
    event = QWheelEvent(
        at,
        ladder.mapToGlobal(at),
        QPoint(),
        QPoint(0, delta),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    ladder.wheelEvent(event)


class TestPicking:
    def test_by_keys_across_the_spread(self, small: DepthLadder) -> None:
        press: Callable[[Qt.Key], None] = lambda key: QTest.keyClick(small, key)  # noqa: E731
        press(Qt.Key.Key_Down)
        assert small.picked_row == Row(Side.BID, 0)
        press(Qt.Key.Key_Up)
        assert small.picked_row == Row(Side.ASK, 0)
        press(Qt.Key.Key_Up)
        assert small.picked_row == Row(Side.ASK, 1)
        for _ in range(5):
            press(Qt.Key.Key_Down)
        assert small.picked_row == Row(Side.BID, 1)
        press(Qt.Key.Key_Escape)
        assert small.picked_row is None

    def test_the_pick_stays_with_its_price(self, small: DepthLadder, desk: FakeDesk) -> None:
        QTest.keyClick(small, Qt.Key.Key_Down)
        QTest.keyClick(small, Qt.Key.Key_Down)
        assert small.picked_row == Row(Side.BID, 1)
        desk.source.apply([("99.99", "9")], [])
        small.set_frame(frame_of(desk))
        assert small.picked_row == Row(Side.BID, 2)
        desk.source.apply([("99.98", "0")], [])
        small.set_frame(frame_of(desk))
        assert small.picked_row is None

    def test_copies_exact_values(self, small: DepthLadder) -> None:
        QTest.keyClick(small, Qt.Key.Key_Up)
        QTest.keyClick(small, Qt.Key.Key_Up)
        QTest.keyClick(small, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        assert QGuiApplication.clipboard().text() == "ask\t100.02\t4.00000\t4.25000"

    def test_is_described(self, small: DepthLadder) -> None:
        QTest.keyClick(small, Qt.Key.Key_Down)
        assert small.accessibleDescription() == (
            "Bid 100.00 USDT\nSize 1.50000 BTC\nTotal from the spread 1.50000 BTC"
        )

    def test_by_mouse_wherever_the_row_is(self, small: DepthLadder) -> None:
        row = next(row for row in scene_of(small).rows if row.price == "100.05")
        QTest.mouseClick(small, Qt.MouseButton.LeftButton, pos=QPoint(20, row.span.start + 3))
        assert small.picked_row == row.row

    def test_deep_rows_come_into_view(self, ladder: DepthLadder, desk: FakeDesk) -> None:
        MovingMarket(BTC, desk.source)
        ladder.set_frame(frame_of(desk))
        for _ in range(60):
            QTest.keyClick(ladder, Qt.Key.Key_Up)
        assert ladder.picked_row == Row(Side.ASK, 59)
        assert ladder.picked_row in [row.row for row in scene_of(ladder).rows]


def test_the_row_under_the_mouse_is_marked(small: DepthLadder) -> None:
    row = scene_of(small).rows[0]
    place = row.span.start + 1
    before = image_of(small).pixelColor(small.width() - 3, place)
    QTest.mouseMove(small, QPoint(small.width() - 30, place))
    QTest.mouseMove(small, QPoint(small.width() - 31, place))
    assert image_of(small).pixelColor(small.width() - 3, place).lightness() > before.lightness()
    small.leaveEvent(QEvent(QEvent.Type.Leave))
    assert image_of(small).pixelColor(small.width() - 3, place) == before


@pytest.mark.qt_log_ignore("This plugin does not support raise")
def test_a_tooltip_tells_the_exact_values(ladder: DepthLadder, desk: FakeDesk) -> None:
    desk.source.load([("100.00", "12345678.12345678")], [("100.01", "1")])
    ladder.set_frame(frame_of(desk))
    row = scene_of(ladder).rows[0]
    assert row.size == "12.346M"
    at = QPoint(30, row.span.start + 4)
    ladder.event(QHelpEvent(QHelpEvent.Type.ToolTip, at, ladder.mapToGlobal(at)))
    assert "12,345,678.12345678 BTC" in QToolTip.text()
    QToolTip.hideText()


class TestChanges:
    def changed(self, ladder: DepthLadder) -> list[str]:
        return [row.price for row in scene_of(ladder).rows if row.changed]

    def test_only_what_changed_is_marked_and_not_for_long(
        self, small: DepthLadder, desk: FakeDesk, qtbot: QtBot
    ) -> None:
        assert self.changed(small) == []
        desk.source.apply([("99.98", "7")], [("100.03", "1")])
        small.set_frame(frame_of(desk))
        assert self.changed(small) == ["99.98", "100.03"]
        qtbot.waitUntil(lambda: self.changed(small) == [])

    def test_nothing_is_marked_where_that_is_unwanted(
        self, small: DepthLadder, desk: FakeDesk
    ) -> None:
        small.highlights_changes = False
        desk.source.apply([("99.98", "7")], [])
        small.set_frame(frame_of(desk))
        assert self.changed(small) == []


def test_bars_are_relative_to_the_largest_in_view(ladder: DepthLadder, desk: FakeDesk) -> None:
    MovingMarket(BTC, desk.source)
    ladder.set_frame(frame_of(desk))
    for side in Side:
        rows = [row for row in scene_of(ladder).rows if row.row.side is side]
        assert max(row.size_share for row in rows) == 1.0
        sums = [Decimal(row.total.replace(",", "")) for row in rows]
        assert sums == sorted(sums)
    assert max(row.total_share for row in scene_of(ladder).rows) == 1.0


def test_rows_beyond_what_is_known_are_single_and_say_so(
    ladder: DepthLadder, desk: FakeDesk
) -> None:
    bids = [("100.50", "1"), ("100.00", "3"), ("99.50", "2")]
    desk.source.load(bids, [("101.00", "2"), ("102.00", "4")], depth=2)
    desk.source.apply([("50.25", "700"), ("50.75", "5")], [("190.00", "0.5")])
    ladder.set_frame(frame_of(desk))
    ladder.set_step(10 * 10**8)
    scene = ladder.scene
    assert scene is not None
    rows = [(row.price, row.size, row.total, row.beyond) for row in scene.rows]
    assert rows == [
        ("100", "4.00000", "4.00000", False),
        ("90", "≥ 2.00000", "≥ 6.00000", True),
        ("50.75", "5.00000", "≥ 6.00000", True),
        ("50.25", "700.00000", "≥ 6.00000", True),
        ("110", "≥ 6.00000", "≥ 6.00000", True),
        ("190.00", "0.50000", "≥ 6.00000", True),
    ]
    assert ladder.describe(Row(Side.BID, 1)).splitlines()[1:] == [
        "Size at least 2.00000 BTC",
        "Total from the spread at least 6.00000 BTC; known to 99.50",
    ]
    assert ladder.describe(Row(Side.BID, 0)).endswith("Total from the spread 4.00000 BTC")
    # The texture is not colour alone.
    row = scene.rows[2].span
    patch = ladder.grab().toImage().copy(2, row.start + 1, 14, row.length - 2)
    assert len(colours_of(patch)) > 1
