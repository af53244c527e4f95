from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderbook_desktop.core.errors import BugError, InexactValue
from orderbook_desktop.core.levels import (
    EMPTY,
    Int64Array,
    Levels,
    doubles_of,
    fitting_exponent,
    merge_levels,
    rescaled,
    units_from_doubles,
)
from orderbook_desktop.core.units import INT64_MAX, MAX_EXPONENT, format_units

PROVEN = 2**52

# Where rounding goes wrong first: the edges of the proof, powers of two, and many nines.
delicate_units = st.one_of(
    st.integers(0, INT64_MAX),
    st.integers(PROVEN - 10**6, PROVEN + 10**6),
    st.integers(0, 62).flatmap(lambda power: st.integers(2**power - 50, 2**power + 50)),
    st.integers(0, 17).map(lambda power: 10**power * 99 - 1),
    st.integers(1, 18).map(lambda digits: int("9" * digits)),
).filter(lambda units: 0 <= units <= INT64_MAX)


def wire_double(text: str) -> float:
    return msgspec.json.decode(f'"{text}"'.encode(), type=float, strict=False)


@given(st.lists(delicate_units, min_size=1, max_size=20), st.integers(0, 8))
@example([PROVEN - 1], 8)
@example([PROVEN], 8)
def test_the_fast_path_is_exact_or_declines(units: list[int], places: int) -> None:
    texts = [format_units(value, 8, places) for value in units]
    fast = units_from_doubles(map(wire_double, texts))
    if fast is not None:
        assert fast.tolist() == units
        assert fast.dtype == np.int64
    # In the last bit before the proof's edge either is right.
    if max(units) < PROVEN // 2:
        assert fast is not None
    if max(units) >= PROVEN:
        assert fast is None


@given(st.floats(min_value=0) | st.just(float("nan")))
@example(float("inf"))
@example(1e308)
@example(float("nan"))
@example(0.123456789)
def test_the_fast_path_declines_what_is_no_multiple(value: float) -> None:
    fast = units_from_doubles([value])
    if fast is not None:
        assert float(Decimal(int(fast[0])).scaleb(-8)) == value


def test_nothing_is_converted_to_nothing() -> None:
    fast = units_from_doubles([])
    assert fast is not None
    assert fast.tolist() == []


@given(
    st.lists(st.from_regex(r"\A[0-9]{1,20}(\.[0-9]{1,20})?\Z"), max_size=4),
    st.lists(st.integers(0, INT64_MAX), max_size=4),
    st.integers(0, MAX_EXPONENT),
)
@example(["0." + "0" * 20], [], 8)
@example(["1000000000000.00000000", "1"], [], 8)
@example([], [INT64_MAX], 18)
def test_an_exponent_fits_everything_or_nothing_does(
    texts: list[str], held: list[int], current: int
) -> None:
    values = [Fraction(text) for text in texts]
    values += [Fraction(units, 10**current) for units in held]
    fitting = [
        exponent
        for exponent in range(MAX_EXPONENT + 1)
        if all(
            (value * 10**exponent).denominator == 1 and value * 10**exponent <= INT64_MAX
            for value in values
        )
    ]
    if fitting:
        nearest = min(fitting, key=lambda exponent: abs(exponent - 8))
        assert fitting_exponent(texts, np.array(held, dtype=np.int64), current) == nearest
        return
    with pytest.raises(InexactValue):
        fitting_exponent(texts, np.array(held, dtype=np.int64), current)


@pytest.mark.parametrize("text", ["9" * 5000, "0." + "1" * 5000, "0.0000000000000000001"])
def test_no_exponent_fits_the_impossible(text: str) -> None:
    with pytest.raises(InexactValue) as caught:
        fitting_exponent(["1", text], EMPTY, 8)
    assert caught.value.text == text


def test_leading_zeros_take_no_room() -> None:
    assert fitting_exponent(["0" * 5000 + "1.5"], EMPTY, 8) == 8


@given(st.lists(st.integers(0, 10**6)), st.integers(0, 12))
def test_rescaling_there_and_back(units: list[int], by: int) -> None:
    array = np.array(units, dtype=np.int64)
    finer = rescaled(array, by)
    assert finer.tolist() == [value * 10**by for value in units]
    assert rescaled(finer, -by).tolist() == units


def test_rescaling_never_rounds() -> None:
    with pytest.raises(BugError):
        rescaled(np.array([100, 101]), -2)


keys = st.one_of(
    st.integers(-6, 6),
    st.sampled_from([-INT64_MAX - 1, -INT64_MAX, INT64_MAX - 1, INT64_MAX]),
)


@given(
    st.dictionaries(keys, st.integers(1, INT64_MAX)),
    st.dictionaries(keys, st.integers(0, 3)),
    st.randoms(use_true_random=False),
)
@example({}, {INT64_MAX: 1}, None)
@example({1: 1}, {INT64_MAX: 1}, None)
@example({INT64_MAX: 1}, {INT64_MAX: 0}, None)
@example({1: 1, 2: 2}, {0: 5, 1: 0, 2: 0, 3: 7, -4: 0}, None)
def test_merging_sets_levels(
    held: dict[int, int],
    changes: dict[int, int],
    order: Random | None,
) -> None:
    changed = list(changes.items())
    if order is not None:
        order.shuffle(changed)
    arguments = [
        as_array(sorted(held)),
        as_array([held[key] for key in sorted(held)]),
        as_array([key for key, _ in changed]),
        as_array([quantity for _, quantity in changed]),
    ]
    before = [argument.copy() for argument in arguments]
    for argument in arguments:
        argument.setflags(write=False)
    new_keys, new_quantities = merge_levels(*arguments)
    expected = {key: quantity for key, quantity in {**held, **changes}.items() if quantity}
    assert new_keys.tolist() == sorted(expected)
    assert new_quantities.tolist() == [expected[key] for key in sorted(expected)]
    assert all(map(np.array_equal, arguments, before))


def as_array(values: list[int]) -> Int64Array:
    return np.array(values, dtype=np.int64)


_WIDE = st.lists(
    st.tuples(st.integers(0, INT64_MAX), st.integers(1, INT64_MAX)), min_size=1, max_size=30
)


@given(_WIDE, st.sampled_from((1, 7, 5_000)), st.none() | st.integers(0, 6_000))
@example([(INT64_MAX, INT64_MAX)], 5_000, None)
def test_totals_and_notionals_do_not_wrap(
    pairs: list[tuple[int, int]], times: int, count: int | None
) -> None:
    pairs = (pairs * times)[:5_000]
    levels = Levels(*(np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True)))
    taken = pairs[:count]
    assert levels.total(count) == sum(quantity for _, quantity in taken)
    assert levels.notional(count) == sum(price * quantity for price, quantity in taken)
    assert type(levels.total(count)) is type(levels.notional(count)) is int


@given(st.lists(st.integers(0, INT64_MAX), max_size=30), st.integers(0, 18))
@example([2**53 + 1, INT64_MAX, INT64_MAX - 1, 0], 8)
def test_doubles_are_the_nearest_ones(units: list[int], exponent: int) -> None:
    found = doubles_of(np.array(units, dtype=np.int64), exponent)
    assert found.dtype == np.float64
    assert found.tolist() == [unit / 10**exponent for unit in units]
