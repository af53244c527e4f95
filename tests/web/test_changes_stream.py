"""The text of many levels, made at once: it equals the text of each number made alone."""

from __future__ import annotations

import json
from typing import Literal

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from orderbook_desktop.core.levels import EMPTY, Levels
from orderbook_desktop.core.units import INT64_MAX, MAX_EXPONENT, Scale
from orderbook_desktop.web.changes_stream import json_levels, raw_levels, text_levels

_UNITS = st.one_of(st.integers(0, 10**9), st.integers(0, INT64_MAX), st.just(INT64_MAX))
_SCALES = st.builds(Scale, st.integers(0, MAX_EXPONENT), st.integers(0, MAX_EXPONENT))


def _levels(pairs: list[tuple[int, int]]) -> Levels:
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Levels(columns[:, 0], columns[:, 1])


@hypothesis.given(st.lists(st.tuples(_UNITS, _UNITS), max_size=20), _SCALES, st.booleans())
def test_many_levels_give_the_text_that_format_units_gives(
    pairs: list[tuple[int, int]], scale: Scale, trimmed: bool
) -> None:
    levels = _levels(pairs)
    output = json.loads(json_levels(levels, scale, trimmed=trimmed))
    expected = text_levels(levels, scale, 0 if trimmed else None)
    assert output == [list(pair) for pair in expected]


def test_a_side_without_levels() -> None:
    assert json_levels(Levels(EMPTY, EMPTY), Scale(), trimmed=True) == b"[]"


@pytest.mark.parametrize("count", [0, 1, 99, 100, 5000])
@pytest.mark.parametrize("places", [0, None])
def test_few_and_many_are_written_alike(count: int, places: Literal[0] | None) -> None:
    prices = np.arange(count, dtype=np.int64) * 1_000_000 + 6_000_000_000_000
    levels = Levels(prices, prices % 97 * 12_345)
    output = json.loads(bytes(raw_levels(levels, Scale(), places)))
    assert output == [list(pair) for pair in text_levels(levels, Scale(), places)]
