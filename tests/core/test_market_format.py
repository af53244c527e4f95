"""A market's numbers have the digits of its tick and step, or of the values on display."""

from __future__ import annotations

import numpy as np
import pytest

from orderbook_desktop.core.levels import EMPTY, Levels
from orderbook_desktop.core.market_format import book_steps, market_format, step_text
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import Scale

BTC = SymbolInfo("BTC/USDT", "BTCUSDT", "BTC", "USDT", tick_size=1_000_000, step_size=1_000)
UNKNOWN = SymbolInfo("BTC/USDT", "BTCUSDT", "BTC", "USDT")


def levels(*pairs: tuple[int, int]) -> Levels:
    prices, quantities = zip(*pairs, strict=True)
    return Levels(np.array(prices), np.array(quantities))


NONE = Levels(EMPTY, EMPTY)
BIDS, ASKS = levels((5_712_345_000_000, 150_000_000)), levels((5_712_350_000_000, 25_000_000))


def test_numbers_have_the_digits_of_tick_and_step() -> None:
    text = market_format(BTC, Scale(), BIDS, ASKS)
    assert (text.tick, text.price_places, text.quantity_places) == (1_000_000, 2, 5)
    assert text.price(5_712_345_000_000) == "57,123.45"
    assert text.price(5_712_300_000_000, 100_000_000) == "57,123"
    assert text.half_price(2 * 5_712_345_000_000 + 1_000_000) == "57,123.455"
    assert text.quantity(150_000_000) == "1.50000"
    assert text.short_quantity(150_000_000, 4) == "1.50"
    assert text.cost(5_712_345 * 10**14) == "57,123.45"


@pytest.mark.parametrize("exponent", [7, 8, 10])
def test_tick_and_step_count_in_the_units_of_the_book(exponent: int) -> None:
    text = market_format(BTC, Scale(exponent, exponent), NONE, NONE)
    assert text.tick == 10 ** (exponent - 2)
    assert (text.price_places, text.quantity_places) == (2, 5)


def test_where_they_are_not_told_what_is_on_display_has_its_digits() -> None:
    text = market_format(UNKNOWN, Scale(), BIDS, ASKS)
    assert (text.tick, text.price_places) == (5_000_000, 2)
    assert text.quantity_places == 2
    # As where they are finer than the book's unit.
    finer = SymbolInfo(BTC.symbol, BTC.market, BTC.base, BTC.quote, tick_size=1, step_size=1)
    assert market_format(finer, Scale(2, 2), levels((50, 300)), NONE).tick == 50


def test_grouping_steps_begin_with_the_tick_and_fit_the_price() -> None:
    text = market_format(BTC, Scale(), BIDS, ASKS)
    assert book_steps(text, BIDS, ASKS)[0] == 1_000_000
    assert book_steps(text, BIDS, ASKS) == book_steps(text, NONE, BIDS)
    assert len(book_steps(text, BIDS, ASKS)) > len(book_steps(text, levels((9_000_000, 1)), ASKS))
    assert [step_text(step, 8) for step in (1_000_000, 500_000_000)] == ["0.01", "5"]
