"""The heatmap's legend names what is drawn; its handles change colours only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit, QMenu, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.heatmap.choices import ColourMap, Statistic
from orderbook_desktop.core.heatmap.cut_offs import ColourChoice, CutOffScale, Shades
from orderbook_desktop.gui.panes.heatmap.cut_off_bar import size_text
from orderbook_desktop.gui.panes.heatmap.legend import CutOffLegend
from orderbook_desktop.gui.theme import DARK, LIGHT


class Clock:
    def __init__(self) -> None:
        self.now_ns = 10**9

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def legend(host: QWidget, clock: Clock) -> Iterator[CutOffLegend]:
    made = CutOffLegend(DARK, host, clock)
    made.resize(700, made.sizeHint().height())
    made.begin(ColourChoice(), "BTC")
    made.show()
    yield made
    made.hide()


def scale(first: int, base: float = 1.0) -> CutOffScale:
    """A hundred sizes from the byte `first` on."""
    counts = np.zeros(256, np.int64)
    counts[first : first + 100] = 7
    return CutOffScale(counts, base)


def shades_of(legend: CutOffLegend) -> list[Shades]:
    found: list[Shades] = []
    legend.shades_changed.connect(found.append)
    return found


def choices_of(legend: CutOffLegend) -> list[ColourChoice]:
    found: list[ColourChoice] = []
    legend.chosen.connect(found.append)
    return found


def entry(button: QPushButton, text: str) -> QAction:
    menu = button.menu()
    assert isinstance(menu, QMenu)
    (found,) = (one for one in menu.actions() if text in one.text().replace("&", ""))
    return found


def test_the_first_sizes_in_sight_have_their_colours_at_once(legend: CutOffLegend) -> None:
    shades = shades_of(legend)
    legend.set_scale(CutOffScale(np.zeros(256, np.int64)))
    assert shades == []
    legend.set_scale(scale(50))
    assert shades == [Shades(ColourMap.FIRE, 74, 148)]
    assert legend.bar.places == (74, 148)
    assert "BTC" in legend.bar.low.accessibleDescription()


def test_later_ones_are_reached_within_a_second(
    legend: CutOffLegend, clock: Clock, qtbot: QtBot
) -> None:
    legend.set_scale(scale(50))
    legend.set_scale(scale(90))
    assert legend.bar.places == (74, 148)
    clock.now_ns += 500_000_000
    qtbot.waitUntil(lambda: legend.bar.places != (74, 148))
    assert 74 < legend.bar.low.place < 114
    clock.now_ns += 501_000_000
    qtbot.waitUntil(lambda: legend.bar.places == (114, 188))


def test_locked_colours_keep_their_sizes(legend: CutOffLegend) -> None:
    legend.set_scale(scale(50))
    entry(legend.colours, "Lock").trigger()
    assert legend.choice.is_locked
    assert "locked" in legend.colours.text()
    before = legend.bar.scale.size_at(74)
    legend.set_scale(scale(90, base=4.0))
    assert legend.bar.shades.low == pytest.approx(74 - 16)
    assert legend.bar.scale.size_at(legend.bar.shades.low) == pytest.approx(before)


def test_a_handle_that_is_dragged_changes_the_colours_at_once(
    legend: CutOffLegend, clock: Clock
) -> None:
    legend.set_scale(scale(50))
    shades, choices = shades_of(legend), choices_of(legend)
    handle = legend.bar.low
    QTest.mousePress(handle, Qt.MouseButton.LeftButton, pos=handle.rect().center())
    QTest.mouseMove(handle, handle.rect().center() + QPoint(60, 0))
    QTest.mouseRelease(handle, Qt.MouseButton.LeftButton)
    assert shades[-1].low > 74
    assert shades[-1].high == 148
    assert float(choices[-1].low) > 25
    legend.set_scale(scale(50))
    assert legend.bar.low.place == pytest.approx(shades[-1].low, abs=1)


@pytest.mark.parametrize(
    ("key", "by"),
    [(Qt.Key.Key_Right, 0.5), (Qt.Key.Key_Left, -0.5), (Qt.Key.Key_PageUp, 8)],
)
def test_a_handle_is_moved_by_keys(legend: CutOffLegend, key: Qt.Key, by: float) -> None:
    legend.set_scale(scale(50))
    entry(legend.colours, "exact").trigger()
    QTest.keyClick(legend.bar.high, key)
    assert legend.bar.high.place == 148 + by
    assert legend.bar.scale.place_of(float(legend.choice.high)) == pytest.approx(148 + by, abs=0.1)


def test_handles_do_not_pass_one_another(legend: CutOffLegend) -> None:
    legend.set_scale(scale(50))
    QTest.keyClick(legend.bar.low, Qt.Key.Key_End)
    assert legend.bar.low.place < legend.bar.high.place == 148
    QTest.keyClick(legend.bar.high, Qt.Key.Key_Home)
    assert legend.bar.low.place < legend.bar.high.place


def test_a_cut_off_is_typed(legend: CutOffLegend, host: QWidget, qtbot: QtBot) -> None:
    legend.set_scale(scale(50))
    for text, expected in (("60%", "60"), ("x", "60")):
        QTest.keyClick(legend.bar.low, Qt.Key.Key_Return)
        (field,) = host.findChildren(QLineEdit)
        field.setText(text)
        QTest.keyClick(field, Qt.Key.Key_Return)
        assert legend.choice.low == expected
        qtbot.waitUntil(lambda: not host.findChildren(QLineEdit))
    entry(legend.colours, "upper").trigger()
    (field,) = host.findChildren(QLineEdit)
    field.setText("70")
    QTest.keyClick(field, Qt.Key.Key_Escape)
    assert legend.choice.high == "99"


def test_the_usual_cut_offs_come_back(legend: CutOffLegend) -> None:
    legend.begin(ColourChoice(in_percent=False, low="0.5", high="9", is_locked=True), "BTC")
    legend.set_scale(scale(20))
    entry(legend.colours, "Usual").trigger()
    assert legend.choice == ColourChoice()
    assert legend.bar.places == (44, 118)


def test_statistic_and_map_are_chosen_and_named(legend: CutOffLegend) -> None:
    assert legend.what.text() == "Largest size, BTC"
    legend.set_scale(scale(50))
    statistics: list[Statistic] = []
    legend.statistic_chosen.connect(statistics.append)
    entry(legend.what, "Mean").trigger()
    entry(legend.what, "Mean").trigger()
    assert statistics == [Statistic.INTEGRAL]
    assert legend.what.text() == "Mean size, BTC"
    shades = shades_of(legend)
    entry(legend.colours, "hue").trigger()
    assert shades[-1].colours is ColourMap.TWO_HUES
    assert shades[-1].tables[1] is not None
    assert legend.choice == ColourChoice(colours=ColourMap.TWO_HUES, statistic=Statistic.INTEGRAL)


def test_exact_sizes_of_one_statistic_are_none_of_another(legend: CutOffLegend) -> None:
    legend.set_scale(scale(50))
    entry(legend.colours, "exact").trigger()
    entry(legend.what, "at the end").trigger()
    assert legend.choice == ColourChoice(statistic=Statistic.LAST)


def test_it_is_drawn_in_both_themes_and_narrow(legend: CutOffLegend) -> None:
    legend.set_scale(scale(50))
    pictures = []
    for theme in (DARK, LIGHT):
        legend.set_theme(theme)
        for width in (700, 320):
            legend.resize(width, legend.sizeHint().height())
            pictures.append(legend.grab().toImage())
            low, high = legend.bar.low.geometry(), legend.bar.high.geometry()
            assert legend.bar.rect().contains(low)
            assert low.center().x() < high.center().x()
    assert pictures[0] != pictures[2]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0.00012345, "0.000123"), (1.5, "1.5"), (999.9, "1,000"), (9_999.0, "10,000")),
        *((123_456, "123k"), (2_500_000, "2.5M"), (7e9, "7B")),
    ],
)
def test_sizes_are_short(size: float, text: str) -> None:
    assert size_text(size) == text
