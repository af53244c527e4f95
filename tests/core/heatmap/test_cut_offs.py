"""Cut-offs of the colours: in percent of what is in sight or as sizes, and remembered as text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.choices import ColourMap, Statistic
from orderbook_desktop.core.heatmap.colours import FIRST_SIZE, LAST_SIZE
from orderbook_desktop.core.heatmap.cut_offs import (
    ColourChoice,
    CutOffScale,
    Glide,
)
from orderbook_desktop.core.heatmap.picture import Quantiser

_NOTHING = CutOffScale(np.zeros(256, np.int64))


def _scale() -> CutOffScale:
    """A hundred cells have the bytes 50 to 149; a thousand are empty, and as many not known."""
    counts = np.zeros(256, np.int64)
    counts[50:150] = 1
    counts[:FIRST_SIZE] = 1_000
    return CutOffScale(counts, base=0.002)


@pytest.mark.parametrize(
    "choice",
    [
        ColourChoice(),
        ColourChoice(
            in_percent=False,
            low="0.001",
            high="12",
            is_locked=True,
            colours=ColourMap.TWO_HUES,
            statistic=Statistic.INTEGRAL,
        ),
    ],
)
def test_a_choice_is_remembered_as_text(choice: ColourChoice) -> None:
    assert ColourChoice.of_text(choice.text) == choice


@pytest.mark.parametrize(
    "text",
    [
        *("", "percent 25 99", "percent 25 99 free fire max more", "percent 99 25 free fire max"),
        *("percent 25 101 free fire max", "percent x 99 free fire max"),
        *("exact 1 NaN free fire max", "exact -1 5 free fire max", "exact 1 5 free red max"),
    ],
)
def test_what_is_no_choice_is_the_usual_one(text: str) -> None:
    assert ColourChoice.of_text(text) == ColourChoice()


def test_a_place_is_a_size_and_a_byte() -> None:
    scale = _scale()
    quantiser = Quantiser(scale.base)
    for place in (3, 40, 255):
        assert scale.size_at(place) == pytest.approx(quantiser.size_of(place))
        assert scale.place_of(scale.size_at(place)) == pytest.approx(place)
    assert scale.place_of(scale.size_at(77.5)) == pytest.approx(77.5)
    assert scale.place_of(0) == FIRST_SIZE
    assert scale.place_of(1e300) == LAST_SIZE


def test_percents_count_what_is_in_sight_and_not_empty() -> None:
    scale = _scale()
    assert scale.places(ColourChoice()) == (74, 148)
    assert scale.percent_at(74) == 25
    assert scale.place_of_percent(100) == 149
    assert not scale.is_empty


def test_where_nothing_is_in_sight_all_sizes_are() -> None:
    assert _NOTHING.is_empty
    assert _NOTHING.places(ColourChoice()) == (FIRST_SIZE, LAST_SIZE)
    assert _NOTHING.percent_at(100) == 0


def test_cut_offs_at_one_place_are_kept_apart() -> None:
    counts = np.zeros(256, np.int64)
    counts[90] = 5
    assert CutOffScale(counts).places(ColourChoice()) == (90, 91)


def test_a_moved_handle_keeps_its_kind_of_number() -> None:
    scale = _scale()
    moved = scale.moved(ColourChoice(), (59, 139))
    assert (moved.low, moved.high, moved.in_percent) == ("10.00", "90.00", True)
    exact = scale.in_other_kind(moved, (59, 139))
    assert not exact.in_percent
    assert scale.places(exact) == pytest.approx((59, 139), abs=0.01)
    assert scale.in_other_kind(exact, (59, 139)) == moved


def test_above_all_that_is_in_sight_a_cut_off_is_a_size() -> None:
    moved = _scale().moved(ColourChoice(), (200, 220))
    assert not moved.in_percent
    assert _scale().places(moved) == pytest.approx((200, 220), abs=0.01)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("30", ("30", True)), (" 30 % ", ("30", True)), ("100", None), ("-1", None)),
        *(("x", None), ("", None), ("inf", None)),
    ],
)
def test_a_cut_off_is_typed(text: str, expected: tuple[str, bool] | None) -> None:
    choice = replace(ColourChoice(), high="90")
    found = _scale().typed(choice, text, (60, 140), is_high=False)
    assert (None if found is None else (found.low, found.in_percent)) == expected


def test_percent_is_typed_where_sizes_are_chosen() -> None:
    exact = ColourChoice(in_percent=False, low="1", high="2,000".replace(",", ""))
    found = _scale().typed(exact, "90%", (59, 139), is_high=True)
    assert found is not None
    assert (found.low, found.high, found.in_percent) == ("10.00", "90", True)
    found = _scale().typed(exact, "1,500", (59, 139), is_high=True)
    assert found is not None
    assert (found.high, found.in_percent) == ("1500", False)


def test_cut_offs_glide_to_their_place() -> None:
    glide = Glide((10, 100), (20, 50), 1_000, 500)
    assert glide.at(0) == glide.at(1_000) == (10, 100)
    assert glide.at(1_250) == (15, 75)
    assert glide.at(1_500) == glide.at(9_999) == (20, 50)
    assert (glide.is_over(1_499), glide.is_over(1_500)) == (False, True)
    first, last = glide.at(1_010), glide.at(1_490)
    assert math.isclose(first[0] - 10, 20 - last[0])
