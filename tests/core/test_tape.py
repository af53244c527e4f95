"""The tape holds each trade once, exactly, in the order of the ids, and is bounded."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.tape import Direction, LastPrice, Tape, TapeArrays, tape_of
from orderbook_desktop.core.units import Scale, format_units
from tests.core.trades_made import FIRST_MS, made_tape, made_trade


def _ids(tape: Tape) -> list[int]:
    return [trade.trade_id for trade in tape.since(-1)]


def test_trades_are_exact_and_in_order() -> None:
    tape = Tape("BTCUSDT")
    assert (len(tape), tape.oldest_id, tape.newest_id, tape.last) == (0, None, None, None)
    for trade in (
        made_trade(7),
        made_trade(9, "99.00000001", sold=True, ns=0),
        made_trade(8, "100"),
    ):
        tape.add(trade)
    tape.add(made_trade(8, "55"))
    assert _ids(tape) == [7, 8, 9]
    assert tape.since(8) == [(9, FIRST_MS + 9, 99_00000001, 2_50000000, True, True)]
    assert [trade.trade_id for trade in tape.since(-1, 2)] == [7, 8]
    assert [trade.trade_id for trade in tape.before(9, 1)] == [8]
    assert [trade.trade_id for trade in tape.newest(2)] == [8, 9]
    assert (len(tape), tape.revision, tape.oldest_id, tape.newest_id) == (3, 3, 7, 9)
    assert tape_of("BTCUSDT", [made_trade(7), made_trade(8)]).since(7) == [
        (8, FIRST_MS + 8, 100_50000000, 2_50000000, False, False)
    ]


def test_the_last_price_has_the_direction_of_its_last_change() -> None:
    tape, directions = Tape("BTCUSDT"), []
    for trade_id, price in enumerate(["5", "5", "6", "6.0", "5.5", "5.5", "7"]):
        tape.add(made_trade(trade_id, price))
        assert tape.last is not None
        directions.append(tape.last.direction)
    none, up, down = Direction.NONE, Direction.UP, Direction.DOWN
    assert directions == [none, none, up, up, down, down, up]
    # A trade of a recording of before says nothing of the present price.
    tape = Tape("BTCUSDT")
    tape.add(made_trade(1, "7"), is_past=True)
    assert tape.last is None
    # An older trade that comes later is not the last one.
    tape = Tape("BTCUSDT")
    tape.add(made_trade(4, "5"))
    tape.add(made_trade(3, "9"))
    assert tape.last == LastPrice(5 * 10**8, 8, Direction.NONE)


def test_arrivals_have_each_trade_once_whatever_the_order() -> None:
    shuffled = list(range(300))
    random.Random(4).shuffle(shuffled)
    tape, taken, revision = Tape("BTCUSDT"), [], 0
    for number, trade_id in enumerate(shuffled):
        tape.add(made_trade(trade_id))
        if number % 7 == 0:
            taken += [trade.trade_id for trade in tape.arrivals(revision)]
            revision = tape.revision
    taken += [trade.trade_id for trade in tape.arrivals(revision)]
    assert taken == shuffled
    assert _ids(tape) == list(range(300))


def test_a_full_tape_holds_the_newest() -> None:
    tape = Tape("BTCUSDT", limit=8)
    for trade_id in range(10, 40):
        tape.add(made_trade(trade_id))
        assert len(tape) <= 10
    assert _ids(tape) == list(range(40 - len(tape), 40))
    tape.add(made_trade(3))
    assert tape.oldest_id == 40 - len(tape)
    assert [trade.trade_id for trade in tape.arrivals(0)] == _ids(tape)
    tape = Tape("BTCUSDT", limit=8)
    for trade_id in [*range(9, 0, -1), *range(10, 15)]:
        tape.add(made_trade(trade_id))
    assert _ids(tape) == list(range(5, 15))
    assert [trade.trade_id for trade in tape.arrivals(8)] == list(range(10, 15))
    # What came before is not held any more, or is not known to have come since.
    assert [trade.trade_id for trade in tape.arrivals(0)] == [6, 5, *range(10, 15)]


def test_ids_that_begin_anew_are_another_market() -> None:
    tape = Tape("BTCUSDT", limit=4)
    for trade_id in range(1_000, 1_004):
        tape.add(made_trade(trade_id, "5"))
    # These are older ones that come late.
    tape.add(made_trade(999, "5"))
    tape.add(made_trade(7, at_ms=FIRST_MS + 5_000, ns=0))
    assert _ids(tape) == [1_000, 1_001, 1_002, 1_003]
    tape.add(made_trade(7, "4", at_ms=FIRST_MS + 5_000))
    tape.add(made_trade(8, "4", at_ms=FIRST_MS + 5_001))
    assert _ids(tape) == [7, 8]
    assert tape.last is not None
    assert tape.last.price == 4 * 10**8


def test_the_scale_follows_the_trades() -> None:
    tape = Tape("BTCUSDT")
    tape.add(made_trade(1, "0.5", "3"))
    tape.add(made_trade(2, "0.0000000005", "900000000000"))
    scale = tape.scale
    assert scale == Scale(10, 7)
    assert [(trade.price, trade.quantity) for trade in tape.since(-1)] == [
        (5 * 10 ** (scale.price - 1), 3 * 10**scale.quantity),
        (5 * 10 ** (scale.price - 10), 9 * 10 ** (scale.quantity + 11)),
    ]
    assert tape.last == LastPrice(5 * 10 ** (scale.price - 10), scale.price, Direction.DOWN)


def test_what_fits_beside_no_other_trade_forgets_them() -> None:
    tape = Tape("BTCUSDT")
    tape.add(made_trade(1, quantity="0.000000000001"))
    tape.add(made_trade(2, quantity="93000000000000"))
    assert [trade.trade_id for trade in tape.arrivals(0)] == _ids(tape) == [2]
    assert tape.since(-1)[0].quantity == 93 * 10 ** (12 + tape.scale.quantity)
    found = tape.break_after(1, 2)
    assert found is not None
    assert found.cause is GapCause.TOO_WIDE


@pytest.mark.parametrize("quantity", ["0." + "0" * 18 + "1", "9" * 30])
def test_a_trade_that_no_scale_has_is_told_as_missing(quantity: str) -> None:
    tape = Tape("BTCUSDT")
    for trade in (made_trade(1), made_trade(2, quantity=quantity), made_trade(3)):
        tape.add(trade)
    assert _ids(tape) == [1, 3]
    found = tape.break_after(1, 3)
    assert found is not None
    assert found.cause is GapCause.TOO_WIDE


def test_breaks_are_told_and_bounded() -> None:
    tape = Tape("BTCUSDT")
    tape.broken(GapCause.DISCONNECT, "before any trade")
    tape.add(made_trade(1))
    tape.broken(GapCause.DISCONNECT, "lost")
    tape.broken(GapCause.SILENCE, "later")
    tape.broken(GapCause.CRASH, "within", after_id=5)
    tape.add(made_trade(9))
    found = tape.break_after(1, 9)
    assert found is not None
    assert (found.cause, found.detail) == (GapCause.DISCONNECT, "lost")
    found = tape.break_after(4, 9)
    assert found is not None
    assert found.detail == "within"
    assert tape.break_after(6, 9) is None
    for trade_id in range(10, 1_010):
        tape.add(made_trade(trade_id))
        tape.broken(GapCause.SILENCE, "quiet")
    assert tape.break_after(1, 9) is None or tape.break_after(1, 2) is None


_Row = tuple[int, int, int, int, bool, bool]


def _arrays(rows: list[_Row], scale: Scale) -> TapeArrays:
    ids, times_ms, prices, quantities, sold, repaired = (
        np.array([row[at] for row in rows], dtype=np.int64) for at in range(6)
    )
    return TapeArrays(ids, times_ms, prices, quantities, sold > 0, repaired > 0, scale)


_UNITS = st.sampled_from([1, 7, 10, 500, 10**8, 123 * 10**9, 93 * 10**16])
_ROW = st.tuples(
    st.integers(0, 30), st.integers(0, 9), _UNITS, _UNITS, st.booleans(), st.booleans()
)
_EXPONENTS = st.sampled_from([0, 2, 8, 9, 18])
_PART = st.tuples(
    st.one_of(st.lists(_ROW, max_size=30), st.lists(_ROW, max_size=30).map(sorted)),
    st.builds(Scale, _EXPONENTS, _EXPONENTS),
    st.booleans(),
)


@given(parts=st.lists(_PART, max_size=4), limit=st.integers(1, 12))
def test_trades_in_arrays_are_added_as_they_are_one_by_one(
    parts: list[tuple[list[_Row], Scale, bool]], limit: int
) -> None:
    taken, added = Tape("BTCUSDT", limit), Tape("BTCUSDT", limit)
    for rows, scale, is_past in parts:
        taken.take(_arrays(rows, scale), is_past=is_past)
        for trade_id, at_ms, price, quantity, is_sold, is_repaired in rows:
            trade = made_trade(
                *(trade_id, format_units(price, scale.price)),
                format_units(quantity, scale.quantity),
                sold=is_sold,
                at_ms=at_ms,
                ns=0 if is_repaired else 1,
            )
            added.add(trade, is_past=is_past)
        assert (taken.scale, taken.last) == (added.scale, added.last)
        assert taken.since(-1) == added.since(-1)
        assert taken.revision == added.revision
        assert taken.arrivals(0) == added.arrivals(0)
        assert taken.break_after(-1, 99) == added.break_after(-1, 99)


def test_a_long_part_leaves_what_the_tape_would_have_of_each_trade() -> None:
    rows = [(trade_id, 5, 3 + trade_id // 400, 2, False, False) for trade_id in range(1_000)]
    tape = Tape("BTCUSDT", limit=100)
    tape.take(_arrays(rows, Scale(2, 0)))
    added = made_tape(
        (made_trade(i, f"0.0{3 + i // 400}", "2", at_ms=5) for i in range(1_000)), 100
    )
    assert tape.since(-1) == added.since(-1)
    assert tape.last == LastPrice(5 * 10**6, 8, Direction.UP)
    assert tape.revision == 1_000
