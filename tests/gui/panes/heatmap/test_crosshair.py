"""The crosshair of the heatmap: its card, and what it tells the other panes."""

from __future__ import annotations

from msgspec.structs import replace
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.heatmap.facts import CellFacts, Knowledge, Rest
from orderbook_desktop.core.heatmap.pages import FactsPart
from orderbook_desktop.core.time_text import moment_text
from orderbook_desktop.core.units import Scale
from orderbook_desktop.gui.panes.heatmap.painter import time_at
from orderbook_desktop.gui.panes.heatmap.widget import HeatmapPane
from tests.core.heatmap.made_cells import MadePages
from tests.gui.fake_desk import EVENT_MS
from tests.gui.panes.heatmap.test_widget import BEGIN, GAP, pages, pane, shown

__all__ = ["pages", "pane"]

ALT_SHIFT = Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.ShiftModifier
FACTS = CellFacts(
    Scale(8, 5), 0, 1_000, 0, 1, Knowledge.WHOLE, 1_000, 17, 29, 150_000, 250_000, 150_000_500,
    Rest(EVENT_MS - 5_000, is_bound=True),
)  # fmt: skip


def test_it_points_in_all_panes_and_asks_for_one_cell(
    pane: HeatmapPane, pages: MadePages, qtbot: QtBot
) -> None:
    pages.facts_part = FactsPart(FACTS)
    pages.coverage = replace(pages.coverage, is_growing=True)
    prices: list[object] = []
    times: list[object] = []
    pane.price_pointed.connect(prices.append)
    pane.time_pointed.connect(times.append)
    plot = pane.places.plot
    at = QPoint(plot.left() + plot.width() // 3, plot.center().y())
    QTest.mouseMove(pane, at)
    qtbot.waitUntil(lambda: bool(pages.fact_wishes))
    wish, whole = pages.fact_wishes[-1], pages.wishes[-1]
    assert times[-1] == time_at(shown(pane), plot, at.x())
    assert wish.bins.from_ms <= time_at(shown(pane), plot, at.x()) < wish.bins.to_ms
    assert (len(wish.bins), wish.bins.bin_ms) == (1, whole.bins.bin_ms)
    assert wish.steps.rows is not None
    assert isinstance(prices[-1], int)
    assert wish.steps.rows == (prices[-1] // wish.steps.step, 1)
    text = "\n".join(pane.crosshair.lines)
    for said in ("its end: 1.5", "Largest: 2.5", "Mean: about 1.5", "Update ids 17 to 29"):
        assert said in text
    assert f"Stands since at least {moment_text(EVENT_MS - 5_000)}" in text
    before = pane.grab().toImage()
    QTest.mouseMove(pane, pane.places.times.center())
    assert pane.crosshair.lines == []
    assert [prices[-1], times[-1]] == [None, None]
    assert pane.grab().toImage() != before


def test_keys_move_it_and_have_it_read_out(
    pane: HeatmapPane, pages: MadePages, qtbot: QtBot
) -> None:
    pages.facts_part = FactsPart(replace(FACTS, rest=None))
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Up):
        QTest.keyClick(pane, key, ALT_SHIFT)
    qtbot.waitUntil(lambda: bool(pages.fact_wishes))
    first = pages.fact_wishes[-1]
    assert "Largest: 2.5" in pane.accessibleDescription()
    assert "Stands" not in pane.accessibleDescription()
    QTest.keyClick(pane, Qt.Key.Key_Down, ALT_SHIFT)
    qtbot.waitUntil(lambda: len(pages.fact_wishes) > 1)
    below = pages.fact_wishes[-1]
    assert first.steps.rows is not None
    assert below.steps.rows == (first.steps.rows[0] - 1, 1)


def test_what_is_not_known_is_said_in_words(
    pane: HeatmapPane, pages: MadePages, qtbot: QtBot
) -> None:
    said = {
        Knowledge.GAP: "The book is not known then",
        Knowledge.UNKNOWN: "Size unknown",
        Knowledge.LOWER_BOUND: "its end: at least 1.5",
    }
    for knowledge, sentence in said.items():
        pages.facts_part = FactsPart(replace(FACTS, knowledge=knowledge, covered_ms=900))
        pages.fact_wishes.clear()
        QTest.keyClick(pane, Qt.Key.Key_Left, ALT_SHIFT)
        qtbot.waitUntil(lambda: bool(pages.fact_wishes))
        assert sentence in "\n".join(pane.crosshair.lines)


def test_a_price_of_another_pane_marks_its_row(pane: HeatmapPane) -> None:
    before = pane.grab().toImage()
    view = shown(pane)
    pane.mark_price((view.low + view.high) // 2)
    marked = pane.grab().toImage()
    assert marked != before
    pane.mark_price(None)
    assert pane.grab().toImage() == before
    pane.mark_time((view.from_ms + view.to_ms) // 2)
    assert pane.grab().toImage() not in (before, marked)


def test_nothing_is_said_of_times_before_the_recording(pane: HeatmapPane) -> None:
    pane.navigator.show_all()
    pane.zoom_time(3.0)
    view = shown(pane)
    assert view.from_ms < BEGIN < GAP[0]
    QTest.mouseMove(pane, pane.places.plot.topLeft() + QPoint(3, 40))
    assert pane.crosshair.lines == []
