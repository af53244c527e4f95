"""Window and page say the same of the same book, at the same update id of the real capture."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from PySide6.QtWidgets import QApplication

from orderbook_desktop.core.depth_sync import DepthSync
from orderbook_desktop.core.events import DepthDiff, decode_spot_snapshot
from orderbook_desktop.core.frames import decode_frame
from orderbook_desktop.core.known_depth import AT_LEAST
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.units import MAX_EXPONENT
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.web.book_view import BookView, view_of
from orderbook_desktop.web.channel import Channel
from tests.core.test_real_capture import CAPTURE, capture_lines
from tests.gui.fake_desk import NOW_NS, FakeDesk, FakeSource
from tests.gui.pane_of import chart_of, ladder_of

pytestmark = pytest.mark.skipif(not CAPTURE.is_file(), reason="the real capture is not here")

_LEVELS = 1_000
_EVENTS_BETWEEN = 600


class LentSource(FakeSource):
    """The source of the window, lent to the page."""

    def close(self) -> None:
        """Nothing has to be given back."""


def moments(source: FakeSource) -> Iterator[int]:
    """Play the capture into `source`; yield the number of events at some moments."""
    sync, events = DepthSync(), 0
    source.book = sync.book
    for line in capture_lines():
        if line.startswith(b'{"lastUpdateId"'):
            sync.receive_snapshot(decode_spot_snapshot(line, "BTCUSDT", _LEVELS))
        elif isinstance(message := decode_frame(line), DepthDiff):
            sync.receive_diff(message)
            events += 1
            if sync.synced and events % _EVENTS_BETWEEN == 0:
                yield events


def page_of(source: LentSource, desk: FakeDesk, step: int) -> BookView:
    now_ns = NOW_NS + 200_000_000
    channel = Channel(desk.symbol, source, lambda: now_ns)
    return view_of(desk.symbol, channel.moment, channel.badge(), step)


def is_same(left: str, right: str) -> bool:
    """Whether two texts are the same number, of which one may have fewer places."""
    values = [Decimal(text.removeprefix(AT_LEAST).replace(",", "")) for text in (left, right)]
    places = min(-int(value.as_tuple().exponent) for value in values)
    is_lower_bound = {text.startswith(AT_LEAST) for text in (left, right)}
    return len(is_lower_bound) == 1 and abs(values[0] - values[1]) < Decimal(1).scaleb(-places)


def compare(window: MainWindow, page: BookView) -> None:
    chart, ladder, frame = chart_of(window), ladder_of(window), chart_of(window).scene
    assert frame is not None
    text = frame.format
    # The horizon, the range and the mid.
    edges = [curve.depth.edge for curve in (frame.bids, frame.asks)]
    known_from, known_to = (text.price(edge) for edge in edges if edge is not None)
    assert page.chart.known == f"Bids known to {known_from}, asks known to {known_to}"
    ends = (chart.view.low, chart.view.high)
    shown = [text.price(max(0, round(end / text.tick)) * text.tick) for end in ends]
    assert [page.chart.low, page.chart.high] == shown
    assert edges[0] is not None
    assert edges[1] is not None
    assert edges[0] <= chart.view.low < chart.view.high <= edges[1]
    assert frame.mid_text == f"mid {page.mid}"
    # The state, and the numbers of all rows that both show.
    assert window.top_bar.badge.text == page.badge.text
    ladder.grab()
    assert ladder.scene is not None
    rows = {row.price: (row.size, row.total) for row in ladder.scene.rows if row.size}
    both = {row.price: (row.size, row.total) for row in page.bids + page.asks if row.price in rows}
    assert len(both) > 20
    for price, texts in both.items():
        assert all(map(is_same, texts, rows[price])), price


@pytest.mark.parametrize("coarser", [0, 8, 12])
def test_window_and_page_say_the_same(
    window: MainWindow, desk: FakeDesk, qapp: QApplication, coarser: int
) -> None:
    source = LentSource("BTCUSDT")
    source.status = FeedStatus(FeedState.SYNCED, SourceKind.MONGO, NOW_NS, "", NOW_NS)
    desk.source = source
    compared = 0
    for _ in moments(source):
        window.bridge.look()
        if not compared:
            for _ in range(coarser):
                window.top_bar.grouping_box.coarser()
        qapp.processEvents()
        window.bridge.look()
        step = window.top_bar.grouping_box.step * 10 ** (MAX_EXPONENT - source.book.scale.price)
        compare(window, page_of(source, desk, step))
        compared += 1
    assert compared > 3
    source.lose(FeedState.RECONNECTING, "The connection was lost.")
    desk.revision += 1
    window.bridge.look()
    page = page_of(source, desk, step)
    assert window.veil.text == page.badge.text == "reconnecting · 0.2 s"
    assert not page.badge.is_current
    compare(window, page)
