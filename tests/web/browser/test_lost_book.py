"""A page never shows a book that may be wrong as current, and counts the recording's gaps."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page

from orderbook_desktop.core.recorded_gaps import NOT_READ, RecordedGaps
from orderbook_desktop.system.steady_clock import steady_ns
from orderbook_desktop.web.options import WebOptions
from tests.web.browser.looking import GONE_TAB, opened, until
from tests.web.hand_library import THREE_GAPS, HandLibrary, loaded_library
from tests.web.threaded import serving

pytestmark = GONE_TAB

_LOOK = """() => {
  const parts = [...document.querySelectorAll(".ladder, .chart")];
  return parts.map((part) => [
    part.classList.contains("old"),
    getComputedStyle(part.firstElementChild).opacity,
    getComputedStyle(part, "::after").content,
  ]);
}"""


def _first_bid(page: Page) -> str | None:
    return page.locator("#bids td").first.text_content()


def _is_dimmed(page: Page, text: str) -> bool:
    parts = page.evaluate(_LOOK)
    return len(parts) == 2 and all(
        is_old and float(opacity) < 0.5 and re.fullmatch(text, content.strip('"'))
        for is_old, opacity, content in parts
    )


def _is_bright(page: Page) -> bool:
    return all(not is_old and opacity == "1" for is_old, opacity, _ in page.evaluate(_LOOK))


def _until_bright(page: Page, library: HandLibrary) -> None:
    """Wait until the page is bright, and keep the book young: a page may take long to open."""

    def is_bright() -> bool:
        library.btc.status = replace(library.btc.status, last_received_ns=steady_ns())
        return _is_bright(page)

    until(is_bright)


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_the_last_book_stays_dimmed_with_its_age_across_it(chromium: Browser, live: str) -> None:
    library = loaded_library()
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, f"{server.address}?live={live}") as page,
    ):
        _until_bright(page, library)
        bid = _first_bid(page)
        assert bid
        library.btc.lose("The connection was lost.")
        age = r"reconnecting · [\d.,]+ (s|min|h|days)"
        until(lambda: _is_dimmed(page, age))
        assert _first_bid(page) == bid
        # A page that is opened meanwhile shows the same.
        page.reload()
        until(lambda: _is_dimmed(page, age))
        assert _first_bid(page) == bid
        library.btc.load([("7.00", "1")], [("8.00", "1")])
        until(lambda: _is_bright(page) and _first_bid(page) == "7.00")


def test_a_silent_book_is_dimmed(chromium: Browser) -> None:
    library = loaded_library()
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, server.address) as page,
    ):
        _until_bright(page, library)
        library.btc.status = replace(
            library.btc.status, as_of_ns=library.btc.status.last_received_ns, is_active=True
        )
        until(lambda: _is_dimmed(page, r"stale · [\d.]+ s"))


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_the_page_counts_the_gaps_of_the_recording(chromium: Browser, live: str) -> None:
    library = loaded_library()
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, f"{server.address}?live={live}") as page,
    ):
        until(lambda: page.locator("#gaps").inner_text() == NOT_READ)
        library.gaps["BTCUSDT"] = THREE_GAPS
        until(lambda: page.locator("#gaps").inner_text() == "3 · 1 this session")
        library.gaps["BTCUSDT"] = RecordedGaps()
        until(lambda: page.locator("#gaps").inner_text() == "0")
        library.gaps["BTCUSDT"] = THREE_GAPS
        page.reload()
        until(lambda: page.locator("#gaps").inner_text() == "3 · 1 this session")
