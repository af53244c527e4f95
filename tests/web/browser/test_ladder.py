"""The page that merges changes writes the ladder as the core does: digits, units and marks."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

from orderbook_desktop.web.options import WebOptions
from tests.web.browser.looking import GONE_TAB, Shown, opened, seen, until, until_known
from tests.web.hand_library import HandLibrary
from tests.web.made_markets import MARKETS, MadeMarket
from tests.web.threaded import serving

pytestmark = GONE_TAB

_LADDER = """[...document.querySelectorAll(".ladder tr")].map((row) => [
  [...row.classList].sort().join(" "),
  ...[...row.cells].map((cell) => `${cell.textContent} (${cell.title})`)])"""


def _library(market: MadeMarket) -> HandLibrary:
    library = HandLibrary()
    library.symbols = [market.info]
    library.books = {market.info.market: market.book}
    return library


def _ladder(page: Page, live: str) -> object:
    until_known(page)
    if live == "changes":
        until(lambda: Shown(page).update_id)
    return seen(page, _LADDER)


@pytest.mark.parametrize("name", list(MARKETS))
def test_it_is_that_of_the_core(chromium: Browser, name: str) -> None:
    market = MARKETS[name]
    with serving(_library(market), WebOptions(port=0)) as server:
        address = f"{server.address}?symbol={quote(market.info.symbol)}"
        with opened(chromium, address) as page:
            groups = page.locator("select option").all_inner_texts()
        for group in {groups[0], groups[len(groups) // 2], groups[-1]}:
            ladders = []
            for live in ("changes", "fragments"):
                with opened(chromium, f"{address}&group={group}&live={live}") as page:
                    ladders.append(_ladder(page, live))
            assert ladders[0] == ladders[1]
