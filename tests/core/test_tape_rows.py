"""A tape's rows: sweeps, sums of what came too fast, missing trades, sizes, and their texts."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.number_format import MarketFormat
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.tape_rows import (
    NEW_ROWS_AT_MOST,
    LiveRows,
    Missing,
    RecordedCauses,
    SizeFilter,
    Summed,
    Sweep,
    TapeRow,
    preset_sizes,
    rows_of,
    summed,
)
from orderbook_desktop.core.tape_texts import TapeFormat, cost_places
from orderbook_desktop.core.time_text import clock_text
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.units import Scale
from tests.core.trades_made import FIRST_MS, made_tape, made_trade, random_trades

_SYMBOL = SymbolInfo("BTC/USDT", "BTCUSDT", "BTC", "USDT", 10**6, 10**3)
_FORMAT = TapeFormat(MarketFormat(Scale(), 10**6, 2, 5), _SYMBOL)
_AT = clock_text(FIRST_MS)


def _rows(tape: Tape) -> list[TapeRow]:
    return rows_of(tape.since(-1), tape.scale, tape)


def _sweep_tape() -> Tape:
    parts = (("100.00", "1"), ("100.01", "2"), ("100.01", "1"), ("100.03", "4"))
    return made_tape(
        made_trade(number, price, quantity, at_ms=FIRST_MS)
        for number, (price, quantity) in enumerate(parts)
    )


def test_the_parts_of_one_order_are_one_sweep() -> None:
    (row,) = _rows(_sweep_tape())
    assert isinstance(row, Sweep)
    assert (row.first_id, row.last_id, row.event_ms, row.last_ms) == (0, 3, FIRST_MS, FIRST_MS)
    assert (row.first_price, row.last_price, row.prices) == (100_00000000, 100_03000000, 3)
    assert (row.quantity, row.is_sold) == (8 * 10**8, False)
    assert row.cost == 10**14 * (100_00 + 300_03 + 400_12)


def test_times_are_in_the_zone_that_the_person_wants() -> None:
    (row,) = _rows(_sweep_tape())
    zone = timezone(timedelta(hours=2), "CEST")
    there = replace(_FORMAT, zone=zone)
    time = clock_text(FIRST_MS, zone)
    assert time != clock_text(FIRST_MS, UTC)
    assert there.texts(row).time == time
    assert f"at {time}" in there.describe(row)


def test_another_time_side_or_id_is_another_order() -> None:
    tape = made_tape(
        [
            made_trade(1, at_ms=FIRST_MS),
            made_trade(2, at_ms=FIRST_MS, sold=True),
            made_trade(3, at_ms=FIRST_MS + 1, sold=True),
            made_trade(5, at_ms=FIRST_MS + 1, sold=True),
        ]
    )
    kinds = [(type(row), row.first_id, row.last_id) for row in _rows(tape)]
    assert kinds == [(Sweep, 1, 1), (Sweep, 2, 2), (Sweep, 3, 3), (Missing, 4, 4), (Sweep, 5, 5)]


def test_missing_trades_have_a_row_with_cause_and_length() -> None:
    tape = made_tape([made_trade(1)])
    tape.broken(GapCause.DISCONNECT, "it said goodbye")
    tape.add(made_trade(101, at_ms=FIRST_MS + 5_001))
    _, gap, _ = _rows(tape)
    assert isinstance(gap, Missing)
    assert (gap.count, gap.why and gap.why.cause) == (99, GapCause.DISCONNECT)
    assert _FORMAT.texts(gap).whole == "99 trades missing, 0:00:05.000"
    assert _FORMAT.describe(gap) == (
        "99 trades missing, 0:00:05.000: the connection to the exchange was lost\nIds 2 to 100"
    )
    assert "lost" not in _FORMAT.describe(Missing(2, 2, 5, 4, None))
    assert _FORMAT.range_text(gap) == _FORMAT.price_text(gap) == ""


def test_the_causes_of_a_recording_are_those_of_its_gaps() -> None:
    tape = made_tape([made_trade(1), made_trade(5), made_trade(9)])
    tape.broken(GapCause.TOO_WIDE, "wide", after_id=5)
    causes = RecordedCauses(tape, [TradeGap(1, 5, 0, 0, GapCause.CRASH, "killed")])
    rows = rows_of(tape.since(-1), tape.scale, causes)
    found = [row.why.cause for row in rows if isinstance(row, Missing) and row.why]
    assert found == [GapCause.CRASH, GapCause.TOO_WIDE]


@pytest.mark.parametrize("seed", range(4))
def test_rows_have_every_trade_once(seed: int) -> None:
    trades = [trade for trade in random_trades(400, seed) if trade.trade_id % 97]
    tape = made_tape(trades)
    held = tape.since(-1)
    for rows in (_rows(tape), summed(_rows(tape)), summed(summed(_rows(tape)))):
        ids = [id_ for row in rows for id_ in range(row.first_id, row.last_id + 1)]
        assert ids == list(range(held[0].trade_id, held[-1].trade_id + 1))
        shown = [row for row in rows if not isinstance(row, Missing)]
        assert sum(row.quantity for row in shown) == sum(trade.quantity for trade in held)
        assert sum(row.cost for row in shown) == sum(one.price * one.quantity for one in held)
        sold = [row.sold for row in shown if isinstance(row, Summed)]
        if sold:
            assert sum(sold) == sum(trade.quantity for trade in held if trade.is_sold)


def test_no_sum_goes_over_a_gap_or_another_scale() -> None:
    tape = made_tape([made_trade(1), made_trade(2), made_trade(7)])
    rows = _rows(tape)
    tape.add(made_trade(8, quantity="0.000000000001"))
    rows += rows_of(tape.since(7), tape.scale, tape, rows[-1])
    kinds = [(type(row), row.first_id, row.last_id) for row in summed(rows)]
    assert kinds == [(Summed, 1, 2), (Missing, 3, 6), (Summed, 7, 7), (Summed, 8, 8)]


def test_at_most_so_many_rows_come_at_once() -> None:
    live, tape = LiveRows(), made_tape([made_trade(0, "5", "1")])
    live.follow(tape)
    assert (live.rows, live.newest_id) == ([live.newest], 0)
    for trade_id in range(1, 951):
        tape.add(made_trade(trade_id, "5", "1", sold=trade_id % 3 == 0))
    live.follow(tape)
    assert len(live.rows) == 1 + NEW_ROWS_AT_MOST
    more = live.rows[1]
    assert isinstance(more, Summed)
    assert (more.first_id, more.last_id, more.count) == (1, 926, 926)
    assert (more.bought + more.sold, more.sold) == (926 * 10**8, 308 * 10**8)
    texts = _FORMAT.texts(more)
    assert (texts.whole, texts.quantity, texts.price) == ("+ 926 more", "926.00000", "")
    assert "Bought 618.00000 BTC, sold 308.00000 BTC" in _FORMAT.describe(more)
    assert _FORMAT.range_text(more) == ""
    assert [row.first_id for row in live.rows[2:]] == list(range(927, 951))


def test_live_rows_are_those_of_all_trades_however_they_come() -> None:
    trades = random_trades(120, 3)
    live, tape, revisions = LiveRows(), Tape("BTCUSDT"), set()
    live.follow(None)
    live.follow(None)
    for at, trade in enumerate(trades):
        tape.add(trade)
        if at % 5 == 0:
            live.follow(tape)
            live.follow(tape)
            revisions.add(live.revision)
    live.follow(tape)
    assert live.rows == _rows(tape)
    assert len(revisions) == 24
    live.follow(None)
    assert (live.rows, live.newest_id) == ([], -1)


def test_a_row_that_is_shown_grows_in_its_place() -> None:
    live, tape = LiveRows(), made_tape([made_trade(1, at_ms=FIRST_MS)])
    live.follow(tape)
    for trade_id in range(2, 60):
        tape.add(made_trade(trade_id, at_ms=FIRST_MS + trade_id // 3))
    live.follow(tape)
    assert (live.rows[0].first_id, live.rows[0].last_id) == (1, 2)
    assert not isinstance(live.rows[0], Summed)


def test_repaired_trades_take_the_place_of_the_gap() -> None:
    live, tape = LiveRows(), made_tape([made_trade(1), made_trade(4)])
    live.follow(tape)
    assert isinstance(live.rows[1], Missing)
    tape.add(made_trade(3, ns=0))
    tape.add(made_trade(2, ns=0))
    live.follow(tape)
    assert [(type(row), row.first_id) for row in live.rows] == [(Sweep, n) for n in (1, 2, 3, 4)]
    assert _FORMAT.range_text(live.rows[1]) == "repaired"
    assert "Repaired" in _FORMAT.describe(live.rows[1])


def test_a_reader_that_comes_too_late_begins_anew() -> None:
    live, tape = LiveRows(), made_tape([made_trade(1)], limit=8)
    live.follow(tape)
    for trade_id in range(2, 40):
        tape.add(made_trade(trade_id))
    live.follow(tape)
    assert [row.first_id for row in live.rows] == [trade.trade_id for trade in tape.since(-1)]


def test_small_sizes_are_left_out_and_sweeps_count_as_one() -> None:
    tape = made_tape([made_trade(1, quantity="0.1"), made_trade(2, quantity="0.10000001")])
    live = LiveRows(SizeFilter.of_text("0.10000001"))
    live.follow(tape)
    assert [row.first_id for row in live.rows] == [2]
    for trade_id in (3, 4, 5):
        tape.add(made_trade(trade_id, quantity="0.06", at_ms=FIRST_MS + 9))
        live.follow(tape)
    assert [(row.first_id, row.last_id) for row in live.rows] == [(2, 2), (3, 5)]
    tape.add(made_trade(9, quantity="0.01"))
    live.follow(tape)
    assert isinstance(live.rows[-1], Missing)
    live.show_sizes(SizeFilter())
    assert [row.last_id for row in live.rows] == [1, 2, 5, 8, 9]


@pytest.mark.parametrize(
    ("text", "shown", "least"),
    [
        ("", "", 0),
        (" 0.5 ", "0.5", 5 * 10**17),
        ("1,000", "1000", 10**21),
        ("0.0", "", 0),
        ("1e5", None, 0),
        ("-1", None, 0),
        ("ten", None, 0),
    ],
)
def test_the_text_of_a_size(text: str, shown: str | None, least: int) -> None:
    if shown is None:
        with pytest.raises(MalformedMessage):
            SizeFilter.of_text(text)
    else:
        assert SizeFilter.of_text(text) == SizeFilter(shown, least)


def test_preset_sizes_begin_at_the_usual_one() -> None:
    assert preset_sizes(Tape("BTCUSDT")) == []
    tape = made_tape(made_trade(number, quantity="0.0034") for number in range(9))
    sizes = preset_sizes(tape)
    assert sizes[:4] == ["0.001", "0.002", "0.005", "0.01"]
    assert sizes[-1] == "5"
    tape = made_tape(made_trade(number, quantity="1200000") for number in range(9))
    assert preset_sizes(tape)[0] == "1,000,000"


@pytest.mark.parametrize(
    ("price", "quantity", "places"),
    [("64100", "0.5", 2), ("1", "1.5", 3), ("0.05", "1", 5), ("0.00000001", "1", 8)],
)
def test_costs_have_the_places_that_the_usual_one_needs(
    price: str, quantity: str, places: int
) -> None:
    assert cost_places(Tape("BTCUSDT")) == 2
    assert cost_places(made_tape([made_trade(1, price, quantity)])) == places


def test_texts_are_exact_and_say_the_side_in_words() -> None:
    (row,) = _rows(_sweep_tape())
    assert _FORMAT.texts(row) == (_AT, "Buy", "100.03", "8.00000", "x3", "")
    assert _FORMAT.range_text(row) == "from 100.00"
    assert _FORMAT.describe(row) == (
        f"Bought 8.00000 BTC at {_AT}\n"
        "3 prices from 100.00 to 100.03 USDT, average 100.019\n"
        "800.15 USDT"
    )
    in_quote = TapeFormat(_FORMAT.market, _SYMBOL, in_quote=True)
    assert in_quote.texts(row).quantity == "800.15"
    (row,) = _rows(made_tape([made_trade(1, "0.5", "0.001")]))
    assert in_quote.texts(row).quantity == "<0.01"
    finer = TapeFormat(_FORMAT.market, _SYMBOL, in_quote=True, cost_places=6)
    assert finer.texts(row).quantity == "0.000500"
    (row,) = _rows(made_tape([made_trade(1, "0.00000001", "123456789.5", sold=True)]))
    assert _FORMAT.texts(row)[1:5] == ("Sell", "0.00000001", "123.46M", "")
    assert _FORMAT.range_text(row) == ""
    assert "Price 0.00000001 USDT" in _FORMAT.describe(row)
