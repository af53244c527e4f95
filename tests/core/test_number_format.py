"""Numbers are exact where they fit, and have the digits of the market's tick and step."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.levels import EMPTY, Levels
from orderbook_desktop.core.number_format import (
    ColumnFormat,
    axis_text,
    book_steps,
    column_format,
    exact_text,
    market_format,
    percent_text,
    rounded_text,
    short_text,
    step_text,
    with_thousands,
)
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import Scale

BTC = SymbolInfo("BTC/USDT", "BTCUSDT", "BTC", "USDT", tick_size=1_000_000, step_size=1_000)
UNKNOWN = SymbolInfo("BTC/USDT", "BTCUSDT", "BTC", "USDT")


@given(st.integers(-(10**20), 10**20), st.integers(0, 18))
def test_exact_text_keeps_the_value(units: int, exponent: int) -> None:
    assert Decimal(exact_text(units, exponent).replace(",", "")) == Decimal(units).scaleb(-exponent)


@given(st.integers(0, 10**20), st.integers(0, 12), st.integers(0, 12))
def test_rounding_is_half_up(units: int, exponent: int, places: int) -> None:
    shown = Decimal(rounded_text(units, exponent, places).replace(",", ""))
    with localcontext(prec=60):
        exact = Decimal(units).scaleb(-exponent)
        assert shown == exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


@pytest.mark.parametrize(
    ("units", "exponent", "places", "widest", "expected"),
    [
        (12_345, 5, 5, 11, "0.12345"),
        (123_456_789, 5, 5, 11, "1,234.56789"),
        (123_456_789, 5, 5, 9, "1,234.568"),
        (12_345_678_901, 5, 5, 11, "123,456.789"),
        (4_522_850_00, 2, 0, 11, "4.5229M"),
        (12_345_678_901, 0, 0, 11, "12.346B"),
        (10**24, 0, 0, 11, "1,000,000E"),
    ],
)
def test_short_text(units: int, exponent: int, places: int, widest: int, expected: str) -> None:
    assert short_text(units, exponent, places, widest) == expected


@pytest.mark.parametrize(
    ("units", "step", "expected"),
    [
        (1_100 * 10**8, 100 * 10**8, "1,100"),
        (5_000 * 10**8, 1_000 * 10**8, "5K"),
        (12 * 10**14, 2 * 10**14, "12M"),
        (400_000, 200_000, "0.004"),
        (0, 1, "0"),
    ],
)
def test_axis_text(units: int, step: int, expected: str) -> None:
    assert axis_text(units, 8, step) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", "0"), ("1234.50", "1,234.50"), ("-1234567", "-1,234,567"), ("0.00000812", "0.00000812")],
)
def test_thousands(text: str, expected: str) -> None:
    assert with_thousands(text) == expected


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(1.5, "+1.50 %"), (-0.9234, "-0.923 %"), (0.0000175, "+0.00002 %")],
)
def test_percent_text(percent: float, expected: str) -> None:
    assert percent_text(percent) == expected


@pytest.mark.parametrize(
    ("typical", "places", "heading", "texts"),
    [
        (
            "0.2",
            5,
            "Total, ADA",
            {"0.35210": "0.35210", "12.5": "12.50000", "0.000001": "<0.00001"},
        ),
        ("25", 5, "Total, ADA", {"0.00004": "<0.0001", "1234.56789": "1,234.5679"}),
        ("54321", 1, "Total, ADA", {"99.9": "99.9", "1234567.8": "1,234,567.8"}),
        ("54321", 0, "Total, ADA", {"99": "99", "0.4": "<1", "0.5": "1"}),
        ("250000", 1, "Total, K ADA", {"978880.3": "978.9", "1088500": "1,088.5", "12": "<0.1"}),
        ("3500000", 1, "Total, K ADA", {"978880.3": "978.9"}),
        ("35000000", 1, "Total, M ADA", {"978880.3": "0.98", "1088500000": "1,088.50"}),
        ("978880000000", 0, "Total, B ADA", {"978880000000": "978.9", "1088500000000": "1,088.5"}),
        ("0.00012", 8, "Total, ADA", {"0.00012345": "0.00012345"}),
    ],
)
def test_a_column_has_one_unit_and_one_number_of_places(
    typical: str, places: int, heading: str, texts: dict[str, str]
) -> None:
    column = column_format(int(Decimal(typical).scaleb(8)), 8, places)
    assert column.heading("Total", "ADA") == heading
    assert {text: column.text(int(Decimal(text).scaleb(8))) for text in texts} == texts


@given(st.integers(1, 10**24), st.lists(st.integers(0, 10**24), min_size=2), st.integers(0, 8))
def test_the_decimal_points_of_a_column_align(typical: int, units: list[int], places: int) -> None:
    column = column_format(typical, 8, places)
    shown = {size: column.text(size) for size in units}
    usual = {size: text for size, text in shown.items() if not text[-1].isalpha()}
    usual = {size: text for size, text in usual.items() if size <= 1000 * typical}
    assert len({len(text.partition(".")[2]) for text in usual.values()}) <= 1
    for size, text in usual.items():
        if not text.startswith("<"):
            value = Decimal(text.replace(",", "")).scaleb(column.power + 8)
            assert abs(value - size) <= Decimal(10) ** (8 + column.power - column.places) / 2
        assert (text.strip("<0.,") == "") is (size == 0)
    # At the typical size there are three digits at least, and six at most.
    digits = column.text(typical).replace(",", "").replace(".", "").lstrip("0")
    assert len(digits) <= 6
    assert column.power == 0 or len(digits) >= 4


def test_a_number_too_long_for_its_column_is_shortened() -> None:
    column = ColumnFormat(8, 0, 5)
    assert column.text(93_000_000_000 * 10**8) == "93.000B"
    assert column.text(999_999 * 10**8 + 12_345_678) == "999,999.1235"
    assert ColumnFormat(8, 0, 8).text(123 * 10**8 + 1) == "123.0000000"
    assert ColumnFormat(8, 6, 2).text(10**14 * 10**8) == "100.00T"


def test_a_column_keeps_its_format_while_it_fits() -> None:
    at_first = column_format(90_000 * 10**8, 8, 2)
    assert at_first.power == 0
    assert column_format(110_000 * 10**8, 8, 2) != at_first
    assert column_format(110_000 * 10**8, 8, 2, at_first) == at_first
    assert column_format(300_000 * 10**8, 8, 2, at_first).power == 3
    thousands = column_format(300_000 * 10**8, 8, 2)
    assert column_format(60_000 * 10**8, 8, 2, thousands) == thousands
    assert column_format(20_000 * 10**8, 8, 2, thousands) == column_format(20_000 * 10**8, 8, 2)
    # Numbers of another kind have another format.
    assert column_format(300_000 * 10**16, 16, 2, thousands).exponent == 16


def test_costs_have_places_like_money() -> None:
    text = market_format(BTC, Scale(), BIDS, ASKS)
    column = text.cost_column(21_630 * 10**16)
    assert column.text(21_630_12 * 10**14) == "21,630.1"
    assert text.cost_column(12 * 10**16).text(1_234_567 * 10**11) == "12.35"
    # A market against bitcoin has costs far below one.
    assert text.cost_column(2 * 10**13).text(2_345_678 * 10**7) == "0.002346"
    assert text.column(30 * 10**8).text(30 * 10**8 + 123_456) == "30.0012"


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
    assert text.short_cost(5_712_345_678_901 * 10**14, 9) == "57.123B"
    assert text.short_cost(150_000_000 * 10**8, 4) == "1.50"


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
