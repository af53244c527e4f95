from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest
from msgspec.structs import replace
from PySide6.QtCore import QCoreApplication, QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QContextMenuEvent, QGuiApplication, QHelpEvent, QImage, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMenu, QPushButton, QToolTip
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.core.tape import Direction, LastPrice
from orderbook_desktop.gui.actions import Command
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.panes.ladder.layout import Column, ColumnChoice
from orderbook_desktop.gui.panes.ladder.position import Row
from orderbook_desktop.gui.panes.ladder.scene import LadderRow, LadderScene, LastText
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK, LIGHT
from tests.gui.fake_desk import BTC, PEPE, FakeDesk, Market, MovingMarket, frame_of
from tests.gui.pixels import colours_of

STEP = 10**6
POPUP = pytest.mark.qt_log_ignore("This plugin does not support")


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


def frame_in(ladder: DepthLadder) -> BookFrame:
    frame = ladder.model.frame
    assert frame is not None
    return frame


def rows_of(ladder: DepthLadder, side: Side) -> list[LadderRow]:
    """Return the rows of a side from the spread outward."""
    rows = [row for row in scene_of(ladder).rows if row.row.side is side]
    return rows[::-1] if side is Side.ASK else rows


def texts(ladder: DepthLadder, side: Side) -> list[tuple[str, str, str]]:
    return [(row.price, row.size, row.total) for row in rows_of(ladder, side)]


def row_of(ladder: DepthLadder, price: str) -> LadderRow:
    return next(row for row in scene_of(ladder).rows if row.price == price)


def unit(price: str) -> int:
    return int(Decimal(price).scaleb(8))


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


def _with_last(ladder: DepthLadder, price: int, direction: Direction) -> QImage:
    frame = frame_in(ladder)
    ladder.set_frame(replace(frame, last=LastPrice(price, 8, direction)))
    return image_of(ladder)


def test_the_last_price_has_an_arrow_and_stands_still(small: DepthLadder) -> None:
    span = scene_of(small).spread_span
    assert span is not None
    pictures = {}
    for direction in Direction:
        picture = _with_last(small, 100_01000000, direction)
        pictures[direction] = picture.copy(0, span.start, small.width(), span.length)
    up, down, none = (pictures[one] for one in (Direction.UP, Direction.DOWN, Direction.NONE))
    assert DARK.bid.rgb() in colours_of(up)
    assert DARK.ask.rgb() in colours_of(down)
    assert not {DARK.bid.rgb(), DARK.ask.rgb()} & colours_of(none)
    # All that differs is the arrow and the colour of the one line.
    places = [_inked(picture) for picture in (up, down, none)]
    assert places[0] == places[1]
    assert places[2] < places[0]
    assert scene_of(small).last == LastText("100.01", Direction.DOWN)


def _inked(picture: QImage) -> set[int]:
    """Return the x coordinates of the columns with text in the upper half."""
    width, height = picture.width(), picture.height() // 2
    ground = picture.pixelColor(1, 2)
    return {
        x for x in range(width) if any(picture.pixelColor(x, y) != ground for y in range(2, height))
    }


def test_the_last_price_in_words_and_in_the_strips(small: DepthLadder) -> None:
    assert not small.summary().startswith("last")
    _with_last(small, 100_01000000, Direction.UP)
    assert small.summary().startswith("last price 100.01, up, best bid")
    _with_last(small, 99_50000000, Direction.DOWN)
    assert small.summary().startswith("last price 99.50, down, ")
    small.stand_still(wanted=True)
    strip = image_of(small).copy(0, small._header_height, 120, small._strip_height)
    assert DARK.ask.rgb() in colours_of(strip)


def test_trades_alone_leave_the_marks_of_changes(small: DepthLadder, desk: FakeDesk) -> None:
    desk.source.apply([("100.00", "3")], [])
    frame = frame_of(desk)
    small.set_frame(frame)
    assert row_of(small, "100.00").change == 1
    small.set_frame(replace(frame, last=LastPrice(1, 8, Direction.UP)))
    assert row_of(small, "100.00").change == 1
    assert scene_of(small).last is not None


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
    size, total, price = (scene.columns[one] for one in (Column.SIZE, Column.TOTAL, Column.PRICE))
    for row, colour in ((ask, DARK.ask), (bid, DARK.bid)):
        top = row.span.start + 2
        assert image.pixelColor(size.start + 1, top) == DARK.tint(colour, 0.32)
        assert image.pixelColor(total.start + 1, top) == DARK.tint(colour, 0.13)
        assert image.pixelColor(price.start + 1, top) == DARK.panel
        assert _has(image, row, price.start, price.end, colour.rgb())


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
def test_texts_fit_their_columns(
    ladder: DepthLadder, market: Market, preferences: Preferences
) -> None:
    desk = FakeDesk(market.info)
    MovingMarket(market, desk.source)
    frame = frame_of(desk)
    ladder.set_step(frame.format.tick)
    ladder.set_frame(frame)
    scene = scene_of(ladder)
    # The text of the numbers is larger than the window's.
    metrics = ladder.fontMetrics()
    larger = 1.01 * preferences.ladder_text / 100
    assert len(scene.rows) > 25
    for row in scene.rows:
        for text, column in (
            (row.size, Column.SIZE),
            (row.total, Column.TOTAL),
            (row.price, Column.PRICE),
        ):
            assert metrics.horizontalAdvance(text) * larger < scene.columns[column].length


def test_without_a_book_there_is_a_message_and_no_row(small: DepthLadder, desk: FakeDesk) -> None:
    desk.source.be_unknown(FeedState.RECONNECTING, "The connection was lost.")
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
        up = len(texts(deep, Side.ASK))
        assert up > 15
        QTest.keyClick(deep, Qt.Key.Key_PageDown)
        QTest.keyClick(deep, Qt.Key.Key_PageDown)
        assert len(texts(deep, Side.ASK)) < 5
        for key in (Qt.Key.Key_Home, Qt.Key.Key_Space, Qt.Key.Key_C):
            assert not deep.model.is_home
            QTest.keyClick(deep, key)
            assert deep.model.is_home
            assert len(texts(deep, Side.ASK)) == len(texts(deep, Side.BID))
            QTest.keyClick(deep, Qt.Key.Key_PageUp)

    def test_the_wheel_adds_fractions_of_a_notch(self, deep: DepthLadder) -> None:
        best = row_of(deep, "57,123.46").span.start
        for _ in range(4):
            wheel(deep, 30)
        row = row_of(deep, "57,123.46").span
        assert abs(row.start - best - 3 * row.length) <= 3
        wheel(deep, -120)
        assert deep.model.is_home

    def test_a_button_leads_back(self, deep: DepthLadder) -> None:
        button = deep.findChild(QPushButton)
        assert isinstance(button, QPushButton)
        assert not button.isVisible()
        deep.scroll_rows(10_000)
        assert button.isVisible()
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        assert deep.model.is_home
        assert not button.isVisible()

    def test_the_button_covers_no_row(self, deep: DepthLadder) -> None:
        button = deep.findChild(QPushButton)
        assert isinstance(button, QPushButton)
        for stands_still in (False, True):
            deep.stand_still(stands_still)
            for rows in (1, 40, -100, 10_000, -20_000):
                deep.recentre()
                deep.scroll_rows(rows)
                assert button.isVisible()
                lowest = max(row.span.end for row in scene_of(deep).rows)
                assert lowest <= button.y()
                assert button.geometry().bottom() < deep.height()
                assert button.geometry().right() < deep.width()

    def test_the_last_ask_is_the_end(self, deep: DepthLadder, desk: FakeDesk) -> None:
        deep.scroll_rows(10_000)
        assert scene_of(deep).rows[0].row.price == int(desk.source.book.asks().prices[-1])

    def test_it_stays_on_its_prices(self, deep: DepthLadder, desk: FakeDesk) -> None:
        deep.scroll_rows(60)
        before = {row.row.price: row.span for row in scene_of(deep).rows}
        # New levels at the spread push the far rows outward in a ladder that is at home.
        desk.source.apply([], [(f"57123.4{n}", "1") for n in range(6, 10)])
        desk.source.apply([("57123.45", "0")], [(f"57123.{n}", "2") for n in range(50, 80)])
        deep.set_frame(frame_of(desk))
        after = {row.row.price: row.span for row in scene_of(deep).rows}
        assert after.keys() == before.keys()
        assert after == before

    def test_another_market_starts_centred(self, deep: DepthLadder) -> None:
        deep.scroll_rows(20)
        other = FakeDesk(PEPE.info)
        MovingMarket(PEPE, other.source)
        deep.set_frame(frame_of(other))
        assert deep.model.is_home


def wheel(
    ladder: DepthLadder,
    delta: int,
    modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
) -> None:
    at = QPointF(50, 50)
    event = QWheelEvent(
        at,
        ladder.mapToGlobal(at),
        QPoint(),
        QPoint(0, delta),
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    ladder.wheelEvent(event)


class TestPicking:
    def test_by_keys_across_the_spread(self, small: DepthLadder) -> None:
        press: Callable[[Qt.Key], None] = lambda key: QTest.keyClick(small, key)  # noqa: E731
        press(Qt.Key.Key_Down)
        assert small.picked_row == Row(Side.BID, unit("100.00"))
        press(Qt.Key.Key_Up)
        assert small.picked_row == Row(Side.ASK, unit("100.01"))
        press(Qt.Key.Key_Up)
        assert small.picked_row == Row(Side.ASK, unit("100.02"))
        for _ in range(5):
            press(Qt.Key.Key_Down)
        assert small.picked_row == Row(Side.BID, unit("99.98"))
        press(Qt.Key.Key_Escape)
        assert small.picked_row is None

    def test_the_pick_stays_with_its_price(self, small: DepthLadder, desk: FakeDesk) -> None:
        QTest.keyClick(small, Qt.Key.Key_Down)
        QTest.keyClick(small, Qt.Key.Key_Down)
        assert small.picked_row == Row(Side.BID, unit("99.98"))
        desk.source.apply([("99.99", "9")], [])
        small.set_frame(frame_of(desk))
        assert small.picked_row == Row(Side.BID, unit("99.98"))
        desk.source.apply([("99.98", "0")], [])
        small.set_frame(frame_of(desk))
        assert small.picked_row is None

    def test_copies_exact_values(self, small: DepthLadder) -> None:
        QTest.keyClick(small, Qt.Key.Key_Up)
        QTest.keyClick(small, Qt.Key.Key_Up)
        QTest.keyClick(small, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        assert QGuiApplication.clipboard().text() == "ask\t100.02\t4.00000\t4.25000"

    def test_without_a_pick_nothing_is_copied(self, small: DepthLadder) -> None:
        QGuiApplication.clipboard().setText("before")
        QTest.keyClick(small, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        small.stand_still(True)
        QTest.keyClick(small, Qt.Key.Key_Down)
        QTest.keyClick(small, Qt.Key.Key_Down)
        assert small.picked_row == Row(None, unit("99.99"))
        QTest.keyClick(small, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        assert QGuiApplication.clipboard().text() == "before"

    def test_is_described(self, small: DepthLadder) -> None:
        QTest.keyClick(small, Qt.Key.Key_Down)
        assert small.accessibleDescription() == (
            "Bid 100.00 USDT\nSize 1.50000 BTC\nTotal from the spread 1.50000 BTC"
        )

    def test_by_mouse_wherever_the_row_is(self, small: DepthLadder) -> None:
        image_of(small)
        row = row_of(small, "100.05")
        QTest.mouseClick(small, Qt.MouseButton.LeftButton, pos=QPoint(20, row.span.start + 3))
        assert small.picked_row == row.row

    @pytest.mark.parametrize("stands_still", [False, True])
    def test_a_click_takes_the_row_that_was_on_screen(
        self, small: DepthLadder, desk: FakeDesk, stands_still: bool
    ) -> None:
        small.stand_still(stands_still)
        image_of(small)
        row = row_of(small, "100.02")
        # A frame has come that is not painted yet; its rows are in other places.
        desk.source.apply([], [("100.01", "0"), ("100.03", "5"), ("100.90", "1")])
        desk.source.apply([("99.98", "0"), ("97.00", "3")], [])
        small.set_frame(frame_of(desk))
        at = QPoint(20, row.span.start + 3)
        QTest.mousePress(small, Qt.MouseButton.LeftButton, pos=at)
        assert small.picked_row == row.row

    def test_deep_rows_come_into_view(self, ladder: DepthLadder, desk: FakeDesk) -> None:
        MovingMarket(BTC, desk.source)
        ladder.set_frame(frame_of(desk))
        for _ in range(60):
            QTest.keyClick(ladder, Qt.Key.Key_Up)
        price = int(desk.source.book.asks().prices[59])
        assert ladder.picked_row == Row(Side.ASK, price)
        assert ladder.picked_row in [row.row for row in scene_of(ladder).rows]
        QTest.keyClick(ladder, Qt.Key.Key_PageDown)
        assert ladder.picked_row is not None
        assert ladder.picked_row.price < price
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
    desk.source.load([("100.00", "12345678.12345678")], [("100.01", "12345678")])
    ladder.set_step(STEP)
    ladder.set_frame(frame_of(desk))
    image_of(ladder)
    row = row_of(ladder, "100.00")
    assert row.size == "12.35"
    at = QPoint(30, row.span.start + 4)
    ladder.event(QHelpEvent(QHelpEvent.Type.ToolTip, at, ladder.mapToGlobal(at)))
    assert "12,345,678.12345678 BTC" in QToolTip.text()
    QToolTip.hideText()


@pytest.mark.qt_log_ignore("This plugin does not support raise")
def test_a_tooltip_lives_with_its_row(small: DepthLadder, desk: FakeDesk, qtbot: QtBot) -> None:
    image_of(small)
    row = row_of(small, "100.00")
    at = QPoint(30, row.span.start + 4)
    for _ in range(2):
        QTest.mouseMove(small, at)
        at += QPoint(1, 0)
    small.event(QHelpEvent(QHelpEvent.Type.ToolTip, at, small.mapToGlobal(at)))
    assert "Size 1.50000 BTC" in QToolTip.text()
    desk.source.apply([("100.00", "2.5")], [])
    small.set_frame(frame_of(desk))
    assert "Size 2.50000 BTC" in QToolTip.text()
    # Another row comes under the mouse: the tip of the row that was there is not true of it.
    desk.source.apply([("100.00", "0")], [])
    small.set_frame(frame_of(desk))
    # Qt hides a tip within a third of a second.
    qtbot.waitUntil(lambda: not QToolTip.isVisible())


class TestChanges:
    def changed(self, ladder: DepthLadder) -> dict[str, int]:
        return {row.price: row.change for row in scene_of(ladder).rows if row.change}

    def test_only_what_changed_is_marked_up_or_down_and_not_for_long(
        self, small: DepthLadder, desk: FakeDesk, qtbot: QtBot
    ) -> None:
        assert self.changed(small) == {}
        desk.source.apply([("99.98", "1.9"), ("99.97", "1")], [("100.05", "1.1")])
        small.set_frame(frame_of(desk))
        assert self.changed(small) == {"99.98": -1, "99.97": 1, "100.05": 1}
        before = image_of(small)
        qtbot.waitUntil(lambda: self.changed(small) == {})
        assert image_of(small) != before

    def test_nothing_is_marked_where_that_is_unwanted(
        self, small: DepthLadder, desk: FakeDesk
    ) -> None:
        small.highlights_changes = False
        desk.source.apply([("99.98", "7")], [])
        small.set_frame(frame_of(desk))
        assert self.changed(small) == {}

    def test_growing_and_shrinking_look_different_without_colours(
        self, small: DepthLadder, desk: FakeDesk
    ) -> None:
        marks = []
        for size in ("2.5", "1.5"):
            desk.source.apply([("100.00", size)], [])
            small.set_frame(frame_of(desk))
            image, row = image_of(small), row_of(small, "100.00")
            left = scene_of(small).columns[Column.SIZE].start
            cell = image.copy(left, row.span.start, 16, row.span.length)
            assert DARK.text.rgb() in colours_of(cell)
            marks.append(cell)
        assert marks[0] != marks[1]

    def test_the_last_move_of_a_best_price_stays(
        self, small: DepthLadder, desk: FakeDesk, qtbot: QtBot
    ) -> None:
        def moves() -> dict[str, int]:
            return {row.price: row.move for row in scene_of(small).rows if row.move}

        assert moves() == {}
        desk.source.apply([("100.00", "0")], [])
        small.set_frame(frame_of(desk))
        desk.source.apply([("99.50", "1")], [("100.01", "0")])
        small.set_frame(frame_of(desk))
        assert moves() == {"99.98": -1, "100.02": 1}
        qtbot.waitUntil(lambda: self.changed(small) == {})
        assert moves() == {"99.98": -1, "100.02": 1}


class TestBars:
    def test_both_sides_have_one_scale(self, ladder: DepthLadder, desk: FakeDesk) -> None:
        desk.source.load([("100.00", "4"), ("99.00", "2")], [("101.00", "1"), ("102.00", "3")])
        ladder.set_frame(frame_of(desk))
        shares = {row.size: row.size_share for row in scene_of(ladder).rows}
        full = shares["3.00000"]
        assert full == 1.0
        assert shares == {
            "1.00000": pytest.approx(full / 3),
            "2.00000": pytest.approx(2 * full / 3),
            "3.00000": full,
            "4.00000": 1.0,
        }

    def test_an_order_of_the_moment_does_not_shrink_the_others(
        self, ladder: DepthLadder, desk: FakeDesk
    ) -> None:
        MovingMarket(BTC, desk.source)
        ladder.set_frame(frame_of(desk))
        before = {row.row: row.size_share for row in scene_of(ladder).rows}
        desk.source.apply([("57123.45", "99999")], [])
        ladder.set_frame(frame_of(desk))
        after = {row.row: row.size_share for row in scene_of(ladder).rows}
        assert after.pop(Row(Side.BID, unit("57123.45"))) == 1.0
        assert all(share > 0.8 * before[row] for row, share in after.items())

    def test_totals_grow_outward_on_one_scale(self, ladder: DepthLadder, desk: FakeDesk) -> None:
        MovingMarket(BTC, desk.source)
        ladder.set_frame(frame_of(desk))
        shares = []
        for side in Side:
            rows = rows_of(ladder, side)
            sums = [Decimal(row.total.replace(",", "")) for row in rows]
            assert sums == sorted(sums)
            shares += [float(sums[-1]) / rows[-1].total_share]
        assert shares[0] == pytest.approx(shares[1], rel=1e-3)
        assert 0.6 <= max(row.total_share for row in scene_of(ladder).rows) <= 1.0

    def test_large_sizes_are_marked_from_the_chosen_size_on(
        self, ladder: DepthLadder, desk: FakeDesk, preferences: Preferences
    ) -> None:
        bids = [(f"{100 - at}.00", "1") for at in range(9)]
        desk.source.load([*bids, ("90.00", "9.9"), ("89.00", "10")], [("101.00", "20.5")])
        ladder.set_step(STEP)
        ladder.set_frame(frame_of(desk))

        def large() -> list[str]:
            return [row.price for row in scene_of(ladder).rows if row.is_large]

        assert large() == ["101.00", "89.00"]
        described = ladder.model.describe(row_of(ladder, "101.00").row)
        assert described.endswith("\n20 times the usual size")
        assert "usual" not in ladder.model.describe(row_of(ladder, "90.00").row)
        ladder.mark_sizes_from(5)
        assert large() == ["101.00", "90.00", "89.00"]
        ladder.mark_sizes_from(0)
        assert large() == []
        assert preferences.large_times == 0


class TestColumns:
    @pytest.fixture
    def deep(self, ladder: DepthLadder, desk: FakeDesk) -> DepthLadder:
        MovingMarket(PEPE, desk.source)
        desk.symbol = PEPE.info
        ladder.set_step(1)
        ladder.set_frame(frame_of(desk))
        return ladder

    def test_decimal_points_align_and_the_heading_names_the_unit(self, deep: DepthLadder) -> None:
        assert deep.headings == {
            Column.PRICE: "Price, USDT",
            Column.SIZE: "Size, M PEPE",
            Column.TOTAL: "Total, M PEPE",
        }
        rows = scene_of(deep).rows
        for texts in ([row.size for row in rows], [row.total for row in rows]):
            assert len({len(text.partition(".")[2]) for text in texts}) == 1
        assert len({len(row.price) for row in rows}) == 1

    def test_narrow_columns_still_name_the_unit(self, deep: DepthLadder) -> None:
        deep.resize(deep.minimumWidth(), 600)
        long = replace(PEPE.info, base="1000000MOGGED", symbol="1000000MOGGED/USDT")
        deep.set_frame(msgspec.structs.replace(frame_in(deep), symbol=long))
        assert deep.headings == {
            Column.PRICE: "Price",
            Column.SIZE: "Size, M",
            Column.TOTAL: "Total, M",
        }

    def test_the_choice_is_on_screen_and_remembered(
        self, deep: DepthLadder, preferences: Preferences, qtbot: QtBot
    ) -> None:
        deep.set_columns(ColumnChoice().with_price_in_middle(wanted=True))
        assert list(scene_of(deep).columns) == [Column.SIZE, Column.PRICE, Column.TOTAL]
        deep.set_columns(ColumnChoice().with_shown(Column.TOTAL, shown=False))
        before = image_of(deep)
        again = DepthLadder(DARK, preferences)
        qtbot.addWidget(again)
        again.resize(deep.size())
        again.set_step(1)
        again.set_frame(frame_in(deep))
        assert list(scene_of(again).columns) == [Column.PRICE, Column.SIZE]
        assert again.grab().toImage().size() == before.size()

    def test_bars_begin_beside_the_price(self, deep: DepthLadder) -> None:
        deep.set_columns(ColumnChoice((Column.TOTAL, Column.SIZE, Column.PRICE)))
        image, scene = image_of(deep), scene_of(deep)
        row = max(scene.rows, key=lambda row: -row.size_share)
        size = scene.columns[Column.SIZE]
        fill = DARK.tint(DARK.bid if row.row.side is Side.BID else DARK.ask, 0.32)
        assert image.pixelColor(size.end - 1, row.span.start + 2) == fill
        assert image.pixelColor(size.start + 1, row.span.start + 2) == DARK.panel

    def test_only_the_price(self, deep: DepthLadder) -> None:
        hidden = frozenset(Column) - {Column.PRICE}
        deep.set_columns(ColumnChoice(hidden=hidden))
        assert list(scene_of(deep).columns) == [Column.PRICE]
        assert not image_of(deep).isNull()

    @POPUP
    def test_a_right_click_on_the_header_offers_them(self, deep: DepthLadder) -> None:
        menu = menu_at(deep, QPoint(scene_of(deep).columns[Column.TOTAL].start + 5, 5))
        actions = {action.text(): action for action in menu.actions()}
        assert [name for name, action in actions.items() if action.isChecked()] == [
            *("Price", "Size", "Total", "Price at the side"),
        ]
        assert not actions["Price"].isEnabled()
        assert "Move size left" not in actions
        assert not actions["Move total right"].isEnabled()
        actions["Move total left"].trigger()
        assert list(scene_of(deep).columns) == [Column.PRICE, Column.TOTAL, Column.SIZE]
        actions = {a.text(): a for a in menu_at(deep, QPoint(5, 5)).actions()}
        actions["Size"].trigger()
        assert list(scene_of(deep).columns) == [Column.PRICE, Column.TOTAL]
        actions = {a.text(): a for a in menu_at(deep, QPoint(5, 5)).actions()}
        actions["Size"].trigger()
        actions = {a.text(): a for a in menu_at(deep, QPoint(5, 5)).actions()}
        actions["Price in the middle"].trigger()
        assert list(scene_of(deep).columns)[1] is Column.PRICE
        close_menus(deep)

    @POPUP
    def test_the_menu_key_offers_all_columns(self, deep: DepthLadder) -> None:
        at = QPoint(9, 300)
        event = QContextMenuEvent(QContextMenuEvent.Reason.Keyboard, at, deep.mapToGlobal(at))
        deep.contextMenuEvent(event)
        texts = {action.text() for action in open_menu(deep).actions()}
        assert {"Move price right", "Move size left", "Move total left"} <= texts
        marks = next(a for a in open_menu(deep).actions() if a.text() == "Mark large sizes")
        menu = marks.menu()
        assert isinstance(menu, QMenu)
        times = {action.text(): action for action in menu.actions()}
        assert times["From 10 times the usual size"].isChecked()
        times["None"].trigger()
        assert deep.model.large_times == 0
        close_menus(deep)

    def test_a_right_click_on_a_row_offers_nothing(self, deep: DepthLadder) -> None:
        at = QPoint(50, 300)
        deep.contextMenuEvent(QContextMenuEvent(QContextMenuEvent.Reason.Mouse, at, at))
        assert not deep.findChildren(QMenu)


def close_menus(ladder: DepthLadder) -> None:
    """Leave no menu open: Qt tells of a second menu in its log, in the next test also."""
    for menu in ladder.findChildren(QMenu):
        menu.close()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QCoreApplication.processEvents()
    assert not ladder.findChildren(QMenu)


def menu_at(ladder: DepthLadder, at: QPoint) -> QMenu:
    close_menus(ladder)
    reason = QContextMenuEvent.Reason.Mouse
    ladder.contextMenuEvent(QContextMenuEvent(reason, at, ladder.mapToGlobal(at)))
    return open_menu(ladder)


def open_menu(ladder: DepthLadder) -> QMenu:
    menus = [menu for menu in ladder.findChildren(QMenu) if menu.isVisible()]
    menu = menus[-1]
    assert isinstance(menu, QMenu)
    return menu


class TestText:
    @pytest.mark.qt_log_ignore("This plugin does not support")
    def test_its_size_is_remembered_and_has_ends(
        self, small: DepthLadder, preferences: Preferences, qtbot: QtBot
    ) -> None:
        rows = len(scene_of(small).rows)
        heights = [row_of(small, "100.00").span.length]
        larger, smaller = small.commands()[3:5]
        assert isinstance(larger, Command)
        assert isinstance(smaller, Command)
        for _ in range(9):
            larger.run()
        heights.append(row_of(small, "100.00").span.length)
        assert preferences.ladder_text == 200
        assert len(scene_of(small).rows) == rows
        again = DepthLadder(DARK, preferences)
        qtbot.addWidget(again)
        again.resize(small.size())
        again.set_step(STEP)
        again.set_frame(frame_in(small))
        assert row_of(again, "100.00").span == row_of(small, "100.00").span
        for _ in range(20):
            smaller.run()
        heights.append(row_of(small, "100.00").span.length)
        assert preferences.ladder_text == 80
        assert heights[1] > heights[0] > heights[2]

    @pytest.mark.qt_log_ignore("This plugin does not support")
    def test_ctrl_and_the_wheel_change_it(
        self, small: DepthLadder, preferences: Preferences
    ) -> None:
        wheel(small, 120, Qt.KeyboardModifier.ControlModifier)
        assert preferences.ladder_text == 130
        assert small.model.is_home
        wheel(small, -240, Qt.KeyboardModifier.ControlModifier)
        assert preferences.ladder_text == 100

    def test_a_size_from_elsewhere_is_taken(self, qtbot: QtBot, preferences: Preferences) -> None:
        preferences.ladder_text = 123
        ladder = DepthLadder(DARK, preferences)
        qtbot.addWidget(ladder)
        wheel(ladder, 120, Qt.KeyboardModifier.ControlModifier)
        assert preferences.ladder_text == 130


class TestQuoteUnits:
    def test_sizes_and_totals_change_their_unit_and_nothing_else(self, small: DepthLadder) -> None:
        before = [(row.row, row.size_share, row.total_share) for row in scene_of(small).rows]
        small.set_quote_units(True)
        assert texts(small, Side.BID) == [
            ("100.00", "150.00", "150.00"),
            ("99.98", "199.96", "349.96"),
        ]
        assert small.headings[Column.SIZE] == "Size, USDT"
        assert small.headings[Column.TOTAL] == "Total, USDT"
        assert [
            (row.row, row.size_share, row.total_share) for row in scene_of(small).rows
        ] == before
        row = row_of(small, "99.98").row
        assert small.model.describe(row).splitlines()[1:] == [
            "Size 199.96 USDT",
            "Total from the spread 349.96 USDT",
        ]
        small.set_quote_units(False)
        assert texts(small, Side.BID)[0] == ("100.00", "1.50000", "1.50000")

    def test_groups_hold_the_costs_of_their_levels(self, small: DepthLadder) -> None:
        small.set_quote_units(True)
        small.set_step(100 * STEP)
        # 0.25 at 100.01, 4 at 100.02 and 1 at 100.05.
        assert texts(small, Side.ASK) == [("101", "525.13", "525.13")]
        asks = rows_of(small, Side.ASK)
        assert "525.1325 USDT" in small.model.describe(asks[0].row)


class TestStandingStill:
    def test_each_step_has_a_row(self, small: DepthLadder) -> None:
        small.stand_still(True)
        rows = {row.price: row for row in scene_of(small).rows}
        assert rows["99.99"].row.side is None
        assert (rows["99.99"].size, rows["99.99"].total) == ("", "")
        assert rows["99.98"].size == "2.00000"
        prices = [Decimal(price) for price in rows]
        assert {unit(f"{n / 100:.2f}") for n in range(9990, 10015)} <= {
            unit(f"{p}") for p in prices
        }
        assert scene_of(small).spread_span is None
        assert not any(row.skips for row in rows.values())
        assert not image_of(small).isNull()
        assert small.model.describe(rows["99.99"].row) == "99.99 USDT\nNo level"

    def test_rows_stand_still_while_the_market_moves(
        self, small: DepthLadder, desk: FakeDesk
    ) -> None:
        small.stand_still(True)
        before = {row.price: row.span for row in scene_of(small).rows}
        desk.source.apply([("100.01", "1")], [("100.01", "0")])
        small.set_frame(frame_of(desk))
        assert {row.price: row.span for row in scene_of(small).rows} == before
        desk.source.apply([("101.00", "1")], [("100.02", "0"), ("100.05", "0"), ("101.02", "1")])
        small.set_frame(frame_of(desk))
        after = {row.price: row.span for row in scene_of(small).rows}
        assert after != before
        middle = row_of(small, "101.01").span.start
        assert abs(middle - small.height() / 2) < 60

    def test_it_is_remembered(self, small: DepthLadder, preferences: Preferences) -> None:
        small.stand_still(True)
        assert preferences.ladder_stands_still


def test_rows_that_skip_steps_are_marked(small: DepthLadder) -> None:
    skips = {row.price: row.skips for row in scene_of(small).rows}
    assert skips == {
        "100.01": False,
        "100.02": False,
        "100.05": True,
        "100.00": False,
        "99.98": True,
    }
    small.set_step(2 * STEP)
    skips = {row.price: row.skips for row in scene_of(small).rows}
    assert skips == {"100.02": False, "100.06": True, "100.00": False, "99.98": False}
    image, row = image_of(small), row_of(small, "100.06")
    price = scene_of(small).columns[Column.PRICE]
    assert image.pixelColor(price.start + 3, row.span.end - 1) == DARK.muted


def test_rows_beyond_what_is_known_are_single_and_say_so(
    ladder: DepthLadder, desk: FakeDesk
) -> None:
    bids = [("100.50", "1"), ("100.00", "3"), ("99.50", "2")]
    desk.source.load(bids, [("101.00", "2"), ("102.00", "4")], depth=2)
    desk.source.apply([("50.25", "700"), ("50.75", "5")], [("190.00", "0.5")])
    ladder.set_frame(frame_of(desk))
    ladder.set_step(10 * 10**8)
    rows = [*rows_of(ladder, Side.BID), *rows_of(ladder, Side.ASK)]
    assert [(row.price, row.size, row.total, row.beyond is not None) for row in rows] == [
        ("100", "4.00000", "4.00000", False),
        ("90", "≥ 2.00000", "≥ 6.00000", True),
        ("50.75", "5.00000", "≥ 6.00000", True),
        ("50.25", "700.00000", "≥ 6.00000", True),
        ("110", "≥ 6.00000", "≥ 6.00000", True),
        ("190.00", "0.50000", "≥ 6.00000", True),
    ]
    assert ladder.model.describe(row_of(ladder, "90").row).splitlines()[1:3] == [
        "Size at least 2.00000 BTC",
        "Total from the spread at least 6.00000 BTC; known to 99.50",
    ]
    known = ladder.model.describe(row_of(ladder, "100").row)
    assert known.splitlines()[2] == "Total from the spread 4.00000 BTC"
    # The texture is not colour alone.
    row, left = row_of(ladder, "50.75").span, scene_of(ladder).columns[Column.PRICE].start
    patch = image_of(ladder).copy(left + 2, row.start + 1, 14, row.length - 2)
    assert len(colours_of(patch)) > 1
    ladder.model.pick(row_of(ladder, "90").row.price, 20)
    ladder.copy_row()
    assert QGuiApplication.clipboard().text() == "bid\t90\t≥ 2.00000\t≥ 6.00000"


def test_steps_beyond_what_is_known_say_so(ladder: DepthLadder, desk: FakeDesk) -> None:
    desk.source.load([("100.00", "1")], [("101.00", "2"), ("102.00", "4")], depth=2)
    desk.source.apply([], [("106.25", "7"), ("106.75", "8")])
    ladder.set_step(10**8)
    ladder.set_frame(frame_of(desk))
    ladder.stand_still(True)
    rows = {row.price: row for row in scene_of(ladder).rows}
    assert (rows["102"].size, rows["102"].beyond) == ("4.00000", None)
    assert (rows["107"].size, rows["107"].total) == ("≥ 15.00000", "≥ 6.00000")
    assert (rows["103"].size, rows["103"].beyond) == ("", Side.ASK)
    assert (rows["99"].size, rows["99"].beyond) == ("", None)
    describe = ladder.model.describe
    assert describe(rows["103"].row) == "103 USDT\nNot known whether there is a level"
    assert describe(rows["99"].row) == "99 USDT\nNo level"
    ladder.set_quote_units(True)
    assert row_of(ladder, "107").size == "≥ 1,597.75"
    assert not image_of(ladder).isNull()
