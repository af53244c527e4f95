from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.number_text import (
    axis_text,
    counted,
    exact_text,
    percent_text,
    rounded_text,
    short_text,
    with_thousands,
)


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


def test_counts_in_words() -> None:
    assert [counted(count, "event") for count in (0, 1, 2_000)] == [
        "0 events",
        "1 event",
        "2,000 events",
    ]
