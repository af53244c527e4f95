"""Reading trades: each id once, in order, from chunks and batches that overlap and have holes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial

import pytest

from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin, TradeRun
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades, TradeReader
from orderbook_desktop.storage.store.trade_store import TradePart
from tests.storage.made_trades import FIRST_MS, received, sent

_LAST = 2**63 - 1


class _Shelf(TradeReader):
    """Trades in memory; it counts how many parts were asked for."""

    def __init__(self, parts: Sequence[tuple[Sequence[Trade], bool]], runs: list[TradeRun]) -> None:
        self._parts = [
            TradePart(
                *("key", archived, part[0].trade_id, part[-1].trade_id),
                *(min(one.event_ms for one in part), max(one.event_ms for one in part), 1),
                partial(_decoded, part),
            )
            for part, archived in parts
        ]
        self._runs = runs
        self.asked = 0

    async def markets(self) -> list[str]:
        return ["BTCUSDT"]

    async def runs(self, market: str) -> list[TradeRun]:
        return [run for run in self._runs if run.market == market]

    async def parts(self, market: str, first_id: int, last_id: int) -> list[TradePart]:
        assert market == "BTCUSDT"
        self.asked += 1
        found = [one for one in self._parts if one.last_id >= first_id and one.first_id <= last_id]
        return sorted(found, key=lambda part: (part.first_id, not part.is_archived))


def _decoded(trades: Sequence[Trade]) -> list[DecodedTrades]:
    return [DecodedTrades.of(trades)]


def _run(first_id: int, last_id: int, *, ended: bool = True) -> TradeRun:
    times = (FIRST_MS + first_id, FIRST_MS + last_id)
    cause = GapCause.DISCONNECT if ended else None
    return TradeRun("r", "BTCUSDT", first_id, last_id, *times, TradeOrigin.RECORDER, cause)


def _shelf() -> _Shelf:
    """Trades 1 to 60 and 100 to 129, of which 126 to 129 are not in a stored run yet."""
    parts = [
        (sent(range(1, 31)), True),
        (sent(range(10, 21)), False),
        (sent(range(25, 41)), False),
        (sent(range(41, 61)), True),
        (sent(range(41, 50)), True),
        (sent(range(100, 120)), False),
        (sent(range(115, 130)), False),
    ]
    return _Shelf(parts, [_run(1, 60), _run(30, 40), _run(100, 125, ended=False)])


_IDS = [*range(1, 61), *range(100, 130)]


async def _read(shelf: TradeReader, first_id: int, last_id: int, *, backwards: bool) -> list[int]:
    ids: list[int] = []
    found = shelf.trades("BTCUSDT", first_id, last_id, backwards=backwards)
    async with aclosing(found):
        async for piece in found:
            some = piece.arrays.ids.tolist()
            assert some == [trade.trade_id for trade in piece.trades()]
            ids = some + ids if backwards else ids + some
    return ids


@pytest.mark.parametrize("backwards", [False, True])
async def test_each_trade_is_read_once_and_in_order(backwards: bool) -> None:
    shelf = _shelf()
    assert await _read(shelf, 0, _LAST, backwards=backwards) == _IDS
    rng = random.Random(4)
    for _ in range(30):
        first_id, last_id = sorted((rng.randrange(140), rng.randrange(140)))
        wanted = [one for one in _IDS if first_id <= one <= last_id]
        assert await _read(shelf, first_id, last_id, backwards=backwards) == wanted


async def test_ids_far_apart_are_asked_for_by_runs_only() -> None:
    far = 5 * 10**12
    shelf = _Shelf([(sent([1]), True), (sent([far]), True)], [_run(1, 1), _run(far, far)])
    assert await _read(shelf, 0, _LAST, backwards=False) == [1, far]
    assert await _read(shelf, 0, _LAST, backwards=True) == [1, far]
    assert shelf.asked < 10


async def test_the_newest_trades_and_those_before_an_id() -> None:
    shelf = _shelf()
    for count in (0, 1, 5, 30, 33, 89, 90, 100):
        found = [trade.trade_id for trade in await shelf.newest("BTCUSDT", count)]
        assert found == (_IDS[-count:] if count else [])
    assert [one.trade_id for one in await shelf.before("BTCUSDT", 102, 4)] == [59, 60, 100, 101]
    assert await shelf.before("BTCUSDT", 1, 4) == []
    assert await _Shelf([], []).newest("BTCUSDT", 4) == []


async def test_the_first_trade_at_a_time_is_found() -> None:
    shelf = _shelf()
    for event_ms in range(-3, 140):
        wanted = next((one for one in _IDS if one >= event_ms), None)
        assert await shelf.first_id_at("BTCUSDT", FIRST_MS + event_ms) == wanted


async def test_a_time_in_a_long_recording_takes_few_questions() -> None:
    rng = random.Random(5)
    times = sorted(FIRST_MS + round(rng.expovariate(1e-6)) for _ in range(20_000))
    trades = [received(index, T=time) for index, time in enumerate(times)]
    parts = [(trades[begin : begin + 100], True) for begin in range(0, 20_000, 100)]
    run = TradeRun("r", "BTCUSDT", 0, 19_999, times[0], times[-1], end_cause=GapCause.USER)
    shelf = _Shelf(parts, [run])
    for wanted in (0, 1, 77, 9_999, 19_900, 19_999):
        shelf.asked = 0
        found = await shelf.first_id_at("BTCUSDT", times[wanted])
        assert found is not None
        assert times[found] == times[wanted]
        assert found == 0 or times[found - 1] < times[wanted]
        assert shelf.asked < 25


async def test_claimed_trades_that_are_missing_are_left_out() -> None:
    parts = [(sent(range(1, 5)), True), (sent(range(30_000, 30_005)), True)]
    shelf = _Shelf(parts, [_run(1, 50_000)])
    ids = [*range(1, 5), *range(30_000, 30_005)]
    assert await _read(shelf, 0, _LAST, backwards=False) == ids
    assert await _read(shelf, 0, _LAST, backwards=True) == ids
    assert [one.trade_id for one in await shelf.newest("BTCUSDT", 6)] == ids[-6:]
    assert await shelf.first_id_at("BTCUSDT", FIRST_MS + 9) == 30_000
    assert await shelf.first_id_at("BTCUSDT", FIRST_MS + 40_000) is None


async def test_a_damaged_place_of_a_part_is_named(database: Database) -> None:
    document = {"_id": "BTCUSDT:trade:5:6", "market": "BTCUSDT", "first_id": 5, "last_id": "6"}
    await database.collection("trade_events").insert_one(document)
    with pytest.raises(DamagedDocument, match="5:6"):
        await DatabaseTrades(database).parts("BTCUSDT", 5, 9)
    assert await DatabaseTrades(database).parts("ETHUSDT", 5, 2**64) == []
