"""The page's trades: the newest first, one row for each order, and rows for missing ones."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from orderbook_desktop.web.options import WebOptions
from tests.web.browser.looking import GONE_TAB, opened, seen, until
from tests.web.hand_library import loaded_library
from tests.web.threaded import serving

pytestmark = GONE_TAB

_ROWS = """[...document.querySelectorAll("#tape li")].map((row) =>
  [row.className, ...[...row.children].slice(1).map((cell) => cell.textContent.trim())])"""


def _rows(page: Page) -> list[list[str]]:
    return seen(page, _ROWS) or []


def _last(page: Page) -> list[str]:
    texts = """["last", "row-last"].map((id) => document.getElementById(id))
      .flatMap((one) => [one.textContent.trim(), one.className])"""
    return seen(page, texts) or []


@pytest.mark.parametrize("live", ["changes", "fragments"])
def test_trades_come_at_the_top_and_the_last_price_has_its_direction(
    chromium: Browser, live: str
) -> None:
    library = loaded_library()
    library.btc.trade(1, "100.01", "0.5")
    library.btc.trade(2, "100.02", "0.25")
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, f"{server.address}?live={live}") as page,
    ):
        until(
            lambda: (
                _rows(page)
                == [
                    ["buy", "Buy", "100.02", "0.25000"],
                    ["buy", "Buy", "100.01", "0.50000"],
                ]
            )
        )
        assert _last(page) == ["▲ 100.02", "last up"] * 2
        library.btc.trade(5, "99.5", "1", is_sold=True)
        until(lambda: _rows(page)[:1] == [["sell", "Sell", "99.50", "1.00000"]])
        assert _rows(page)[1][:2] == ["gap", _rows(page)[1][1]]
        assert _rows(page)[1][1].startswith("2 trades missing")
        until(lambda: _last(page) == ["▼ 99.50", "last down"] * 2)


def test_the_parts_of_one_order_are_one_row(chromium: Browser) -> None:
    library = loaded_library()
    for part in range(3):
        library.btc.trade(4 + part, f"100.0{part}", "0.5", time_id=4)
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, server.address) as page,
    ):
        until(lambda: _rows(page) == [["buy", "Buy x3", "100.02", "1.50000"]])
        page.keyboard.press("u")
        until(lambda: _rows(page) == [["buy", "Buy x3", "100.02", "150.02"]])


def test_without_trades_the_page_has_no_place_for_them(chromium: Browser) -> None:
    with (
        serving(loaded_library(), WebOptions(port=0)) as server,
        opened(chromium, server.address) as page,
    ):
        until(lambda: seen(page, "document.querySelector('.tape').hidden") is True)
