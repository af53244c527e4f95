"""The window, and the page in Chromium beside it, say the same of the real capture.

`tests/gui/window/test_beside_page.py` compares more moments with the page as the server makes it;
here the page has merged the changes by its script.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.window import PANES
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import encode_image, image_of
from orderbook_desktop.core.events import decode_snapshot
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.gui.panes.depth_chart.painter import DepthScene, reading_lines
from orderbook_desktop.gui.panes.ladder.layout import Column
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.main_window import MainWindow
from orderbook_desktop.system.steady_clock import steady_ns
from orderbook_desktop.web.options import WebOptions
from tests.core.test_real_capture import CAPTURE
from tests.gui.fake_desk import NOW_NS, FakeDesk
from tests.gui.pane_of import chart_of, ladder_of
from tests.gui.window.test_beside_page import LentSource, is_same, moments
from tests.web.browser.looking import GONE_TAB, opened, until, until_known
from tests.web.hand_library import THREE_GAPS, HandBook, loaded_library
from tests.web.threaded import serving

pytestmark = [
    GONE_TAB,
    pytest.mark.skipif(not CAPTURE.is_file(), reason="the real capture is not here"),
]

# Two frames later everything is drawn that was known before.
_READ = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  await frame();
  await frame();
  const text = (id) => document.getElementById(id).textContent;
  const cells = (row) => [...row.cells].map((cell) => cell.textContent);
  const parts = [...document.querySelectorAll(".ladder, .chart")];
  return {
    id: Number(document.getElementById("book").dataset.updateId),
    ends: [text("chart-low"), text("chart-high")],
    middle: text("chart-middle"),
    texts: Object.fromEntries(["known", "mid", "row-mid", "spread", "state", "gaps", "chart-most",
      "size-heading", "total-heading", "grouped"].map((id) => [id, text(id)])),
    rows: [...document.querySelectorAll("#asks tr, #bids tr")].map(cells),
    isOld: parts.map((part) => part.classList.contains("old")),
  };
}"""
_GROUPINGS = (0, 8, 4)


@pytest.fixture
def desk() -> FakeDesk:
    desk = FakeDesk()
    desk.source = LentSource("BTCUSDT")
    desk.source.status = FeedStatus(FeedState.SYNCED, SourceKind.MONGO, NOW_NS, "", NOW_NS)
    desk.recording = RecordingStatus(
        "BTC/USDT", RecordingState.RECORDING, kept=False, gaps=THREE_GAPS
    )
    return desk


@pytest.fixture
def window(desk: FakeDesk, tmp_path: Path, qapp: QApplication) -> Iterator[MainWindow]:
    store = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    clock = lambda: NOW_NS + 200_000_000  # noqa: E731 - a clock that stands still
    window = MainWindow(desk, Preferences(store), qapp, panes=PANES, now_ns=clock)
    window.resize(1_600, 900)
    window.show()
    yield window
    window.finish_close()


def lend(source: LentSource, book: HandBook) -> None:
    """Give the page the book of the window; the server reads it in another thread."""
    image = image_of(source.book, source.market)
    snapshot = decode_snapshot(encode_image(image), source.market, image.event_ms)
    copy = Book()
    copy.load(replace(snapshot, horizon=image.horizon))
    book.status = FeedStatus(FeedState.SYNCED, SourceKind.MONGO, steady_ns(), "", steady_ns())
    book.book = copy


def _scene(window: MainWindow) -> DepthScene:
    scene = chart_of(window).scene
    assert scene is not None
    return scene


def compare(window: MainWindow, page: dict[str, Any], update_id: int) -> None:
    """Check the horizon, the range, the header, the headings, the rows, the state and the gaps."""
    scene, texts = _scene(window), page["texts"]
    market = scene.format
    view = chart_of(window).view
    bids, asks = scene.bids, scene.asks
    edges = [market.price(edge) for edge in (bids.depth.edge, asks.depth.edge) if edge is not None]
    assert page["id"] == update_id
    assert texts["known"] == f"Bids known to {edges[0]}, asks known to {edges[1]}"
    ends = [market.price(round(end / market.tick) * market.tick) for end in (view.low, view.high)]
    assert page["ends"] == ends == edges
    assert scene.mid_text == f"mid {texts['mid']}" == f"mid {texts['row-mid']}"
    largest = max(bids.total, asks.total)
    assert Decimal(texts["chart-most"].replace(",", "")) == pytest.approx(
        Decimal(market.quantity(largest).replace(",", "")), abs=Decimal("0.006")
    )
    ladder = ladder_of(window)
    ladder.grab()
    assert ladder.scene is not None
    assert ladder.scene.spread_lines[1].startswith(f"spread {texts['spread']} ")
    assert ladder.headings[Column.SIZE] == texts["size-heading"]
    assert ladder.headings[Column.TOTAL] == texts["total-heading"]
    assert window.top_bar.grouping_box.currentText() == texts["grouped"]
    rows = {row.price: (row.size, row.total) for row in ladder.scene.rows if row.size}
    both = [row for row in page["rows"] if row[0] in rows]
    assert len(both) > 20
    for price, *numbers in both:
        assert all(map(is_same, numbers, rows[price])), price
    assert window.top_bar.badge.text.startswith(texts["state"])
    assert window.status_line.text("gaps") == f"Gaps {texts['gaps']}"
    assert page["isOld"] == [False, False]


def compare_crosshair(window: MainWindow, page: Page) -> None:
    """Check what both say of the last prices that are known."""
    chart = chart_of(window)
    for key, curve in (("Home", _scene(window).bids), ("End", _scene(window).asks)):
        chart.put_crosshair(curve.depth.edge)
        reading = chart.crosshair_reading
        assert reading is not None
        lines = dict(reading_lines(_scene(window), reading))
        page.locator("svg").first.press(key)
        name = f"{curve.side.value}s to here".capitalize()
        price, _, size = page.locator("#reading").inner_text().split(" · ")
        assert (price, size) == (lines["Price"], lines[name])
    page.locator("svg").first.press("Escape")


def test_window_and_page_say_the_same_at_the_same_update_id(
    window: MainWindow, desk: FakeDesk, chromium: Browser, qapp: QApplication
) -> None:
    source, library = desk.source, loaded_library()
    assert isinstance(source, LentSource)
    library.gaps["BTCUSDT"] = THREE_GAPS
    playing = moments(source)
    next(playing)
    lend(source, library.btc)
    compared = 0
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, server.address) as page,
    ):
        until_known(page)
        for _ in playing:
            lend(source, library.btc)
            update_id = source.book.last_update_id
            _until_shown(page, update_id)
            for coarser in _GROUPINGS:
                window.bridge.look()
                _group(window, page, coarser)
                qapp.processEvents()
                window.bridge.look()
                compare(window, page.evaluate(_READ), update_id)
            compare_crosshair(window, page)
            compared += 1
        assert compared > 3
        # The capture goes on a little after the last of these moments.
        window.bridge.look()
        lend(source, library.btc)
        _until_shown(page, source.book.last_update_id)
        source.lose(FeedState.RECONNECTING, "The connection was lost.")
        library.btc.lose("The connection was lost.")
        desk.revision += 1
        window.bridge.look()
        until(lambda: page.evaluate(_READ)["isOld"] == [True, True])
        assert page.locator("#state").inner_text() == "reconnecting"
        assert window.veil.text == "reconnecting · 0.2 s"
        # Both still show the last book.
        assert page.evaluate(_READ)["texts"]["mid"] == _scene(window).mid_text.removeprefix("mid ")


def _until_shown(page: Page, update_id: int) -> None:
    shown = "Number(document.getElementById('book').dataset.updateId)"
    until(lambda: page.evaluate(shown) == update_id)


def _group(window: MainWindow, page: Page, coarser: int) -> None:
    """Choose the same price step in both, some steps above the finest one."""
    box = window.top_bar.grouping_box
    while box.currentIndex() > 0:
        box.finer()
    for _ in range(coarser):
        box.coarser()
    page.select_option("select[name=group]", box.currentText())
