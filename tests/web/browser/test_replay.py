"""A page of a replay says so in each part, shows nothing over a gap, and returns to live."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from orderbook_desktop.core.checkpoint import image_of
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.web.options import WebOptions
from tests.web.browser.looking import GONE_TAB, accessibility_faults, opened, until
from tests.web.hand_library import loaded_library, made_trade
from tests.web.threaded import serving

pytestmark = GONE_TAB

_AT_MS = 1_723_099_999_250
_PARTS = """() => [...document.querySelectorAll(".ladder, .chart, .tape")].map((part) => [
  part.classList.contains("replay"), getComputedStyle(part, "::before").content,
])"""
_REPLAYED = [[True, '"REPLAY"']] * 3


def _tape(*ids: int) -> Tape:
    tape = Tape("BTCUSDT")
    for trade_id in ids:
        tape.add(made_trade("BTCUSDT", trade_id, f"{trade_id}", "1"))
    return tape


def _first_bid(page: Page) -> str | None:
    return page.locator("#bids td").first.text_content()


def _prices(page: Page) -> list[str]:
    rows = page.locator("#tape li:not(.none) span:nth-of-type(2)")
    return [text for text in rows.all_text_contents() if text]


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_the_page_follows_a_replay_over_a_gap_and_back_to_live(
    chromium: Browser, live: str
) -> None:
    library = loaded_library()
    book = library.btc
    book.tape = _tape(1, 2, 3)
    image = image_of(book.book, "BTCUSDT")
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, f"{server.address}?live={live}") as page,
    ):
        until(lambda: _first_bid(page) == "100.01" and len(_prices(page)) == 3)
        assert page.locator("#replay").is_hidden()
        book.change([("100.02", "1")])
        until(lambda: _first_bid(page) == "100.02")
        book.tape = _tape(1)
        book.play(image, _AT_MS)
        until(lambda: page.evaluate(_PARTS) == _REPLAYED)
        until(lambda: _first_bid(page) == "100.01" and _prices(page) == ["1.00"])
        strip = page.locator("#replay")
        assert strip.inner_text() == "REPLAY · 8 Aug 2024 06:53:19.250 UTC"
        assert page.locator("#state").inner_text() == "REPLAY"
        assert page.title().startswith("REPLAY · BTC/USDT")
        assert accessibility_faults(page) == []
        book.play(None, _AT_MS + 1, "Nothing is known for a while.")
        until(lambda: _first_bid(page) == "")
        until(lambda: page.locator("#detail").inner_text() == "Nothing is known for a while.")
        assert page.locator("#bid-area").get_attribute("d") == ""
        book.tape = _tape(1, 2, 3, 4)
        book.load([("7.00", "1")], [("8.00", "1")])
        until(lambda: _first_bid(page) == "7.00" and len(_prices(page)) == 4)
        until(strip.is_hidden)
        assert page.evaluate(_PARTS) == [[False, "none"]] * 3
        assert page.title().startswith("BTC/USDT")


_TIMES = """["#replay-time", "#tape time"].map((one) => document.querySelector(one)?.textContent)"""


def test_the_replay_and_its_trades_have_one_zone_which_is_named(chromium: Browser) -> None:
    library = loaded_library()
    library.btc.tape = _tape(1)
    library.btc.play(image_of(library.btc.book, "BTCUSDT"), 1_700_000_000_001)
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, server.address, timezone_id="America/St_Johns") as page,
    ):
        until(lambda: page.evaluate(_TIMES)[1] == "18:43:20.001")
        assert page.evaluate(_TIMES)[0] == "14 Nov 2023 18:43:20.001 GMT-3:30"
