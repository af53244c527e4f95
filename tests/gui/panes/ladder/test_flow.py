"""The ladder shows what was added and pulled in the last seconds, as lower bounds."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QWidget

from orderbook_desktop.core.heatmap.tail import book_after
from orderbook_desktop.gui.panes.book_frame import BookFrame, read_frame
from orderbook_desktop.gui.panes.ladder.layout import FLOW_COLUMNS, Column, ColumnChoice
from orderbook_desktop.gui.panes.ladder.scene import LadderRow
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK
from tests.core.heatmap.test_recent_flows import busy, tail_of, tape_of
from tests.gui.fake_desk import BTC, FakeDesk, MovingMarket


def with_flow(choice: ColumnChoice) -> ColumnChoice:
    for column in FLOW_COLUMNS:
        choice = choice.with_shown(column, shown=True)
    return choice


def frame_of(desk: FakeDesk) -> BookFrame:
    """A book of which the bid at 2 ticks and the offer at 3 were added to, and pulled from."""
    market = busy()
    tail = tail_of(market, 250)
    (*_, (span, _)) = tail.spans(0, 1 << 60)
    assert market.start is not None
    book = book_after(market.start, span)
    MovingMarket(BTC, desk.source)
    frame = read_frame(desk.symbol, desk.source.look())
    return replace(frame, bids=book.bids, asks=book.asks, depth=tail, tape=tape_of(market))


def added(ladder: DepthLadder) -> list[LadderRow]:
    scene = ladder.scene
    assert scene is not None
    return [row for row in scene.rows if row.flow.added]


def test_added_and_pulled_are_lower_bounds(
    host: QWidget, preferences: Preferences, desk: FakeDesk
) -> None:
    ladder = DepthLadder(DARK, preferences, host)
    ladder.resize(700, 500)
    assert FLOW_COLUMNS.isdisjoint(ColumnChoice.of_text(preferences.ladder_columns).shown)
    frame = frame_of(desk)
    ladder.set_frame(frame)
    assert not added(ladder)
    ladder.set_columns(with_flow(ColumnChoice.of_text(preferences.ladder_columns)))
    ladder.show_flow_of(10)
    for _ in range(15):
        ladder.set_frame(frame)
    scene = ladder.scene
    assert scene is not None
    assert {Column.ADDED, Column.PULLED} <= set(scene.columns)
    shown = added(ladder)
    assert len(shown) == 2
    for row in shown:
        assert row.flow.added.startswith("≥")
        assert row.flow.pulled.startswith("≥")
        text = ladder.model.describe(row.row)
        assert "Added at least" in text
        assert "in the last 10 seconds" in text
    assert ladder.headings[Column.ADDED] in ("Added, BTC", "Added")
    assert preferences.flow_seconds == 10
    ladder.grab()
    ladder.set_frame(replace(frame, depth=None))
    assert not added(ladder)


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_the_window_is_chosen_in_the_menu(
    host: QWidget, preferences: Preferences, desk: FakeDesk
) -> None:
    ladder = DepthLadder(DARK, preferences, host)
    ladder.set_frame(frame_of(desk))
    ladder._open_menu()
    menu = next(one for one in ladder.findChildren(QMenu) if one.isVisible())
    flows = next(one for one in menu.actions() if one.text() == "Added and pulled").menu()
    assert isinstance(flows, QMenu)
    actions: dict[str, QAction] = {one.text(): one for one in flows.actions()}
    assert actions["In the last 60 seconds"].isChecked()
    actions["In the last 300 seconds"].trigger()
    assert preferences.flow_seconds == 300
    assert ladder.model.flow.seconds == 300
