from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderbook_desktop.core.errors import InexactValue, MalformedMessage
from orderbook_desktop.core.units import (
    INT64_MAX,
    MAX_EXPONENT,
    Scale,
    format_units,
    parse_units,
    places_of,
    split_decimal,
)

EXPONENTS = st.integers(0, MAX_EXPONENT)
UNITS = st.integers(0, INT64_MAX)
DECIMAL_TEXTS = st.from_regex(r"\A[0-9]{1,24}(\.[0-9]{1,22})?\Z")
NOT_DECIMALS = [
    *("", " ", ".", "1.", ".5", "1..2", "1.2.3", "-1", "+1", "-0", "1e5", "1E5", "1.5e-3"),
    *(
        "NaN",
        "nan",
        "Infinity",
        "inf",
        " 1",
        "1 ",
        "1\n",
        "1\t",
        "1_000",
        "1,5",
        "0x10",
        "\u0661",
        "\u00b2",
    ),
    *("\u0661", "\u00b2", "1.\u0662", "\uff11", "1.\u00b2", "\x001", "None", "1/2"),
]


def exact(text: str, exponent: int) -> int | None:
    """The fractions' opinion: units of 10^-`exponent`, or None where there are none in int64."""
    units = Fraction(text) * 10**exponent
    return int(units) if units.denominator == 1 and units <= INT64_MAX else None


@given(UNITS, EXPONENTS)
@example(INT64_MAX, MAX_EXPONENT)
@example(0, 0)
def test_units_survive_a_round_trip(units: int, exponent: int) -> None:
    assert parse_units(format_units(units, exponent), exponent) == units


@given(st.integers(-INT64_MAX - 1, INT64_MAX), EXPONENTS)
def test_text_is_the_exact_value(units: int, exponent: int) -> None:
    text = format_units(units, exponent)
    assert Decimal(text) == Decimal(units).scaleb(-exponent)
    assert len(text.partition(".")[2]) == exponent


@given(UNITS, EXPONENTS, st.integers(0, MAX_EXPONENT))
def test_fewer_places_never_change_the_value(units: int, exponent: int, places: int) -> None:
    text = format_units(units, exponent, places)
    assert Decimal(text) == Decimal(units).scaleb(-exponent)
    assert len(text.partition(".")[2]) == max(places, places_of(units, exponent))


@given(DECIMAL_TEXTS, EXPONENTS)
@example("92233720368.54775807", 8)
@example("92233720368.54775808", 8)
def test_parsing_is_exact_or_refused(text: str, exponent: int) -> None:
    units = exact(text, exponent)
    if units is not None:
        assert parse_units(text, exponent) == units
        return
    with pytest.raises(InexactValue) as caught:
        parse_units(text, exponent)
    assert (caught.value.text, caught.value.exponent) == (text, exponent)


def test_thousands_of_digits() -> None:
    zeros = "0" * 5000
    assert parse_units(f"{zeros}1.5{zeros}") == 150_000_000
    assert parse_units(zeros) == 0
    for text in ("9" * 5000, f"0.{zeros}1"):
        with pytest.raises(InexactValue):
            parse_units(text)


@pytest.mark.parametrize("text", NOT_DECIMALS)
def test_everything_else_is_refused(text: str) -> None:
    for reader in (parse_units, split_decimal):
        with pytest.raises(MalformedMessage, match="not an unsigned decimal"):
            reader(text)


@given(st.text(max_size=8))
def test_any_text_is_read_as_decimal_reads_it_or_refused(text: str) -> None:
    try:
        units = parse_units(text)
    except MalformedMessage:
        assert not (text.isascii() and text.isdigit())
    except InexactValue:
        assert exact(text, 8) is None
    else:
        assert units == exact(text, 8)


def test_a_refusal_quotes_no_endless_text() -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse_units("x" * 10_000)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("units", "exponent", "places"),
    [(0, 8, 0), (1_000_000, 8, 2), (100_000_000, 8, 0), (1, 8, 8), (10, 0, 0), (120, 2, 1)],
)
def test_places_really_used(units: int, exponent: int, places: int) -> None:
    assert places_of(units, exponent) == places


def test_formats() -> None:
    assert format_units(6183763000000) == "61837.63000000"
    assert format_units(6183763000000, places=2) == "61837.63"
    assert format_units(6183763000000, places=0) == "61837.63"
    assert format_units(-5, 1) == "-0.5"
    assert format_units(7, 0) == "7"
    assert format_units(7, 0, 2) == "7.00"


def test_a_scale_starts_at_eight_places() -> None:
    assert Scale() == Scale(8, 8)


def test_the_exponent_of_a_cost() -> None:
    assert Scale(2, 5).notional == 7
