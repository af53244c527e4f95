"""The panes show true sums of 5,000 levels, up to the largest quantities."""

from __future__ import annotations

from decimal import Decimal

import pytest
from PySide6.QtCore import QPoint
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.number_format import column_format
from orderbook_desktop.gui.panes.depth_chart.painter import reading_lines
from orderbook_desktop.gui.panes.depth_chart.widget import DepthChart
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK
from tests.gui.fake_desk import FakeDesk, frame_of

_LARGEST = "92233720368.54775807"


@pytest.fixture
def wide(desk: FakeDesk) -> FakeDesk:
    """A book of 5,000 levels a side, each with the largest possible quantity."""
    desk.source.load(
        [(f"{1_000_000 - at}.00", _LARGEST) for at in range(5_000)],
        [(f"{1_000_001 + at}.00", _LARGEST) for at in range(5_000)],
    )
    return desk


def test_the_ladder_sums_beyond_64_bits(
    qtbot: QtBot, wide: FakeDesk, preferences: Preferences
) -> None:
    ladder = DepthLadder(DARK, preferences)
    qtbot.addWidget(ladder)
    ladder.resize(900, 800)
    ladder.show()
    for step, levels in ((10**8, 1), (10**10, 100)):
        ladder.set_step(step)
        ladder.set_frame(frame_of(wide))
        assert not ladder.grab().toImage().isNull()
        assert ladder.scene is not None
        bids = [row for row in ladder.scene.rows if row.row.side is Side.BID][:3]
        # The first group holds the levels down to the next round price.
        held = [1 + levels * at for at in range(3)] if levels > 1 else [1, 2, 3]
        size = int(Decimal(_LARGEST).scaleb(8))
        column = column_format(25 * levels * size, 8, 8)
        assert [row.total for row in bids] == [column.text(n * size) for n in held]


def test_the_chart_tells_true_size_and_cost(
    qtbot: QtBot, wide: FakeDesk, preferences: Preferences
) -> None:
    chart = DepthChart(DARK, preferences)
    qtbot.addWidget(chart)
    chart.resize(1_000, 700)
    chart.show()
    chart.set_frame(frame_of(wide))
    chart.zoom(0.5)
    assert not chart.grab().toImage().isNull()
    assert chart.scene is not None
    area = chart.scene.area
    QTest.mouseMove(chart, QPoint(round(area.x(1_000_001.5 * 1e8 + 60 * 1e8)), 300))
    chart.grab()
    scene = chart.scene
    assert scene is not None
    assert scene.reading is not None
    point = scene.reading.point
    count = point.price // 10**8 - 1_000_000
    assert count > 1
    size = int(Decimal(_LARGEST).scaleb(8))
    assert point.size == count * size
    assert point.cost == sum((1_000_001 + at) * 10**8 * size for at in range(count))
    lines = dict(reading_lines(scene, scene.reading))
    cost = Decimal(lines["Cost"].split()[0].replace(",", ""))
    assert cost == Decimal(point.cost).scaleb(-16)
