from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.known_depth import at_least_text, part_side, sides_text
from orderbook_desktop.core.ladder import Side
from tests.core.test_ladder import LEVELS, SIDES, side_of


@given(LEVELS, SIDES, st.none() | st.integers(0, 320), st.none() | st.integers(0, 320))
def test_a_side_is_parted_where_the_horizon_ends(
    levels: dict[int, int], side: Side, edge: int | None, end: int | None
) -> None:
    is_ask = side is Side.ASK
    horizon = Horizon(known_to=edge) if is_ask else Horizon(known_from=edge)
    parted = part_side(side_of(levels, side), horizon, is_ask=is_ask)
    shown = [*parted.whole.prices.tolist(), *parted.beyond.prices.tolist()]
    assert shown == sorted(levels, reverse=not is_ask)
    assert all(horizon.knows(at, is_ask=is_ask) for at in parted.whole.prices.tolist())
    assert not any(horizon.knows(at, is_ask=is_ask) for at in parted.beyond.prices.tolist())
    quantities = [*parted.whole.quantities.tolist(), *parted.beyond.quantities.tolist()]
    assert quantities == [levels[at] for at in shown]
    assert parted.edge == edge
    is_least = parted.is_lower_bound(end, is_ask=is_ask)
    assert is_least == horizon.is_lower_bound(end, is_ask=is_ask)


@pytest.mark.parametrize("end", [None, 5])
def test_where_it_is_not_known_how_deep_all_sums_are_lower_bounds(end: int | None) -> None:
    parted = part_side(side_of({5: 1}, Side.BID), None, is_ask=False)
    assert parted.whole.total() == 1
    assert parted.is_lower_bound(end, is_ask=False)


def test_the_words() -> None:
    assert at_least_text("160.5 BTC", "61,631.55") == "at least 160.5 BTC; known to 61,631.55"
    assert at_least_text("160.5 BTC", None) == "at least 160.5 BTC; not known how deep"


@pytest.mark.parametrize(
    ("horizon", "words"),
    [
        (Horizon(5, 9), "bids known to 5.0, asks known to 9.0"),
        (Horizon(5), "bids known to 5.0, all asks known"),
        (Horizon(), "all bids known, all asks known"),
        (None, "not known how deep the book is known"),
    ],
)
def test_the_words_for_both_sides(horizon: Horizon | None, words: str) -> None:
    bids, asks = (part_side(side_of({}, side), horizon, is_ask=side is Side.ASK) for side in Side)
    assert sides_text(bids, asks, lambda price: f"{price:.1f}") == words
