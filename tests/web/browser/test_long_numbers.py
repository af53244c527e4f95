"""Billions of coins, each worth a fraction of a cent, on a telephone's screen."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
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


def test_sums_beyond_64_bits_are_exact_on_the_page(chromium: Browser) -> None:
    library, sizes = loaded_library(), ["92233720368.54775807"] * 200
    library.btc.load(
        [(f"{10_000 - at}.00", size) for at, size in enumerate(sizes)],
        [(f"{10_001 + at}.00", size) for at, size in enumerate(sizes)],
    )
    library.btc.change(bids=[("10000.00", "92233720368.54775806")])
    total = Decimal(sizes[0]) * 190 - Decimal("0.00000001")
    with serving(library, WebOptions(port=0)) as server, opened(chromium, server.address) as page:
        until(lambda: Shown(page).update_id)
        shown = Shown(page)
        assert [row[2] for row in shown.asks] == [Decimal(sizes[0]) * n for n in range(1, 26)]
        assert shown.bids[-1][2] == Decimal(sizes[0]) * 25 - Decimal("0.00000001")
        page.locator("svg").press("Home")
        until(lambda: "·" in page.locator("#reading").inner_text())
        held = page.locator("#reading").inner_text().split(" · ")[2].split()[0]
        assert Decimal(held.replace(",", "")) == total
        most = page.locator("#chart-most").inner_text()
        assert Decimal(most.replace(",", "")) == (total + Decimal("0.00000001")).quantize(
            Decimal("0.01"), ROUND_HALF_UP
        )


def test_an_update_id_beyond_53_bits_is_exact_on_the_page(chromium: Browser) -> None:
    library = loaded_library()
    library.btc._id = 2**60
    library.btc.load([("100.01", "1")], [("100.02", "1")])
    with serving(library, WebOptions(port=0)) as server, opened(chromium, server.address) as page:
        library.btc.change(bids=[("100.01", "2")])
        until(lambda: page.get_attribute("#book", "data-update-id") == str(2**60 + 13))
