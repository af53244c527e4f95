"""The page's script draws the same chart as the server and the window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser

from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import Scale, format_units
from orderbook_desktop.web.book_view import DepthPaths, depth_paths, format_of
from orderbook_desktop.web.options import WebOptions
from tests.web.browser.looking import GONE_TAB, opened, until
from tests.web.hand_library import HandLibrary, loaded_library
from tests.web.made_markets import MARKETS
from tests.web.threaded import serving

pytestmark = GONE_TAB

_COLUMN = 5
_DRAW = """async ({ bids, asks, tick, edges, inQuote }) => {
  const { depthChart } = await import("/static/depth_chart.js");
  const { Side } = await import("/static/book_feed.js");
  const sides = [new Side(bids, -1n), new Side(asks, 1n)];
  // Without an edge's text, it is not known how deep the side is known.
  sides.forEach((side, index) => side.setEdge(edges ? edges[index] : undefined));
  const { mostSize, rough, ...chart } = depthChart(...sides, tick, inQuote);
  return chart;
}"""


def _horizons(image: BookImage) -> Iterator[Horizon | None]:
    """Yield no horizon, a whole book, and books that are known to levels near and far."""
    exponent = image.scale.price
    yield None
    yield Horizon()
    for share in (0.0, 0.3, 0.9):
        ends = [
            int(levels.prices[int(share * (len(levels.prices) - 1))])
            if len(levels.prices)
            else None
            for levels in (image.bids, image.asks)
        ]
        yield Horizon(ends[0], ends[1], exponent)
    if len(image.bids.prices) and len(image.asks.prices):
        # The price has risen above what was known, and fallen below it.
        yield Horizon(int(image.bids.prices[0]) // 2, int(image.bids.prices[0]) // 4 * 3, exponent)
        yield Horizon(int(image.asks.prices[0]) * 2, int(image.asks.prices[0]) * 3, exponent)


def _texts(levels: Levels, scale: Scale) -> list[list[str]]:
    pairs = zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True)
    return [[format_units(p, scale.price), format_units(q, scale.quantity)] for p, q in pairs]


def _heights(path: str) -> dict[int, int]:
    """Return the height of each column of a path."""
    heights: dict[int, int] = {}
    x = top = 0
    for command, number in re.findall(r"([MVH])(\d+)", path):
        if command == "V":
            top = int(number)
        elif command == "H":
            heights |= dict.fromkeys(range(x, int(number), 5), top)
        if command != "V":
            x = int(number)
    return heights


@pytest.mark.parametrize("in_quote", [False, True])
def test_a_page_draws_the_same_chart(chromium: Browser, in_quote: bool) -> None:
    with (
        serving(loaded_library(), WebOptions(port=0)) as server,
        opened(chromium, server.address) as page,
    ):
        for name, market in MARKETS.items():
            made = image_of(market.book.book, market.info.market)
            for horizon in _horizons(made):
                image = replace(made, horizon=horizon)
                given = {**_given(image, market.info), "inQuote": in_quote}
                drawn = page.evaluate(_DRAW, given)
                expected = depth_paths(image, format_of(market.info, image), in_quote=in_quote)
                _compare(image, market.info, (expected, drawn), f"{name}, {horizon}")


_LABELS = """() => ["low", "middle", "high"].map(
  (name) => document.getElementById(`chart-${name}`).textContent)"""


@pytest.mark.parametrize("name", ["BTC", "PEPE", "half a unit", "very wide", "one a side"])
def test_the_prices_on_the_page_are_multiples_of_the_tick(chromium: Browser, name: str) -> None:
    market, library = MARKETS[name], HandLibrary()
    book = market.book
    library.symbols, library.default_symbol = [market.info], market.info.symbol
    library.books = {market.info.market: book}
    image = image_of(book.book, market.info.market)
    text = format_of(market.info, image)
    expected = depth_paths(image, text)
    tick = Decimal(format_units(text.tick, image.scale.price))
    with (
        serving(library, WebOptions(port=0)) as server,
        opened(chromium, server.address) as page,
    ):
        until(lambda: page.evaluate("Number(document.getElementById('book').dataset.updateId)"))
        # The script has drawn it.
        labels = page.evaluate(_LABELS)
        for shown, made in zip(labels, (expected.low, expected.middle, expected.high), strict=True):
            # Half a tick may be rounded up or down.
            assert abs(Decimal(shown.replace(",", "")) - Decimal(made.replace(",", ""))) <= tick
            assert Decimal(shown.replace(",", "")) % tick == 0
        for _ in range(5):
            page.locator("svg").first.press("ArrowRight")
            # The crosshair is drawn with the next frame.
            until(lambda: page.locator("#reading").inner_text())
            price = page.locator("#reading").inner_text().split(" ")[0].replace(",", "")
            assert Decimal(price) % tick == 0


def _given(image: BookImage, info: SymbolInfo) -> dict[str, Any]:
    return {
        "bids": _texts(image.bids, image.scale),
        "asks": _texts(image.asks, image.scale),
        "tick": float(format_units(format_of(info, image).tick, image.scale.price)),
        "edges": None if image.horizon is None else image.horizon.texts(0),
    }


def _compare(
    image: BookImage, info: SymbolInfo, charts: tuple[DepthPaths, dict[str, Any]], name: str
) -> None:
    (expected, drawn), text = charts, format_of(info, image)
    tick = float(format_units(text.tick, image.scale.price))
    for low_or_high in ("low", "high"):
        label = float(getattr(expected, low_or_high).replace(",", ""))
        assert max(0, drawn[low_or_high]) == pytest.approx(label, abs=tick), name
    for side in ("bids", "asks"):
        here, there = _heights(getattr(expected, side)), _heights(drawn[side])
        # The last digit of a double may put a level into the next column.
        others = [x for x in here if abs(here[x] - there.get(x, -9)) > 1]
        assert len(others) + len(there.keys() - here.keys()) <= 1, (name, side)
    for path, key in (
        ("unknown", "unknown"),
        ("edges", "edges"),
        ("grid", "grid"),
        ("bid_spikes", "bidSpikes"),
        ("ask_spikes", "askSpikes"),
    ):
        server, script = _numbers(getattr(expected, path)), _numbers(drawn[key])
        assert server == pytest.approx(script, abs=_COLUMN if "spikes" in path else 1), (name, path)
    assert expected.most.startswith("≥") == drawn["mostIsLeast"], name


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", path)]
