"""Thousands of millions of coins, each a fraction of a cent, on a telephone's screen."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Browser

from orderbook_desktop.web.options import WebOptions
from tests.web.browser.looking import GONE_TAB, Shown, opened, until
from tests.web.hand_library import SCRIPT, loaded_library
from tests.web.threaded import serving

pytestmark = GONE_TAB

_TOO_LONG = """() => [...document.querySelectorAll("#asks td, #bids td")]
  .filter((cell) => cell.scrollWidth > cell.clientWidth).map((cell) => cell.textContent)"""


@pytest.mark.parametrize("width", [320, 360, 1600])
def test_no_number_runs_into_its_neighbour(chromium: Browser, width: int) -> None:
    library = loaded_library()
    library.books[SCRIPT.market].load(
        [(f"0.0000{price}", "3585379025") for price in range(1234, 1210, -1)],
        [(f"0.0000{price}", "2408863574") for price in range(1236, 1260)],
    )
    with serving(library, WebOptions(port=0)) as server:
        address = f"{server.address}?symbol={quote(SCRIPT.market)}"
        with opened(chromium, address, width=width) as page:
            until(lambda: Shown(page).update_id)
            assert page.evaluate(_TOO_LONG) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
