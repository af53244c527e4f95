from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core import witness
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.events import DepthSnapshot, decode_snapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.witness import Witness, contradictions
from tests.core.reference_book import snapshot_payload

Pairs = list[tuple[str, str]]

BIDS = [("9.50000000", "1.00000000"), ("9.40000000", "2.00000000"), ("9.30000000", "3.00000000")]
ASKS = [("9.60000000", "1.00000000"), ("9.70000000", "2.00000000"), ("9.80000000", "3.00000000")]


def snapshot(bids: Pairs, asks: Pairs) -> DepthSnapshot:
    return decode_snapshot(snapshot_payload(bids, asks, 7), "BTCUSDT")


def book(bids: Pairs, asks: Pairs) -> BookImage:
    known = Book()
    known.load(snapshot(bids, asks))
    return image_of(known, "BTCUSDT")


def found(
    bids: Pairs,
    asks: Pairs,
    depth: int = 3,
    horizon: Horizon | None = None,
    touched: tuple[list[int], list[int]] = ([], []),
) -> list[str]:
    """What differs between a witness of these levels and the book of all of them."""
    shown = Witness(snapshot(bids, asks), depth, 0, "s", horizon or Horizon())
    return list(contradictions(shown, book(BIDS, ASKS), *touched))


def test_the_same_levels() -> None:
    assert found(BIDS, ASKS) == []
    # Beyond what it shows it says nothing.
    assert found(BIDS[:2], ASKS[:2], depth=2) == []
    # With fewer levels than were asked for a side is complete.
    assert found(BIDS[:2], ASKS, depth=3) == [
        "the bid at 9.3 is 3 where the exchange had not there"
    ]


def test_an_answer_tells_of_no_price_beyond_its_own_horizon() -> None:
    """It may have single levels there, and lack others."""

    def told(known: Horizon) -> list[str]:
        answer = replace(snapshot([BIDS[0], ("9.20000000", "1")], ASKS[:1]), horizon=known)
        return list(contradictions(Witness.of_answer(answer, 0, "s", Horizon()), book(BIDS, ASKS)))

    assert Witness.of_answer(snapshot(BIDS, ASKS[:1]), 0, "s", None).depth == 3
    assert told(Horizon(945_000_000, 965_000_000)) == []
    assert told(Horizon(94, 97, 1)) == [
        "the bid at 9.4 is 2 where the exchange had not there",
        "the ask at 9.7 is 2 where the exchange had not there",
    ]
    assert len(told(Horizon())) == 5


def test_other_scales_are_compared_by_value() -> None:
    finer = [*BIDS[:2], ("9.300000000000", "3.0")]
    assert found(finer, ASKS) == []
    assert found([*BIDS[:2], ("9.3", "3.0000000001")], ASKS) == [
        "the bid at 9.3 is 3 where the exchange had 3.0000000001"
    ]


@pytest.mark.parametrize(
    ("bids", "asks", "difference"),
    [
        ([BIDS[0], ("9.40000000", "2.00000001"), BIDS[2]], ASKS, "the bid at 9.4 is 2 where"),
        (BIDS, [ASKS[0], ("9.75000000", "1.00000000"), ASKS[2]], "the ask at 9.7 is 2 where"),
        (BIDS, [ASKS[0], *ASKS[2:], ("9.90000000", "1.00000000")], "the ask at 9.7 is 2 where"),
        ([("9.55000000", "1.00000000"), *BIDS[:2]], ASKS, "the bid at 9.55 is not there where"),
    ],
)
def test_each_level_that_differs_is_told(bids: Pairs, asks: Pairs, difference: str) -> None:
    assert any(one.startswith(difference) for one in found(bids, asks))


def test_quantities_beyond_exact_doubles_are_compared_level_by_level() -> None:
    bids = [("9.50000000", "90071992.54740993")]
    image = book(bids, ASKS)
    for quantity, differs in (("90071992.54740993", False), ("90071992.54740992", True)):
        shown = Witness(snapshot([("9.50000000", quantity)], ASKS), 3, 0, "s", Horizon())
        assert bool(list(contradictions(shown, image))) is differs


def test_what_an_event_touches_is_not_known() -> None:
    other = [BIDS[0], ("9.40000000", "5.00000000"), BIDS[2]]
    touched = 940_000_000
    assert found(other, ASKS) != []
    assert found(other, ASKS, touched=([touched], [])) == []
    assert found(other, ASKS, touched=([], [touched])) != []


def test_a_level_beyond_the_horizon_may_be_unknown() -> None:
    """But one that is known has to be right there, too."""
    more = [*BIDS[:2], ("9.35000000", "4.00000000")]
    near = Horizon.of_texts("9.4", None)
    assert any("9.35 is not there" in one for one in found(more, ASKS))
    assert found(more, ASKS, horizon=near) == []
    wrong = [*BIDS[:2], ("9.30000000", "4.00000000")]
    assert found(wrong, ASKS, horizon=near) == ["the bid at 9.3 is 3 where the exchange had 4"]
    outer = [*ASKS[:2], ("9.75000000", "4.00000000")]
    assert found(BIDS, outer, horizon=Horizon.of_texts(None, "9.7")) == []
    assert found(BIDS, outer, horizon=Horizon.of_texts(None, "9.75")) != []


def test_nothing_has_to_be_known_where_it_is_not_known_how_deep_a_book_is() -> None:
    more = [*BIDS, ("9.20000000", "1.00000000")]
    witness = Witness(snapshot(more, ASKS), 9, 0, "s", None)
    assert list(contradictions(witness, book(BIDS, ASKS))) == []
    assert found(more, ASKS, depth=9) != []


few = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3", "4", "5", "6", "7"]), st.sampled_from(["0", "1", "2"])
    ),
    max_size=6,
    unique_by=lambda level: level[0],
)


@given(few, few, few, few, st.integers(1, 5), st.booleans())
def test_what_agrees_at_once_has_no_contradiction_level_by_level(
    bids: Pairs, asks: Pairs, known_bids: Pairs, known_asks: Pairs, depth: int, same: bool
) -> None:
    def best(levels: Pairs, sign: int) -> Pairs:
        ordered = sorted(levels, key=lambda level: sign * int(level[0]))
        return [(f"{price}.00000000", f"{quantity}.00000000") for price, quantity in ordered]

    sides = (best(bids, -1), best(asks, 1))
    if same:
        known_bids, known_asks = bids[:], asks[:]
    image = book(best(known_bids, -1), best(known_asks, 1))
    shown = Witness(snapshot(*sides), depth, 0, "s", Horizon())
    at_once = list(contradictions(shown, image))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witness, "_agrees", lambda *_: False)
        assert list(contradictions(shown, image)) == at_once
