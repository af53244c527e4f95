"""A selection of cells says what was added, traded and pulled in it, as far as that is known."""

from __future__ import annotations

from datetime import UTC

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from orderbook_desktop.core.heatmap.flows import Flow, Flows, PriceFlow
from orderbook_desktop.core.heatmap.pages import FlowPart
from orderbook_desktop.core.number_format import MarketFormat
from orderbook_desktop.core.units import Scale
from orderbook_desktop.gui.panes.heatmap.flow_card import FlowCard, FlowTexts
from orderbook_desktop.gui.panes.heatmap.widget import HeatmapPane
from tests.core.heatmap.made_cells import MadePages
from tests.gui.fake_desk import EVENT_MS
from tests.gui.panes.heatmap.test_widget import pages, pane, shown

__all__ = ["pages", "pane"]

MINUTE = 60_000
COIN = 10**8
FORMAT = MarketFormat(Scale(), 10**6, 2, 4)


def flows(covered_ms: int = MINUTE) -> Flows:
    prices = (
        PriceFlow(61_000 * COIN, Flow(3 * COIN, 4 * COIN, COIN, COIN, COIN, 2 * COIN), COIN),
        PriceFlow(61_001 * COIN, Flow(0, 0, COIN, 2 * COIN, COIN, COIN), -2 * COIN, False),
    )
    return Flows(Scale(), COIN, EVENT_MS, EVENT_MS + MINUTE, covered_ms, prices)


def test_bounds_are_told_as_bounds_and_sums_come_first() -> None:
    texts = FlowTexts.of(flows(), FORMAT, UTC)
    assert texts.covered == ""
    assert texts.rows == (
        ("All prices", "3.0000", "2.0000 to 3.0000", "2.0000", "-1.0000"),
        ("61,001.00 (in part)", "0.0000", "1.0000 to 2.0000", "1.0000", "-2.0000"),
        ("61,000.00", "3.0000", "1.0000", "1.0000", "+1.0000"),
    )
    lines = texts.text.splitlines()
    assert lines[1] == "Price\tAdded, at least\tTraded\tPulled, at least\tChange"
    assert lines[3].startswith("61,001.00 (in part)\t0.0000\t1.0000 to 2.0000")
    assert "there may have been more" in lines[-1]


@pytest.mark.parametrize(
    ("covered_ms", "text"), [(45_000, "Computed for 75 %"), (0, "Nothing is computed")]
)
def test_what_is_not_known_is_told(covered_ms: int, text: str) -> None:
    assert FlowTexts.of(flows(covered_ms), FORMAT, UTC).covered.startswith(text)


def box_centre(pane: HeatmapPane) -> float:
    box, view = pane.selection.box, shown(pane)
    assert box is not None
    middle = (box.from_ms + box.to_ms) / 2
    return (middle - view.from_ms) / view.length_ms * pane.places.plot.width()


def card_of(pane: HeatmapPane) -> FlowCard:
    card = pane.selection.card
    assert card.isVisible()
    return card


def test_cells_are_selected_by_dragging_with_shift(pane: HeatmapPane, pages: MadePages) -> None:
    pages.flow_part = FlowPart(flows())
    before, plot = shown(pane), pane.places.plot
    at, end = QPoint(plot.width() // 4, 50), QPoint(plot.width() // 2, 150)
    shift = Qt.KeyboardModifier.ShiftModifier
    QTest.mousePress(pane, Qt.MouseButton.LeftButton, shift, at)
    QTest.mouseMove(pane, end)
    QTest.mouseRelease(pane, Qt.MouseButton.LeftButton, shift, end)
    assert shown(pane) == before
    (wish,) = pages.flow_wishes
    assert wish.bins.from_ms == pytest.approx(before.from_ms + before.length_ms / 4, abs=2_000)
    assert wish.bins.to_ms == pytest.approx(before.from_ms + before.length_ms / 2, abs=2_000)
    assert len(wish.bins) == 1
    assert wish.steps.rows is not None
    first, count = wish.steps.rows
    assert count <= 202
    # Rows reach beyond the frame by less than a step.
    box = pane.selection.box
    assert box is not None
    assert 0 <= box.low - first * wish.steps.step < wish.steps.step
    assert 0 < (first + count) * wish.steps.step - box.high <= wish.steps.step
    card = card_of(pane)
    assert card.table.model().rowCount() == 3
    # It lies on the other side.
    assert card.x() > plot.width() // 2 - 20 > box_centre(pane)
    card.hide()
    assert pane.grab().toImage().pixelColor(at.x(), 100) == pane._theme.focus


def test_cells_are_selected_by_keys_and_copied(pane: HeatmapPane, pages: MadePages) -> None:
    pages.flow_part = FlowPart(flows())
    QTest.keyClick(pane, Qt.Key.Key_F)
    view = shown(pane)
    whole = pages.flow_wishes[-1].bins
    assert (whole.from_ms, whole.to_ms) == (view.from_ms, min(view.to_ms, EVENT_MS))
    QTest.keyClick(pane, Qt.Key.Key_S)
    half = pages.flow_wishes[-1].bins
    assert half.to_ms - half.from_ms == pytest.approx(view.length_ms / 2, abs=2)
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Up):
        QTest.keyClick(pane, key, keys)
    less = pages.flow_wishes[-1]
    assert less.bins.to_ms - less.bins.from_ms < half.to_ms - half.from_ms
    QTest.keyClick(pane, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == card_of(pane).texts.text
    QTest.keyClick(pane, Qt.Key.Key_Escape)
    assert pane.selection.box is None
    assert not pane.selection.card.isVisible()


def test_why_nothing_is_listed_is_told(pane: HeatmapPane, pages: MadePages) -> None:
    pages.flow_part = FlowPart(problem="The database is away.")
    QTest.keyClick(pane, Qt.Key.Key_F)
    assert card_of(pane).texts.covered == "The database is away."
    pane.set_heatmaps(None)
    QTest.keyClick(pane, Qt.Key.Key_F)
    assert "can be read" in card_of(pane).texts.covered


def test_nothing_of_the_future_is_listed(pane: HeatmapPane, pages: MadePages) -> None:
    pages.flow_part = FlowPart(flows())
    pane.selection.set_limit(EVENT_MS - MINUTE, EVENT_MS)
    pane.selection.choose(shown(pane), 1.0)
    assert pages.flow_wishes[-1].bins.to_ms == EVENT_MS - MINUTE
