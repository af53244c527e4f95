"""The heatmap pane in a window: what it shows, and how a person leads through it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.checkpoint import image_of
from orderbook_desktop.core.events import decode_diff
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.replay_status import ReplayStatus
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.units import format_units
from orderbook_desktop.gui.panes.book_frame import read_frame
from orderbook_desktop.gui.panes.heatmap.widget import HeatmapPane
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK
from tests.core.heatmap.made_cells import MadePages, recorded
from tests.gui.fake_desk import BTC, EVENT_MS, FakeDesk, MovingMarket

BEGIN = EVENT_MS - 7_200_000
GAP = (EVENT_MS - 200_000, EVENT_MS - 100_000)
PLOT_GAP = 0xFFD69E52


def shown(pane: HeatmapPane) -> View:
    assert pane.view is not None
    return pane.view


@pytest.fixture
def pages() -> MadePages:
    coverage = recorded("BTCUSDT", BEGIN, EVENT_MS, GAP)
    return MadePages(coverage, PriceGrid.of(BTC.info.tick_size, BTC.price), BTC.price)


@pytest.fixture
def pane(
    host: QWidget, qtbot: QtBot, preferences: Preferences, pages: MadePages, desk: FakeDesk
) -> Iterator[HeatmapPane]:
    made = HeatmapPane(DARK, preferences, host)
    made.resize(900, 500)
    made.set_heatmaps(pages)
    MovingMarket(BTC, desk.source)
    made.set_frame(read_frame(desk.symbol, desk.source.look()))
    made.show()
    made.setFocus()
    qtbot.waitUntil(lambda: bool(pages.wishes))
    yield made
    made.hide()


def wheel(pane: QWidget, at: QPoint, turns: int, keys: Qt.KeyboardModifier) -> None:
    place = QPointF(at)
    event = QWheelEvent(
        place, pane.mapToGlobal(place), QPoint(), QPoint(0, 120 * turns),
        Qt.MouseButton.NoButton, keys, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(pane, event)


def test_it_asks_for_a_little_more_than_it_shows(pane: HeatmapPane, pages: MadePages) -> None:
    wish = pages.wishes[-1]
    view = shown(pane)
    assert view.to_ms == EVENT_MS
    assert wish.bins.from_ms < view.from_ms
    assert wish.steps.rows is not None
    first, count = wish.steps.rows
    assert first * wish.steps.step < view.low
    assert (first + count) * wish.steps.step > view.high
    count_of_wishes = len(pages.wishes)
    pane.move_by(-0.1, 0)
    pane.ask()
    assert len(pages.wishes) == count_of_wishes
    pane.move_by(-2, 0)
    pane.ask()
    assert len(pages.wishes) == count_of_wishes + 1


def test_the_image_moves_with_a_pan_and_is_the_one_painted_anew(
    pane: HeatmapPane, pages: MadePages
) -> None:
    pages.known = (BTC.price - 10**10, BTC.price + 2 * 10**10)
    pane.move_by(-0.2, 0)
    for across, up in ((-0.03, 0.02), (0.07, -0.11), (0.3, 0.0), (-0.01, 0.4)):
        pane.grab()
        pane.move_by(across, up)
        pane.ask()
        moved = pane.grab().toImage()
        pane.scene.set_theme(DARK)
        assert pane.grab().toImage() == moved


def test_the_wheel_zooms_time_around_the_pointer_and_prices_with_ctrl(pane: HeatmapPane) -> None:
    plot = pane.places.plot
    at = plot.topLeft() + QPoint(plot.width() // 2, plot.height() // 4)
    before = shown(pane)
    wheel(pane, at, 1, Qt.KeyboardModifier.NoModifier)
    view = shown(pane)
    assert view.length_ms < before.length_ms
    middle = (before.from_ms + before.to_ms) // 2
    assert abs((view.from_ms + view.to_ms) // 2 - middle) < 2_000
    assert (view.low, view.high) == (before.low, before.high)
    wheel(pane, at, 1, Qt.KeyboardModifier.ControlModifier)
    zoomed = shown(pane)
    assert zoomed.height < view.height
    assert zoomed.high - zoomed.height // 4 == pytest.approx(view.high - view.height // 4, abs=1e8)
    wheel(pane, at, 1, Qt.KeyboardModifier.ShiftModifier)
    assert shown(pane).from_ms < zoomed.from_ms
    assert shown(pane).length_ms == zoomed.length_ms


def test_a_drag_moves_and_a_click_plays_from_there(pane: HeatmapPane, qtbot: QtBot) -> None:
    before = shown(pane)
    at = QPoint(400, 200)
    wanted: list[int] = []
    pane.moment_wanted.connect(wanted.append)
    QTest.mousePress(pane, Qt.MouseButton.LeftButton, pos=at)
    QTest.mouseMove(pane, at + QPoint(100, 30))
    QTest.mouseRelease(pane, Qt.MouseButton.LeftButton, pos=at + QPoint(100, 30))
    view = shown(pane)
    assert view.from_ms < before.from_ms
    assert view.high > before.high
    assert not wanted
    QTest.mouseClick(pane, Qt.MouseButton.LeftButton, pos=at)
    width = pane.places.plot.width()
    assert wanted == [(view.from_ms + round(400 / width * view.length_ms)) * 1_000_000]
    QTest.keyClick(pane, Qt.Key.Key_Return)
    assert len(wanted) == 2


def test_axes_are_dragged_and_fitted(pane: HeatmapPane) -> None:
    places, before = pane.places, shown(pane)
    for area, by in ((places.times, QPoint(-80, 0)), (places.prices, QPoint(0, 60))):
        at = area.center()
        QTest.mousePress(pane, Qt.MouseButton.LeftButton, pos=at)
        QTest.mouseMove(pane, at + by)
        QTest.mouseRelease(pane, Qt.MouseButton.LeftButton, pos=at + by)
    view = shown(pane)
    assert view.length_ms > before.length_ms
    assert view.height > before.height
    assert view.to_ms == before.to_ms
    QTest.mouseDClick(pane, Qt.MouseButton.LeftButton, pos=places.times.center())
    assert (shown(pane).from_ms, shown(pane).to_ms) == (BEGIN, EVENT_MS)


def test_all_of_it_is_reached_by_keys(pane: HeatmapPane) -> None:
    first = shown(pane)
    for key, keys in (
        (Qt.Key.Key_Left, Qt.KeyboardModifier.NoModifier),
        (Qt.Key.Key_Up, Qt.KeyboardModifier.NoModifier),
        (Qt.Key.Key_Plus, Qt.KeyboardModifier.NoModifier),
        (Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier),
        (Qt.Key.Key_PageUp, Qt.KeyboardModifier.NoModifier),
        (Qt.Key.Key_Home, Qt.KeyboardModifier.NoModifier),
        # In a replay the plain keys are the replay's.
        (Qt.Key.Key_Left, Qt.KeyboardModifier.AltModifier),
        (Qt.Key.Key_Left, Qt.KeyboardModifier.ControlModifier),
    ):
        before = shown(pane)
        QTest.keyClick(pane, key, keys)
        assert shown(pane) != before, key
    QTest.keyClick(pane, Qt.Key.Key_End)
    assert shown(pane).to_ms == EVENT_MS
    QTest.keyClick(pane, Qt.Key.Key_0)
    assert shown(pane) == first


def test_a_button_leads_back_to_the_newest_moment(pane: HeatmapPane) -> None:
    assert not pane.live_button.isVisible()
    pane.move_by(-1, 0.2)
    assert pane.live_button.isVisible()
    pane.live_button.click()
    assert not pane.live_button.isVisible()
    assert shown(pane).to_ms == EVENT_MS
    pane.move_by(0, 0.3)
    assert pane.centre_button.isVisible()
    pane.centre_button.click()
    assert not pane.centre_button.isVisible()


def test_in_a_replay_it_follows_the_clock_and_shows_nothing_after_it(pane: HeatmapPane) -> None:
    at = EVENT_MS - 1_800_000
    status = ReplayStatus(
        symbol="BTC/USDT", market="BTCUSDT", at_ns=at * 1_000_000 + 5, event_ms=at, update_id=7
    )
    pane.set_replay(status)
    assert shown(pane).to_ms == at
    assert pane.live_button.text().startswith("Clock")
    pane.set_replay(None)
    assert shown(pane).to_ms == EVENT_MS


def test_a_gap_says_why_and_how_long(pane: HeatmapPane) -> None:
    view = shown(pane)
    assert "1 gap of 0:01:40.000" in pane.summary()
    x = (GAP[0] + 5_000 - view.from_ms) / view.length_ms * pane.places.plot.width()
    tip = pane._tip(QPointF(x, 100))
    assert tip.startswith("Gap of 0:01:40.000: the connection to the exchange was lost.")
    assert not pane._tip(QPointF(5, 100))
    image = pane.grab().toImage()
    y = pane.places.plot.height() - 20
    hatched = [i for i in range(int(x) - 200, int(x) + 200) if image.pixel(i, y) == PLOT_GAP]
    scale = pane.places.plot.width() / view.length_ms
    assert min(hatched) >= (GAP[0] - view.from_ms) * scale - 1
    assert max(hatched) <= (GAP[1] - view.from_ms) * scale + 1


def test_old_cells_are_shown_while_new_ones_are_read(pane: HeatmapPane, pages: MadePages) -> None:
    pane.grab()
    pages.waits = True
    pane.zoom_time(0.2)
    pane.ask()
    x, y = 100, 60
    pending = {0xFF141A22, 0xFF262F3B}
    assert pane.grab().toImage().pixel(x, y) not in pending
    pages.answer()
    assert pane.grab().toImage().pixel(x, y) not in pending


def test_the_newest_moment_is_asked_for_at_once_after_a_look_at_the_past(
    pane: HeatmapPane, pages: MadePages
) -> None:
    pane.move_by(-3, 0)
    pane.ask()
    assert pages.wishes[-1].bins.to_ms < EVENT_MS
    pane.to_edge()
    pane.ask()
    assert pages.wishes[-1].bins.to_ms >= EVENT_MS


def test_no_answer_of_another_statistic_or_market_is_shown(
    pane: HeatmapPane, pages: MadePages, desk: FakeDesk
) -> None:
    pages.waits = True
    pane.zoom_time(0.2)
    pane.ask()
    pane._choose_statistic(Statistic.INTEGRAL)
    pages.answer()
    assert pane.scene.cells is None
    pane.ask()
    pages.answer()
    assert pane.scene.cells is not None
    assert pane.scene.cells.statistic is Statistic.INTEGRAL
    # The same market anew, as when a demo ends, is read anew.
    count = len(pages.wishes)
    pane.begin_anew()
    pane.set_frame(read_frame(desk.symbol, desk.source.look()))
    pane.ask()
    assert len(pages.wishes) == count + 1


def test_the_bar_below_moves_and_zooms_the_view(pane: HeatmapPane) -> None:
    bar = pane.overview
    x = bar.x_of(EVENT_MS - 3_600_000)
    assert x is not None
    QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=QPoint(round(x), bar.height() // 3))
    view = shown(pane)
    assert abs((view.from_ms + view.to_ms) // 2 - (EVENT_MS - 3_600_000)) < 10_000
    wheel(bar, QPoint(round(x), 5), -1, Qt.KeyboardModifier.NoModifier)
    assert shown(pane).length_ms > view.length_ms
    assert bar.geometry().top() == pane.places.times.bottom() + 1


def test_larger_text_gets_its_room(pane: HeatmapPane, qtbot: QtBot) -> None:
    before = pane.places
    font = pane.font()
    font.setPointSizeF(font.pointSizeF() * 2)
    pane.setFont(font)
    qtbot.waitUntil(lambda: pane.legend.height() == pane.legend.sizeHint().height())
    qtbot.waitUntil(lambda: pane.overview.height() == pane.overview.sizeHint().height())
    places = pane.places
    assert places.plot.top() == pane.legend.geometry().bottom() + 1
    assert places.times.bottom() + 1 == pane.overview.geometry().top()
    assert places.times.height() > before.times.height()
    assert places.prices.width() > before.prices.width()


def newest_of(pane: HeatmapPane) -> Heatmap:
    assert pane.scene.has_tail
    return pane.scene.sources[-1].heatmap


class TestLiveEdge:
    """The newest minutes come from the live book, whether or not they are recorded."""

    @pytest.fixture
    def tail(self, desk: FakeDesk, pane: HeatmapPane) -> DepthTail:
        made = DepthTail(desk.symbol.market)
        made.opened(image_of(desk.source.book, desk.symbol.market))
        self.step(desk, made, pane, 60_000)
        return made

    @staticmethod
    def step(desk: FakeDesk, tail: DepthTail, pane: HeatmapPane, at_ms: int) -> None:
        """Apply an event of a large order at the best ask, `at_ms` after the book began."""
        book = desk.source.book
        price = format_units(int(book.asks().prices[0]))
        fields = {"e": "depthUpdate", "E": EVENT_MS + at_ms, "s": "BTCUSDT"}
        ids = {"U": book.last_update_id + 1, "u": book.last_update_id + 1}
        payload = {**fields, **ids, "b": [], "a": [[price, f"{at_ms}.5"]]}
        diff = decode_diff(json.dumps(payload).encode())
        book.apply(diff)
        tail.applied(diff)
        frame = read_frame(desk.symbol, desk.source.look())
        pane.set_frame(replace(frame, depth=tail))

    def test_its_newest_column_grows_at_the_right_edge(
        self, desk: FakeDesk, pane: HeatmapPane, tail: DepthTail, pages: MadePages
    ) -> None:
        shown_columns = newest_of(pane)
        assert int(shown_columns.values.max()) >= 60_000 * 10**shown_columns.scale.quantity
        self.step(desk, tail, pane, 60_050)
        grown = newest_of(pane)
        assert grown.to_ms == shown_columns.to_ms
        assert grown.values.max() > shown_columns.values.max()
        assert shown(pane).to_ms == EVENT_MS + 60_050
        moved = pane.grab().toImage()
        pane.scene.set_theme(DARK)
        assert pane.grab().toImage() == moved
        assert pages.wishes[-1].bins.bin_ms == grown.bin_ms

    def test_without_recordings_it_is_the_heatmap(
        self, desk: FakeDesk, pane: HeatmapPane, tail: DepthTail
    ) -> None:
        pane.set_heatmaps(None)
        self.step(desk, tail, pane, 61_000)
        cells = pane.scene.sources[0].heatmap
        assert int(cells.times_ms[0]) <= tail.from_ms
        plot = pane.places.plot
        image = pane.grab().toImage()
        ground = DARK.panel.rgb()
        assert image.pixel(plot.width() - 2, 100) != ground
        assert image.pixel(5, 100) == ground

    def test_its_gaps_are_told_before_they_are_recorded(
        self, desk: FakeDesk, pane: HeatmapPane, tail: DepthTail
    ) -> None:
        tail.broken(GapCause.DISCONNECT, "")
        tail.opened(replace(image_of(desk.source.book, "BTCUSDT"), event_ms=EVENT_MS + 90_000))
        self.step(desk, tail, pane, 100_000)
        gap = pane.gap_at(EVENT_MS + 70_000)
        assert gap is not None
        assert (gap.from_ms, gap.to_ms) == (EVENT_MS + 60_000, EVENT_MS + 90_000)
        assert "2 gaps" in pane.summary()

    def test_a_replay_has_none(self, desk: FakeDesk, pane: HeatmapPane, tail: DepthTail) -> None:
        at = EVENT_MS - 600_000
        status = ReplayStatus(
            symbol="BTC/USDT", market="BTCUSDT", at_ns=at * 1_000_000, event_ms=at, update_id=7
        )
        pane.set_replay(status)
        self.step(desk, tail, pane, 61_000)
        assert not pane.scene.has_tail
        assert shown(pane).to_ms == at
