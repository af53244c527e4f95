from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import image_of, roll_forward
from orderbook_desktop.core.depth_sync import DepthSync
from orderbook_desktop.core.events import (
    DepthDiff,
    answered,
    decode_diff,
    decode_snapshot,
    decode_spot_snapshot,
)
from orderbook_desktop.core.frames import decode_frame
from orderbook_desktop.core.horizon import Horizon, is_deeper
from tests.core.deep_exchange import TICK, Answer, DeepExchange
from tests.core.reference_book import diff_payload, snapshot_payload
from tests.core.test_real_capture import CAPTURE, capture_lines

BIDS = [("9.50000000", "1.00000000"), ("9.40000000", "2.00000000"), ("9.30000000", "3.00000000")]
ASKS = [("9.60000000", "1.00000000"), ("9.70000000", "2.00000000")]


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(0, 120))
def test_a_price_is_inside_if_and_only_if_an_independent_rebuild_knows_it(
    seed: int, depth: int, events: int
) -> None:
    exchange = DeepExchange(random.Random(seed))
    for _ in range(5):
        exchange.event()
    payload = exchange.answer(depth)
    answer, sync = Answer(payload, depth), DepthSync()
    sync.receive_snapshot(decode_spot_snapshot(payload, "BTCUSDT", depth))
    for _ in range(events):
        sync.receive_diff(decode_diff(exchange.event()))
    horizon, book = sync.book.horizon, image_of(sync.book, "BTCUSDT")
    assert horizon is not None
    for levels, truth, is_ask in (
        (book.bids, exchange.bids, False),
        (book.asks, exchange.asks, True),
    ):
        shown = dict(zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True))
        for price in exchange.prices:
            is_known = horizon.knows(price, is_ask=is_ask)
            assert is_known == answer.tells_of(price, is_ask=is_ask), price
            # Inside it is the exchange's book; beyond, a diff has named this very price.
            if is_known or price in shown:
                assert shown.get(price, 0) == truth.get(price, 0)
            ours, full = (
                sum(q for p, q in side.items() if (p <= price if is_ask else p >= price))
                for side in (shown, truth)
            )
            is_lower_bound = horizon.is_lower_bound(price, is_ask=is_ask)
            assert ours <= full if is_lower_bound else ours == full


def test_a_side_with_fewer_levels_than_were_asked_for_has_no_end() -> None:
    payload = snapshot_payload(BIDS, ASKS)
    assert decode_spot_snapshot(payload, "X", 3).horizon == Horizon(930_000_000, None)
    assert decode_spot_snapshot(payload, "X", 2).horizon == Horizon(930_000_000, 970_000_000)
    assert decode_spot_snapshot(payload, "X", 4).horizon == Horizon(None, None)
    # It is not known how many were asked for.
    assert decode_spot_snapshot(payload, "X").horizon == Horizon(930_000_000, 970_000_000)
    # At least one was.
    assert decode_spot_snapshot(snapshot_payload([], ASKS), "X").horizon == Horizon(
        None, 970_000_000
    )
    # No answer, such as a stored book.
    assert decode_snapshot(payload, "X").horizon is None


def _sides(bids: int, asks: int) -> bytes:
    return snapshot_payload(
        [(f"{5_000 - at}", "1") for at in range(bids)],
        [(f"{6_000 + at}", "1") for at in range(asks)],
    )


@pytest.mark.parametrize("count", [500, 1_000])
def test_an_answer_that_a_server_has_cut_is_known_to_its_last_levels(count: int) -> None:
    cut = Horizon.of_texts(f"{5_001 - count}", f"{5_999 + count}")
    assert decode_spot_snapshot(_sides(count, count), "X", 5_000).horizon == cut
    for bids, asks in ((count, count - 1), (count + 1, count + 1), (count, 0)):
        assert decode_spot_snapshot(_sides(bids, asks), "X", 5_000).horizon == Horizon()
    # A server that says that there are no more is believed.
    whole = Horizon.of_texts(None, None)
    assert decode_spot_snapshot(_sides(count, count), "X", 5_000, whole).horizon == Horizon()


def test_an_answer_is_known_no_deeper_than_the_server_says() -> None:
    payload = snapshot_payload(BIDS, ASKS)
    for declared in (("9.4", "9.6"), ("9.35", None), (None, "9.65"), ("0.1", "900"), (None, None)):
        ends = Horizon.of_texts(*declared)
        horizon = decode_spot_snapshot(payload, "X", 9, ends).horizon
        assert horizon == ends
        at_most = decode_spot_snapshot(payload, "X", 2, ends).horizon
        assert at_most is not None
        for units in range(900_000_000, 1_000_000_000, 5_000_000):
            for is_ask in (False, True):
                known = [one.knows(units, is_ask=is_ask) for one in (at_most, ends)]
                own = Horizon(930_000_000, 970_000_000).knows(units, is_ask=is_ask)
                assert known[0] == (known[1] and own)


@given(
    st.lists(
        st.tuples(st.none() | st.integers(1, 99), st.none() | st.integers(1, 99)),
        min_size=2,
        max_size=2,
    )
)
def test_within_two_horizons_a_price_is_known_in_both(
    ends: list[tuple[int | None, int | None]],
) -> None:
    ours, theirs = Horizon(*ends[0], exponent=1), Horizon(*ends[1], exponent=2)
    both = ours.within(theirs)
    for units in range(1_000):
        for is_ask in (False, True):
            known = [one.at(2).knows(units, is_ask=is_ask) for one in (ours, theirs)]
            assert both.at(2).knows(units, is_ask=is_ask) == all(known)


@pytest.mark.parametrize("price", ["0.000000001234", "12345678901.2345678", "93000000000"])
def test_ends_are_exact_in_every_market(price: str) -> None:
    snapshot = decode_spot_snapshot(snapshot_payload([(price, "1")], []), "X")
    book = Book()
    book.load(snapshot)
    horizon = book.horizon
    assert horizon is not None
    assert horizon.exponent == book.scale.price
    assert horizon.known_from == book.bids().prices[0]
    text = horizon.texts(0)[0]
    assert text is not None
    assert Decimal(text) == Decimal(price)


def test_the_horizon_follows_the_scale_inward() -> None:
    book = Book()
    book.load(decode_spot_snapshot(snapshot_payload([("2", "1"), ("1.5", "1")], []), "X"))
    book.apply(decode_diff(diff_payload([("1.5", "0"), ("1.000000000001", "1")], [], 2, 2)))
    assert book.scale.price == 12
    assert book.horizon == Horizon(1_500_000_000_000, None, 12)
    assert Horizon(15, 25, 1).at(0) == Horizon(2, 2, 0)
    assert Horizon(15, None, 1).at(3) == Horizon(1_500, None, 3)


def test_diffs_do_not_move_the_horizon_and_a_new_snapshot_does() -> None:
    book = Book()
    assert book.horizon is None
    book.load(decode_spot_snapshot(snapshot_payload(BIDS, ASKS), "X"))
    far = diff_payload([("1", "5"), ("9.3", "0")], [("99", "1"), ("9.7", "0")], 2, 2)
    book.apply(decode_diff(far))
    assert book.horizon == Horizon(930_000_000, 970_000_000)
    assert image_of(book, "X").horizon == book.horizon
    book.load(decode_spot_snapshot(snapshot_payload(BIDS[:1], ASKS, 3), "X", 5))
    assert book.horizon == Horizon()
    book.clear()
    assert book.horizon is None


def test_a_rolled_checkpoint_keeps_the_horizon() -> None:
    base = answered(decode_snapshot(snapshot_payload(BIDS, ASKS, 1), "X"), 2)
    rolled = roll_forward(base, [decode_diff(diff_payload([("1", "5")], [], 2, 2))])
    assert rolled.last_update_id == 2
    assert rolled.horizon == base.horizon == Horizon(930_000_000, 970_000_000)


def test_a_sum_is_a_lower_bound_where_it_reaches_beyond() -> None:
    horizon = Horizon(10, None)
    assert not horizon.is_lower_bound(10, is_ask=False)
    assert horizon.is_lower_bound(9, is_ask=False)
    assert horizon.is_lower_bound(None, is_ask=False)
    assert not horizon.is_lower_bound(None, is_ask=True)
    assert not horizon.is_lower_bound(10**30, is_ask=True)
    assert Horizon(None, 20).is_lower_bound(21, is_ask=True)


def test_texts_and_back() -> None:
    for ends in (("0.000000001", "5"), (None, "7.5"), (None, None)):
        assert Horizon.of_texts(*ends).texts(0) == ends
    assert Horizon(5, None, 1).texts() == ("0.5", None)


@pytest.mark.skipif(not CAPTURE.is_file(), reason="the real capture is not here")
def test_the_real_capture_at_hundreds_of_moments() -> None:
    sync, answer, moments = DepthSync(), None, 0
    for line in capture_lines():
        if line.startswith(b'{"lastUpdateId"'):
            sync.receive_snapshot(decode_spot_snapshot(line, "BTCUSDT", 1_000))
            answer = Answer(line, 1_000)
        elif isinstance(message := decode_frame(line), DepthDiff):
            sync.receive_diff(message)
        else:
            continue
        if answer is None or sync.book.revision % 10:
            continue
        horizon = sync.book.horizon
        assert horizon == Horizon.of_texts("61631.55", "62053.18")
        moments += 1
        for levels, is_ask in ((sync.book.bids(), False), (sync.book.asks(), True)):
            steps = range(61_600 * 10**8, 62_100 * 10**8, 999 * TICK)
            for price in (*levels.prices[::40].tolist(), *steps):
                assert horizon.knows(price, is_ask=is_ask) == answer.tells_of(price, is_ask=is_ask)
    assert moments > 300


def test_a_horizon_is_deeper_if_it_has_a_price_that_the_other_has_not() -> None:
    near, lower, higher = Horizon(10, 20), Horizon(9, 20), Horizon(10, 21)
    assert is_deeper(lower, near)
    assert is_deeper(higher, near)
    assert is_deeper(lower, higher)
    assert is_deeper(Horizon(10, None), near)
    assert is_deeper(near, None)
    assert not is_deeper(near, near)
    assert not is_deeper(near, Horizon(None, 20))
    assert not is_deeper(None, near)
    assert not is_deeper(None, None)
    assert is_deeper(Horizon(99, 200, 9), near)
    assert not is_deeper(Horizon(100, 200, 9), near)
