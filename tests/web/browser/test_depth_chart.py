"""The page's script draws the same chart as the server and the window."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser

from orderbook_desktop.core.checkpoint import image_of
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.units import Scale, format_units
from orderbook_desktop.web.book_view import depth_paths, format_of
from orderbook_desktop.web.options import WebOptions
from tests.web.browser.looking import GONE_TAB, opened
from tests.web.hand_library import loaded_library
from tests.web.made_markets import MARKETS
from tests.web.threaded import serving

pytestmark = GONE_TAB

_DRAW = """async ({ bids, asks, tick }) => {
  const { depthChart } = await import("/static/depth_chart.js");
  const { units } = await import("/static/numbers.js");
  const side = (pairs) => ({ levels: pairs.map(([price, size]) => (
    { price: units(price), size: units(size), at: Number(price), amount: Number(size) })) });
  const { bids: bid, asks: ask, low, high } = depthChart(side(bids), side(asks), tick);
  return { bids: bid, asks: ask, low, high };
}"""


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


def test_a_page_draws_the_same_chart(chromium: Browser) -> None:
    with (
        serving(loaded_library(), WebOptions(port=0)) as server,
        opened(chromium, server.address) as page,
    ):
        for name, market in MARKETS.items():
            image = image_of(market.book.book, market.info.market)
            text = format_of(market.info, image)
            expected = depth_paths(image, text)
            tick = float(format_units(text.tick, image.scale.price))
            levels = {
                "bids": _texts(image.bids, image.scale),
                "asks": _texts(image.asks, image.scale),
            }
            drawn: Any = page.evaluate(_DRAW, {**levels, "tick": tick})
            for low_or_high in ("low", "high"):
                label = float(getattr(expected, low_or_high).replace(",", ""))
                assert max(0, drawn[low_or_high]) == pytest.approx(label, abs=tick), name
            for side in ("bids", "asks"):
                here, there = _heights(getattr(expected, side)), _heights(drawn[side])
                # The last digit of a double may put a level into the next column.
                others = [x for x in here if abs(here[x] - there.get(x, -9)) > 1]
                assert len(others) + len(there.keys() - here.keys()) <= 1, (name, side)
