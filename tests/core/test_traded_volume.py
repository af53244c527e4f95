"""Traded volume per price: exact, each trade once and in one row, over time and by any step."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.tape import Tape, TapeTrade
from orderbook_desktop.core.traded_volume import IdRuns, Period, Traded, TradedVolume
from orderbook_desktop.core.units import Scale
from tests.core.trades_made import FIRST_MS, made_tape, made_trade, random_trades

_DAY_MS = 86_400_000


def _sums(trades: Iterable[TapeTrade], low: int, high: int) -> Traded:
    """Sum up by brute force."""
    sums = [0, 0, 0, 0]
    for trade in trades:
        if low <= trade.price <= high:
            sums[trade.is_sold] += trade.quantity
            sums[2 + trade.is_sold] += trade.quantity * trade.price
    return Traded(*sums)


def _rows_of(volume: TradedVolume, tape: Tape, step: int, twice_mid: int) -> list[Traded]:
    """Return the volume of each row that a ladder has from the lowest to the highest price."""
    prices = [trade.price for trade in tape.since(-1)]
    middle = twice_mid // 2
    bids = range(min(prices) // step * step, middle + 1, step)
    asks = range(-(-(middle + 1) // step) * step, -(-max(prices) // step) * step + 1, step)
    return [
        *(volume.at(price, step, twice_mid, is_ask=False) for price in bids),
        *(volume.at(price, step, twice_mid, is_ask=True) for price in asks),
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ticks", [1, 2, 5, 50, 1_000])
def test_each_trade_is_in_one_row_of_any_ladder(seed: int, ticks: int) -> None:
    tape, volume = Tape("BTCUSDT"), TradedVolume(Scale(), slides=False)
    chance, step = random.Random(seed), ticks * 10**6
    for trade in random_trades(300, seed):
        tape.add(trade)
        if chance.random() < 0.1:
            volume.follow(tape, 0)
    volume.follow(tape, 0)
    held = tape.since(-1)
    for twice_mid in (2 * held[-1].price + 10**6, 2 * held[0].price, 2 * held[9].price - 1):
        rows = _rows_of(volume, tape, step, twice_mid)
        total = _sums(held, 0, 2**62)
        assert tuple(map(sum, zip(*rows, strict=True))) == total
        middle = twice_mid // 2
        bid = (middle - 3 * 10**6) // step * step
        high = min(bid + step - 1, middle)
        assert volume.at(bid, step, twice_mid, is_ask=False) == _sums(held, bid, high)
        ask = -(-(middle + 4 * 10**6) // step) * step
        low = max(ask - step + 1, middle + 1)
        assert volume.at(ask, step, twice_mid, is_ask=True) == _sums(held, low, ask)
    price = held[5].price
    assert volume.at_price(price) == _sums(held, price, price)
    group = price // step * step
    whole = _sums(held, group, group + step - 1)
    assert volume.at(group, step, None, is_ask=False) == whole


@given(st.lists(st.integers(0, 40), max_size=60))
def test_runs_of_ids_are_a_set(numbers: list[int]) -> None:
    runs, known = IdRuns(), set[int]()
    for number in numbers:
        assert runs.add(number) is (number not in known)
        known.add(number)


def test_the_last_minutes_slide() -> None:
    tape = made_tape(
        made_trade(number, "5", "1", at_ms=FIRST_MS + 20_000 * number, sold=number % 2 == 1)
        for number in range(40)
        if number != 7
    )
    volume, period = TradedVolume(Scale(), slides=True), Period(minutes=5)
    for now_ms in (FIRST_MS + 300_000, FIRST_MS + 400_001, FIRST_MS + 10**6, FIRST_MS + 10**7):
        volume.follow(tape, period.from_ms(now_ms, 0))
        counted = [one for one in tape.since(-1) if one.event_ms > now_ms - 300_000]
        assert volume.at_price(5 * 10**8) == _sums(counted, 0, 2**62)
        assert volume.at(5 * 10**8, 1, None, is_ask=True) == _sums(counted, 0, 2**62)
    # A repaired trade that is too old by now does not count.
    tape.add(made_trade(7, "5", "1", at_ms=FIRST_MS + 140_000))
    volume.follow(tape, period.from_ms(FIRST_MS + 10**7, 0))
    assert volume.at_price(5 * 10**8) == Traded()


@pytest.mark.parametrize("slides", [True, False])
def test_missing_trades_between_those_that_count_are_told(slides: bool) -> None:
    tape = made_tape(made_trade(n, "5", "1") for n in (1, 2, 5))
    volume = TradedVolume(Scale(), slides=slides)
    assert not volume.has_holes
    volume.follow(tape, 0)
    assert volume.has_holes
    # Those that slid out of the period are missed no more.
    volume.follow(tape, FIRST_MS + 5)
    assert volume.has_holes is not slides
    tape.add(made_trade(3, "5", "1"))
    tape.add(made_trade(4, "5", "1"))
    volume.follow(tape, 0)
    assert not volume.has_holes


def test_expired_trades_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orderbook_desktop.core.traded_volume._EXPIRED", 3)
    tape, volume = Tape("BTCUSDT"), TradedVolume(Scale(), slides=True)
    for number in range(30):
        tape.add(made_trade(number, "5", "1"))
        volume.follow(tape, FIRST_MS + number - 4)
        assert volume.at_price(5 * 10**8).bought == min(number + 1, 5) * 10**8
        assert len(volume._trades) < 10


def test_trades_that_a_tape_held_no_more_are_told() -> None:
    tape = made_tape([made_trade(1)], limit=8)
    volume = TradedVolume(Scale(), slides=False)
    assert volume.follow(tape, 0)
    for number in range(2, 10):
        tape.add(made_trade(number))
    assert volume.follow(tape, 0)
    for number in range(10, 40):
        tape.add(made_trade(number))
    assert not volume.follow(tape, 0)
    assert volume.follow(tape, 0)


def test_each_trade_counts_once_from_wherever_it_comes() -> None:
    trades = random_trades(100)
    tape = made_tape(trades[40:])
    volume = TradedVolume(Scale(), slides=False)
    volume.follow(tape, 0)
    page = made_tape(trades[:60])
    for _ in range(2):
        volume.take(page.since(-1), page.scale, 0)
    # What was read from a recording comes to the tape by a repair, too.
    for trade in trades[30:40]:
        tape.add(trade)
    volume.follow(tape, 0)
    every = made_tape(trades)
    assert volume.at(0, 10**15, None, is_ask=False) == _sums(every.since(-1), 0, 2**62)
    volume.follow(made_tape(trades[50:]), 0)
    assert volume.at(0, 10**15, None, is_ask=False) == _sums(every.since(-1), 0, 2**62)


@pytest.mark.parametrize("slides", [True, False])
def test_above_below_and_all_can_be_cleared(slides: bool) -> None:
    tape = made_tape(made_trade(number, str(number), "1") for number in range(1, 8))
    one = 10**8
    volume = TradedVolume(Scale(), slides=slides)
    volume.follow(tape, 0)

    def bought() -> list[int]:
        return [volume.at(n * one, one, None, is_ask=True).bought // one for n in range(1, 8)]

    assert bought() == [1] * 7
    volume.clear(low=5 * one)
    assert bought() == [1, 1, 1, 1, 1, 0, 0]
    volume.clear(high=3 * one)
    assert bought() == [0, 0, 1, 1, 1, 0, 0]
    tape.add(made_trade(8, "7", "4"))
    volume.follow(tape, 0)
    assert bought() == [0, 0, 1, 1, 1, 0, 4]
    volume.clear()
    assert bought() == [0] * 7
    volume.follow(tape, FIRST_MS + 10**6)
    assert bought() == [0] * 7


def test_finer_units_change_no_value() -> None:
    tape = made_tape([made_trade(1, "0.5", "3"), made_trade(2, "0.5", "1", sold=True)])
    volume = TradedVolume(Scale(), slides=True)
    volume.follow(tape, 0)
    tape.add(made_trade(3, "0.0000000005", "900000000000"))
    volume.follow(tape, 0)
    assert volume.scale == Scale(10, 8)
    assert volume.at_price(5 * 10**9)[:2] == (3 * 10**8, 10**8)
    assert volume.at_price(5 * 10**9).sold_cost == 5 * 10**17
    assert volume.at_price(5).bought == 9 * 10**19
    assert volume.at(0, 10**10, None, is_ask=False).bought == 9 * 10**19 + 3 * 10**8
    volume.refine(Scale(2, 2))
    assert volume.scale == Scale(10, 8)
    volume.follow(tape, FIRST_MS + 3)
    assert volume.at_price(5 * 10**9) == Traded()


@pytest.mark.parametrize(
    ("text", "period", "begun_ms"),
    [
        ("session", Period(is_session=True), 2 * _DAY_MS),
        ("15", Period(minutes=15), 2 * _DAY_MS + 100_001),
        ("reset", Period(), 77),
        ("", Period(), 77),
        ("0", Period(), 77),
        ("99999", Period(), 77),
        ("junk", Period(), 77),
    ],
)
def test_periods(text: str, period: Period, begun_ms: int) -> None:
    assert Period.of_text(text) == period
    assert Period.of_text(period.text) == period
    assert period.from_ms(2 * _DAY_MS + 1_000_000, 77) == begun_ms
