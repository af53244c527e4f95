"""The page that merges changes writes the ladder as the core does: digits, units, marks, rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from urllib.parse import quote

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page

from orderbook_desktop.core.known_depth import AT_LEAST
from orderbook_desktop.core.ladder import Side, build_ladder, cost_side
from orderbook_desktop.core.ladder_memory import LadderMemory
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import parse_units
from orderbook_desktop.gui.panes.book_frame import read_frame
from orderbook_desktop.gui.panes.ladder.position import EveryStep, SeenRow
from orderbook_desktop.system.steady_clock import steady_ns
from orderbook_desktop.web.book_view import ROWS
from orderbook_desktop.web.options import WebOptions
from tests.examples import some_of
from tests.web.browser.looking import (
    GONE_TAB,
    Shown,
    accessibility_faults,
    opened,
    seen,
    until,
    until_known,
)
from tests.web.hand_library import HandBook, HandLibrary, loaded_library
from tests.web.made_markets import MARKETS, MadeMarket
from tests.web.threaded import serving

pytestmark = GONE_TAB

_LADDER = """[...document.querySelectorAll(".ladder tr")].map((row) => [
  [...row.classList].sort().join(" "),
  ...[...row.cells].map((cell) => `${cell.textContent} (${cell.title})`)])"""
_CHART_TOP = "document.querySelector('h2 > span:last-child').textContent"
_STILL = """[...document.querySelectorAll("#asks tr, #bids tr")].map((row) => [
  [...row.classList].filter((name) => !/^w\\d/.test(name)).sort().join(" "),
  ...[...row.cells].map((cell) => cell.textContent)])"""
# The headings on screen, from left to right.
_HEADINGS = """[...document.querySelectorAll("th")].filter((cell) => cell.offsetWidth)
  .sort((left, right) => left.offsetLeft - right.offsetLeft)
  .map((cell) => cell.textContent.split(",")[0])"""
_MIDDLES = """["#asks tr:last-child", "#bids tr:first-child"].map(
  (place) => document.querySelector(place).cells[0].textContent)"""


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


def _until_drawn(page: Page) -> None:
    """Wait until the script has drawn a book."""
    until_known(page)
    until(lambda: seen(page, "document.getElementById('book').dataset.updateId"))


@contextmanager
def _page(chromium: Browser, library: HandLibrary, query: str = "") -> Iterator[Page]:
    """Open a page whose book is drawn, on a screen that has room for all rows."""
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, f"{server.address}?{query}") as page,
    ):
        page.set_viewport_size({"width": 1_600, "height": 2_400})
        _until_drawn(page)
        yield page


@pytest.mark.sweep
@pytest.mark.parametrize(("number", "name"), list(enumerate(MARKETS)))
def test_it_is_that_of_the_core(chromium: Browser, number: int, name: str) -> None:
    """Each market in some groupings and assets, which are independent of each other."""
    market = MARKETS[name]
    with serving(_library(market), WebOptions(port=0)) as server:
        address = f"{server.address}?symbol={quote(market.info.symbol)}"
        with opened(chromium, address) as page:
            groups = page.locator("select[name=group] option").all_inner_texts()
            chosen = sorted({groups[0], groups[len(groups) // 2], groups[-1]})
            for group, unit in some_of(list(product(chosen, ("base", "quote"))), 4, phase=number):
                ladders = []
                for live in ("changes", "fragments"):
                    page.goto(f"{address}&group={group}&unit={unit}&live={live}")
                    ladders.append((_ladder(page, live), seen(page, _CHART_TOP)))
                assert ladders[0] == ladders[1]


class _StillLadder:
    """The rows of a book that stand still, as the core has them."""

    def __init__(self, info: SymbolInfo, book: HandBook, step: int, *, in_quote: bool) -> None:
        self._frame = frame = read_frame(info, book.look())
        self._step = step
        self._ladder = build_ladder(
            frame.bids, frame.asks, frame.format.scale, step, frame.horizon, singles=False
        )
        self._shown = {side: self._ladder.side(side) for side in Side}
        if in_quote:
            levels = {Side.BID: frame.bids, Side.ASK: frame.asks}
            self._shown = {
                side: cost_side(levels[side], step, side, frame.horizon, 2 * ROWS, singles=False)
                for side in Side
            }
        self._memory = LadderMemory()
        self._memory.take(self._ladder, frame.event_ms)
        self._formats = self._memory.formats(self._ladder, frame.format, in_quote=in_quote)

    def rows(self) -> list[list[str]]:
        """Return class, price, size and total of each row, from top to bottom."""
        rows = [["", "", "", ""] for _ in range(2 * ROWS)]
        position = EveryStep(self._step)
        position.follow(self._ladder, 2 * ROWS)
        for seen_row in position.view(self._ladder, 2 * ROWS).rows:
            rows[seen_row.line] = self._texts(seen_row)
        return rows

    def _texts(self, seen_row: SeenRow) -> list[str]:
        _, (side, price), rank = seen_row
        text = self._frame.format.price(price, self._step)
        if side is None:
            is_known = self._ladder.unknown_side(price) is None
            return ["none" if is_known else "beyond none", text, "", ""]
        levels, shown = self._ladder.side(side), self._shown[side]
        large = self._memory.large_from(10)
        marks = {
            "beyond": levels.is_least_total(rank),
            "large": large is not None and int(levels.quantities[rank]) >= large,
            side.value: True,
        }
        return [
            " ".join(sorted(mark for mark, is_on in marks.items() if is_on)),
            text,
            (AT_LEAST if levels.is_least_size(rank) else "")
            + self._formats.size.text(int(shown.quantities[rank])),
            (AT_LEAST if levels.is_least_total(rank) else "")
            + self._formats.total.text(int(shown.cumulative[rank])),
        ]


def _until_still(page: Page, ladder: _StillLadder) -> None:
    rows = ladder.rows()
    until(lambda: seen(page, _STILL) == rows)


def _until_best_bid(page: Page, price: str) -> None:
    until(lambda: next(row[1] for row in seen(page, _STILL) if row[0] == "bid") == price)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("name", "unit"),
    [
        (name, unit)
        for number, name in enumerate([*MARKETS, "known to a level"])
        for unit in some_of(("base", "quote"), 2, phase=number)
    ],
)
def test_still_rows_are_those_of_the_core(chromium: Browser, name: str, unit: str) -> None:
    market = MARKETS.get(name, MARKETS["BTC"])
    library = _library(market)
    book = library.books[market.info.market]
    if name not in MARKETS:
        book.load(market.bids, market.asks, depth=9)
    with _page(chromium, library, f"symbol={quote(market.info.symbol)}&unit={unit}") as page:
        groups = page.locator("select[name=group] option").all_inner_texts()
        page.keyboard.press("s")
        for group in sorted({groups[0], groups[len(groups) // 2]}):
            page.locator("select[name=group]").select_option(group)
            step = parse_units(group, book.book.scale.price)
            _until_still(page, _StillLadder(market.info, book, step, in_quote=unit == "quote"))


def test_still_rows_move_only_when_a_best_price_leaves_the_middle_third(chromium: Browser) -> None:
    library = loaded_library()
    with _page(chromium, library, "group=0.01") as page:
        page.keyboard.press("s")
        until(lambda: seen(page, _MIDDLES) == ["100.03", "100.02"])
        # 50 rows: a best price moves by at most 8 of them from the middle before they follow.
        for bid, middles in (
            ("100.08", ["100.03", "100.02"]),
            ("100.11", ["100.13", "100.12"]),
            ("100.05", ["100.13", "100.12"]),
            ("100.04", ["100.13", "100.12"]),
            ("100.03", ["100.05", "100.04"]),
        ):
            ask = f"{float(bid) + 0.02:.2f}"
            library.btc.load([(bid, "1")], [(ask, "2")])
            _until_best_bid(page, bid)
            assert seen(page, _MIDDLES) == middles
        library.btc.load([("100.06", "1")], [("100.08", "2")])
        _until_best_bid(page, "100.06")
        page.keyboard.press("c")
        until(lambda: seen(page, _MIDDLES) == ["100.08", "100.07"])
        page.keyboard.press("s")
        until(lambda: seen(page, _MIDDLES) == ["100.08", "100.06"])


def test_what_was_chosen_is_remembered(chromium: Browser) -> None:
    with _page(chromium, loaded_library()) as page:
        assert seen(page, _HEADINGS) == ["Price", "Size", "Total"]
        page.keyboard.press("u")
        page.keyboard.press("s")
        page.get_by_text("Columns").click()
        page.get_by_label("Move total left").click()
        page.get_by_label("Move total left").click()
        page.get_by_role("checkbox", name="Size").uncheck()
        page.keyboard.press("Escape")
        assert not page.get_by_role("checkbox", name="Size").is_visible()
        for live in ("changes", "changes", "fragments"):
            page.goto(f"{page.url.partition('?')[0]}?live={live}")
            until_known(page)
            until(lambda: "USDT" in page.locator("#total-heading").inner_text())
            assert seen(page, _HEADINGS) == ["Total", "Price"]
            assert page.locator("select[name=unit]").input_value() == "quote"
            assert page.locator("#chart-asset").inner_text() == "USDT"
            if live == "changes":
                assert page.get_by_role("button", name="Still rows", pressed=True).is_visible()
                until(lambda: seen(page, _MIDDLES) == ["100.03", "100.02"])
        # An address that names the asset goes before that.
        page.goto(f"{page.url.partition('?')[0]}?unit=base")
        _until_drawn(page)
        assert "BTC" in page.locator("#total-heading").inner_text()


@pytest.mark.parametrize(
    "stored", ["{", "7", "null", '{"order": 5, "hidden": ["price", "x"]}', '{"order": ["total"]}']
)
def test_a_choice_that_cannot_be_read_is_no_choice(chromium: Browser, stored: str) -> None:
    with _page(chromium, loaded_library()) as page:
        page.evaluate(f"localStorage.setItem('ladder', {json.dumps(stored)})")
        page.reload()
        _until_drawn(page)
        columns = ["Price", "Size", "Total"]
        if "total" in stored:
            columns = ["Total", "Price", "Size"]
        assert seen(page, _HEADINGS) == columns


def test_keys_do_nothing_while_a_symbol_is_typed(chromium: Browser) -> None:
    with _page(chromium, loaded_library()) as page:
        page.locator("input[name=symbol]").focus()
        page.keyboard.type("sus")
        assert page.locator("select[name=unit]").input_value() == "base"
        assert page.locator("#still").get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize(("scheme", "width"), [("dark", 360), ("light", 360), ("light", 1_600)])
def test_the_choice_has_room_and_names(chromium: Browser, scheme: str, width: int) -> None:
    library = loaded_library()
    # An old book would be dimmed, and hard to read on purpose.
    library.btc.status = replace(library.btc.status, last_received_ns=steady_ns() + 10**13)
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, f"{server.address}?unit=quote", scheme=scheme, width=width) as page,
    ):
        _until_drawn(page)
        page.get_by_role("button", name="Still rows").click()
        page.get_by_text("Columns").click()
        page.get_by_label("Move price right").click()
        until(lambda: seen(page, _HEADINGS) == ["Size", "Price", "Total"])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert accessibility_faults(page) == []
