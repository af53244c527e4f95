"""Window and page show a market with the same digits, steps and range."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.number_format import step_text
from orderbook_desktop.core.units import MAX_EXPONENT
from orderbook_desktop.gui.panes.book_frame import BookFrame, read_frame
from orderbook_desktop.gui.panes.depth_chart.widget import DepthChart
from orderbook_desktop.gui.panes.ladder.layout import Column
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK
from orderbook_desktop.gui.window import top_bar
from orderbook_desktop.web.book_view import BookView, steps_for, view_of
from orderbook_desktop.web.channel import Channel, Moment
from orderbook_desktop.web.queries import chosen_step
from tests.web.hand_library import NOW_NS
from tests.web.made_markets import MARKETS, MadeMarket


def _both(market: MadeMarket) -> tuple[BookFrame, Moment]:
    book = market.book
    moment = Channel(market.info, book, lambda: NOW_NS).moment
    return read_frame(market.info, book.look()), moment


def _view(market: MadeMarket, moment: Moment, step: int, *, in_quote: bool = False) -> BookView:
    return view_of(market.info, moment, moment.badge, step, in_quote=in_quote)


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    return Preferences(QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat))


@pytest.fixture(params=list(MARKETS.values()), ids=list(MARKETS))
def market(request: pytest.FixtureRequest) -> MadeMarket:
    made: MadeMarket = request.param
    return made


def test_window_and_page_offer_the_same_steps(market: MadeMarket) -> None:
    frame, moment = _both(market)
    exponent = frame.format.scale.price
    offered = [step_text(one, exponent) for one in top_bar.steps_for(frame)]
    assert offered
    assert [step_text(one, MAX_EXPONENT) for one in steps_for(market.info, moment.image)] == offered


def test_window_and_page_begin_with_the_same_step(
    market: MadeMarket, qtbot: QtBot, preferences: Preferences
) -> None:
    frame, moment = _both(market)
    box = top_bar.GroupingBox(preferences)
    qtbot.addWidget(box)
    box.set_frame(frame)
    step = chosen_step(market.info, moment.image, None)
    assert step_text(step, MAX_EXPONENT) == box.currentText()


@pytest.mark.parametrize("in_quote", [False, True])
def test_window_and_page_write_the_same_digits(
    market: MadeMarket, qtbot: QtBot, preferences: Preferences, in_quote: bool
) -> None:
    preferences.shows_quote = in_quote
    frame, moment = _both(market)
    ladder = DepthLadder(DARK, preferences)
    qtbot.addWidget(ladder)
    ladder.resize(2_000, 1_500)
    for window_step, page_step in zip(
        top_bar.steps_for(frame), steps_for(market.info, moment.image), strict=True
    ):
        ladder.set_step(window_step)
        ladder.set_frame(frame)
        scene = ladder.scene
        assert scene is not None
        view = _view(market, moment, page_step, in_quote=in_quote)
        page = {row.price: row for row in (*view.asks, *view.bids) if row.price}
        rows = {row.price: row for row in scene.rows}
        assert page.keys() <= rows.keys()
        for price, shown in page.items():
            row = rows[price]
            assert (row.size, row.total) == (shown.size, shown.total)
            assert row.skips == (" skip" in shown.classes)
            assert row.is_large == (" large" in shown.classes)
            assert int(50 * row.size_share) == pytest.approx(shown.bar, abs=1)
            described = ladder.model.describe(row.row)
            assert f"{price} " in described
            assert f"Size {shown.exact_size} " in described
            assert f"spread {shown.exact_total} " in described
        assert ladder.headings[Column.SIZE] == view.size_heading
        assert ladder.headings[Column.TOTAL] == view.total_heading
        if view.mid:
            assert scene.spread_lines[0] == f"mid {view.mid}"
            assert scene.spread_lines[1].startswith(f"spread {view.spread} ")
            assert view.spread_percent in scene.spread_lines[1]


def test_window_and_page_show_the_same_range(
    market: MadeMarket, qtbot: QtBot, preferences: Preferences
) -> None:
    frame, moment = _both(market)
    chart = DepthChart(DARK, preferences)
    qtbot.addWidget(chart)
    chart.set_frame(frame)
    view, text = chart.view, frame.format
    page = _view(market, moment, steps_for(market.info, moment.image)[0]).chart
    labels = [
        text.price(max(0, round(price / text.tick)) * text.tick) for price in (view.low, view.high)
    ]
    assert [page.low, page.high] == labels
    for levels, path in ((frame.bids, page.bids), (frame.asks, page.asks)):
        best = float(levels.prices[0]) if len(levels.prices) else None
        assert bool(path) is (best is not None)
        # Both sides are in view, also if they are far apart.
        assert best is None or view.low <= best <= view.high
