"""Trades that were made of single ones get the ids of the stored ones that they join."""

from __future__ import annotations

import json
import random
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

import pytest

from orderbook_desktop.core.received import Received
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.core.trades import Trade, TradeFields, is_same_trade, made_trade
from orderbook_desktop.formats.single_trades import SingleTrades
from orderbook_desktop.storage.imports.importing import import_messages
from orderbook_desktop.storage.imports.trade_ids import UnplacedTrades
from orderbook_desktop.storage.imports.trades import ImportedTrades, OtherTradeIds
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import TRADE_CHUNKS, TRADE_EVENTS, TRADE_RUNS
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_writer import TradeConflict, TradeWriter

_MS = 1_723_161_255_000
_FIRST_ID = 1_000


def _market(orders: int = 60) -> tuple[list[bytes], list[Trade]]:
    """Single trades, and the exchange's aggregated trades of them, with ids of its own."""
    chance, singles, trades = random.Random(7), list[bytes](), list[Trade]()
    part = 70_000
    for at in range(orders):
        price, time, sold = f"{100 + at % 7}.00000000", _MS + 500 * at, at % 3 == 0
        sizes = [Decimal(chance.randrange(1, 90)) / 100 for _ in range(chance.choice((1, 2, 4)))]
        for place, size in enumerate(sizes):
            fields = {"t": part + place, "p": price, "q": f"{size:.8f}", "T": time, "m": sold}
            singles.append(
                json.dumps({"e": "trade", "E": time + 1, "s": "BTCUSDT", **fields}).encode()
            )
        parts = part, part + len(sizes) - 1
        fields_of = TradeFields(_FIRST_ID + at, price, f"{sum(sizes):.8f}", *parts, time, sold)
        trades.append(made_trade("BTCUSDT", fields_of, (time + 5) * 10**6))
        part += len(sizes)
    return singles, trades


_SINGLES, _TRADES = _market()


def _of(begin: int, end: int, cut: int = 0) -> list[bytes]:
    """The single trades of some orders, without `cut` ones at the beginning and at the end."""
    first, last = _TRADES[begin].first_part - 70_000, _TRADES[end - 1].last_part - 70_000
    return _SINGLES[first + cut : last + 1 - cut]


async def _import(database: Database, singles: list[bytes], folder: Path) -> ImportedTrades:
    made = SingleTrades("BTCUSDT")
    found = [trade for payload in singles for trade in made.take(payload, _MS * 10**6)]
    messages = [Received(one.received_ns, one, is_made=True) for one in (*found, *made.end())]
    (market,) = await import_messages(database, messages, folder, lambda *_: None)
    assert market.trades is not None
    return market.trades


async def _store(database: Database, *spans: tuple[int, int]) -> None:
    for begin, end in spans:
        await TradeWriter(database).store(_TRADES[begin:end], TradeOrigin.REPAIR)


async def _check(database: Database, begin: int, end: int) -> None:
    """Check that these trades are stored, with the exchange's ids."""
    found = DatabaseTrades(database).trades("BTCUSDT", 0, 2**63 - 1)
    async with aclosing(found):
        stored = [trade async for piece in found for trade in piece.trades()]
    wanted = _TRADES[begin:end]
    assert [trade.trade_id for trade in stored] == [trade.trade_id for trade in wanted]
    assert all(map(is_same_trade, wanted, stored))
    assert all(json.loads(trade.payload)["a"] == trade.trade_id for trade in stored)


# What is stored, the orders in a file, and how many of them are known.
_CASES = (
    # It fills a hole, and overlaps with both sides; or with neither.
    ([(0, 20), (40, 60)], (10, 50), 20),
    ([(0, 20), (40, 60)], (20, 40), 0),
    # It goes on, or comes before.
    ([(0, 20)], (20, 60), 0),
    ([(0, 20)], (5, 60), 15),
    ([(40, 60)], (0, 40), 0),
    # It has all of it, and more on both sides.
    ([(20, 30)], (0, 60), 10),
)


async def test_a_file_of_single_trades_joins_what_is_stored(
    database: Database, tmp_path: Path
) -> None:
    for spans, file, known in _CASES:
        for name in (TRADE_EVENTS, TRADE_CHUNKS, TRADE_RUNS):
            await database.collection(name).delete_many({})
        await _store(database, *spans)
        done = await _import(database, _of(*file), tmp_path)
        assert (done.known, done.stored, done.gaps) == (known, file[1] - file[0] - known, ())
        ends = [*file, *(one for span in spans for one in span)]
        await _check(database, min(ends), max(ends))
        again = await _import(database, _of(*file), tmp_path)
        assert (again.known, again.stored) == (file[1] - file[0], 0)


async def test_a_file_amid_what_is_stored_adds_nothing(database: Database, tmp_path: Path) -> None:
    await _store(database, (0, 60))
    assert (await _import(database, _of(20, 30), tmp_path)).stored == 0
    # An order that the file has a part of only is that which is stored.
    orders = [at for at, trade in enumerate(_TRADES) if trade.last_part - trade.first_part == 3]
    begin, end = orders[1], orders[4] + 1
    done = await _import(database, _of(begin, end, cut=1), tmp_path)
    assert (done.stored, done.known) == (0, end - begin)
    await _check(database, 0, 60)


async def test_what_contradicts_is_refused(database: Database, tmp_path: Path) -> None:
    await _store(database, (0, 60))
    for change in ({"q": "9.00000000"}, {"p": "1.00000000"}, {"m": None}):
        other = [json.loads(one) for one in _of(20, 30)]
        other[4] |= {name: value or not other[4][name] for name, value in change.items()}
        with pytest.raises(TradeConflict, match="is stored already with different content"):
            await _import(database, [json.dumps(one).encode() for one in other], tmp_path)
    await _check(database, 0, 60)


async def test_two_orders_of_one_time_and_price_are_what_is_stored(
    database: Database, tmp_path: Path
) -> None:
    """In a file of single trades they are one, so their number is not known."""
    first, second = _TRADES[20], _TRADES[21]
    same = {"p": first.price, "T": first.event_ms, "m": first.is_sold}
    singles = [json.loads(one) for one in _SINGLES]
    for one in singles:
        if second.first_part <= one["t"] <= second.last_part:
            one.update(same)
    file = [json.dumps(one).encode() for one in singles]
    begin, end = _TRADES[10].first_part - 70_000, _TRADES[30].first_part - 70_000
    fields = TradeFields(second.trade_id, first.price, second.quantity, 0, 0, 0, first.is_sold)
    fields.f, fields.l, fields.T = second.first_part, second.last_part, first.event_ms
    twin = made_trade("BTCUSDT", fields, second.received_ns)
    writer = TradeWriter(database)
    await writer.store([*_TRADES[:15], *_TRADES[25:]], TradeOrigin.REPAIR)
    with pytest.raises(UnplacedTrades, match="do not fit among the stored aggregated trades"):
        await _import(database, file[begin:end], tmp_path)
    await writer.store([*_TRADES[15:21], twin, *_TRADES[22:25]], TradeOrigin.REPAIR)
    assert (await _import(database, file[begin:end], tmp_path)).stored == 0


async def test_what_joins_nothing_is_refused(database: Database, tmp_path: Path) -> None:
    await _store(database, (0, 20))
    for file in (_of(25, 60), [*_of(10, 15), *_of(25, 30)]):
        with pytest.raises(UnplacedTrades, match="join none of the stored aggregated trades"):
            await _import(database, file, tmp_path)
    await _check(database, 0, 20)


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_files_of_single_trades_join_each_other(
    database: Database, tmp_path: Path, is_reversed: bool
) -> None:
    files = [_of(0, 20), _of(20, 40), _of(45, 60)]
    for file in reversed(files) if is_reversed else files:
        await _import(database, file, tmp_path)
    runs = await DatabaseTrades(database).runs("BTCUSDT")
    assert [run.count for run in runs] == [40, 15]
    # How many orders the missing trades were of was not known, so ids were left out for all.
    with pytest.raises(UnplacedTrades, match="do not fit among the stored aggregated trades"):
        await _import(database, _SINGLES, tmp_path)


async def test_ids_that_contradict_the_time_are_refused(database: Database, tmp_path: Path) -> None:
    """Such as those of single trades in a gap: they are higher than those of the trades behind."""
    await _store(database, (0, 20), (40, 60))
    fields = TradeFields(70_050, "1", "1", -1, -1, _TRADES[30].event_ms, False)
    messages = [Received(0, made_trade("BTCUSDT", fields))]
    with pytest.raises(OtherTradeIds, match="the trade 70050 of BTCUSDT is not where"):
        await import_messages(database, messages, tmp_path, lambda *_: None)
