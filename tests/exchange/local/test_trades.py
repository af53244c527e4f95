"""Aggregated trades: made up, played, made of single ones, and asked for by REST."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from orderbook_desktop.exchange.local import (
    CaptureSource,
    Fault,
    FaultKind,
    LocalExchange,
    Shape,
    SyntheticSource,
    write_capture,
)
from orderbook_desktop.exchange.local.synthetic_listing import synthetic_specs
from orderbook_desktop.exchange.local.synthetic_market import SyntheticMarket
from orderbook_desktop.exchange.local.trades import TradeTape
from orderbook_desktop.formats.single_trades import AggregatedTrade, TradeAggregator

from .client import get, get_json, next_json, streams

_TRADES = "/api/v3/aggTrades?symbol=BTCUSDT"
_STREAM = "/ws/btcusdt@aggTrade"
_START_MS = 1_700_000_000_000

Wire = dict[str, Any]


def _trade(trade_id: int, price: str, quantity: str, time_ms: int, *, sold: bool = False) -> bytes:
    fields = {"t": trade_id, "p": price, "q": quantity, "T": time_ms, "m": sold}
    return json.dumps({"e": "trade", "E": time_ms + 1, "s": "BTCUSDT", **fields}).encode()


def _aggregated(trades: Iterable[bytes]) -> list[Wire]:
    aggregator = TradeAggregator("BTCUSDT")
    ended = [aggregator.take(trade) for trade in trades]
    return [json.loads(event) for event in (*ended, aggregator.end()) if event is not None]


def _breaks(trades: Iterable[Wire]) -> int:
    return sum(
        (later["a"], later["f"]) != (earlier["a"] + 1, earlier["l"] + 1)
        for earlier, later in pairwise(trades)
    )


def test_trades_in_a_row_with_one_time_price_and_side_are_one() -> None:
    first, *others = _aggregated(
        [
            _trade(7, "10.10", "0.10000000", 5),
            _trade(8, "10.10", "0.20000000", 5),
            _trade(9, "10.20", "0.30000000", 5),
            _trade(10, "10.20", "0.30000000", 6),
            _trade(11, "10.20", "0.30000000", 6, sold=True),
            # A trade is missing: what follows is no part of the same.
            _trade(13, "10.20", "0.30000000", 6, sold=True),
        ]
    )
    assert first == {
        "e": "aggTrade",
        "E": 6,
        "s": "BTCUSDT",
        "a": 7,
        "p": "10.10",
        "q": "0.30000000",
        "f": 7,
        "l": 8,
        "T": 5,
        "m": False,
        "M": True,
    }
    ranges = [(trade["a"], trade["f"], trade["l"]) for trade in others]
    assert ranges == [(8, 9, 9), (9, 10, 10), (10, 11, 11), (11, 13, 13)]


def test_a_trade_has_ended_once_the_market_has_moved_on() -> None:
    aggregator = TradeAggregator("BTCUSDT")
    aggregator.take(_trade(1, "10.1", "1.0", 50))
    assert aggregator.until(50) is None
    assert aggregator.until(51) is not None
    assert aggregator.until(52) is aggregator.end() is None


@pytest.mark.parametrize("name", ["BTCUSDT", "PEPEUSDT", "DOGEUSDT"])
def test_made_up_trades_are_unbroken_and_add_up(name: str) -> None:
    market = SyntheticMarket(synthetic_specs()[name], 5, _START_MS)
    events = [(one, json.loads(one.payload)) for one in market.advance(_START_MS + 30_000)]
    whole = [event for one, event in events if one.kind == "aggTrade"]
    single = {event["t"]: event for one, event in events if one.kind == "trade"}
    assert len(whole) > 20
    assert _breaks(whole) == 0
    assert any(trade["l"] > trade["f"] for trade in whole)
    for trade in whole:
        parts = [single[part] for part in range(trade["f"], trade["l"] + 1)]
        assert sum(Decimal(part["q"]) for part in parts) == Decimal(trade["q"])
        assert {(part["p"], part["T"], part["m"]) for part in parts} == {
            (trade["p"], trade["T"], trade["m"])
        }
    # The parts of an order that took several levels.
    sweeps = [list(parts) for _, parts in groupby(whole, lambda trade: (trade["T"], trade["m"]))]
    assert any(len(parts) > 1 for parts in sweeps)


def test_each_made_up_trade_changes_the_book_in_the_next_event_at_its_price() -> None:
    market = SyntheticMarket(synthetic_specs()["BTCUSDT"], 6, _START_MS)
    events = [(one, json.loads(one.payload)) for one in market.advance(_START_MS + 20_000)]
    diffs = [event for one, event in events if one.kind == "depth@100ms"]
    for trade in (event for one, event in events if one.kind == "aggTrade"):
        diff = next(diff for diff in diffs if diff["E"] >= trade["T"])
        assert trade["p"] in {price for price, _ in diff["b" if trade["m"] else "a"]}


def test_ids_of_a_market_that_slept_jump() -> None:
    market = SyntheticMarket(synthetic_specs()["BTCUSDT"], 5, _START_MS)

    def trades() -> list[Wire]:
        events = market.advance(market.now_ms + 5_000)
        return [json.loads(event.payload) for event in events if event.kind == "aggTrade"]

    before = trades()
    market.move_on(market.now_ms + 60_000)
    after = trades()
    assert after[0]["a"] > before[-1]["a"] + 1
    assert after[0]["f"] > before[-1]["l"] + 1


def _tape(ids: Iterable[int], kept_at_most: int = 100) -> TradeTape:
    tape = TradeTape(kept_at_most)
    for trade_id in ids:
        tape.add(AggregatedTrade(trade_id, "1.5", "0.1", trade_id, trade_id, trade_id * 10, False))
    return tape


def _ids(trades: Iterable[AggregatedTrade]) -> list[int]:
    return [trade.id for trade in trades]


def test_a_tape_is_asked_by_id_and_by_time() -> None:
    tape = _tape([1, 2, 3, 3, 2, 5, 6])
    assert _ids(tape.since_id(2, 3)) == [2, 3, 5]
    assert _ids(tape.since_id(4, 9)) == [5, 6]
    assert _ids(tape.since_id(7, 9)) == []
    assert _ids(tape.between(None, None, 2)) == [5, 6]
    assert _ids(tape.between(20, 50, 9)) == [2, 3, 5]
    assert _ids(tape.between(20, None, 2)) == [2, 3]
    assert _ids(tape.between(None, 30, 2)) == [2, 3]
    assert _ids(tape.between(51, 59, 9)) == []


def test_a_tape_gives_back_what_it_took_but_no_value_of_more_than_64_bits() -> None:
    tape = TradeTape()
    kept = AggregatedTrade(1, "61837.63000000", "0.02000000", 5, 8, 1_723_161_255_342, True)
    tape.add(kept)
    tape.add(AggregatedTrade(2, "0.00000001", "93000000000.00000000", 9, 9, 1, False))
    assert tape.since_id(0, 5) == [kept]


def test_a_tape_forgets() -> None:
    tape = _tape(range(1, 10))
    assert not tape.has_forgotten(1)
    assert tape.forget(45) == 4
    assert tape.has_forgotten(4)
    assert not tape.has_forgotten(5)
    assert _ids(tape.since_id(1, 2)) == [5, 6]
    assert len(_tape(range(1_000), kept_at_most=100).since_id(0, 9_999)) <= 200


@pytest.fixture
async def exchange() -> AsyncIterator[LocalExchange]:
    """A synthetic exchange that takes orders for faults, busy enough to trade all the time."""
    async with LocalExchange(SyntheticSource(seed=1), faults=True) as running:
        yield running


async def test_what_is_sent_can_be_asked_for_again(exchange: LocalExchange) -> None:
    async with streams(exchange, _STREAM) as websocket:
        sent = [await next_json(websocket) for _ in range(6)]
    assert _breaks(sent) == 0
    listed = [{name: trade[name] for name in "apqflTmM"} for trade in sent]
    first, last = sent[1], sent[-1]
    assert await get_json(exchange, f"{_TRADES}&fromId={first['a']}&limit=5") == listed[1:]
    span = f"&startTime={first['T']}&endTime={last['T']}&limit=1000"
    found = await get_json(exchange, _TRADES + span)
    assert found[: len(listed)] == [one for one in listed if one["T"] >= first["T"]][: len(found)]
    assert (await get_json(exchange, f"{_TRADES}&limit=1"))[0]["a"] >= last["a"]
    assert await get_json(exchange, "/api/v3/aggTrades?symbol=ETHUSDT") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", -1102),
        ("symbol=NOSUCH", -1121),
        ("symbol=BTCUSDT&fromId=x", -1100),
        ("symbol=BTCUSDT&fromId=²", -1100),
        ("symbol=BTCUSDT&limit=0", -1130),
        ("symbol=BTCUSDT&since=1", -1101),
        ("symbol=BTCUSDT&startTime=2&endTime=1", -1102),
        ("symbol=BTCUSDT&fromId=1&startTime=1", -1128),
    ],
)
async def test_a_wrong_request_is_refused(exchange: LocalExchange, query: str, code: int) -> None:
    status, body, headers = await get(exchange, f"/api/v3/aggTrades?{query}")
    assert (status, body["code"]) == (400, code)
    assert headers["X-MBX-USED-WEIGHT-1M"] == "4"


async def test_faults_of_the_stream_of_trades(exchange: LocalExchange) -> None:
    async def until(kind: FaultKind, count: int) -> list[Wire]:
        trades: list[Wire] = []
        while exchange.fault_board.counts[kind] < count or len(trades) < 3:
            trades.append(await next_json(websocket))
        return [*trades, await next_json(websocket), await next_json(websocket)]

    async with streams(exchange, _STREAM) as websocket:
        for kind in (FaultKind.DROP, FaultKind.DUPLICATE, FaultKind.SWAP, FaultKind.REPEAT):
            await next_json(websocket)
            exchange.inject(Fault(kind=kind, stream="aggTrade"))
            ids = [(trade["a"], trade["f"], trade["l"]) for trade in await until(kind, 1)]
            steps = {later[0] - earlier[0] for earlier, later in pairwise(ids)}
            if kind is FaultKind.DROP:
                assert max(steps) > 1
            elif kind is FaultKind.SWAP:
                assert -1 in steps
            else:
                (again,) = [pair for pair in pairwise(ids) if pair[0][0] == pair[1][0]]
                assert again[1][2] - again[0][2] == (kind is FaultKind.REPEAT)
        exchange.inject(
            Fault(kind=FaultKind.MALFORMED, shape=Shape.TYPES, instead=True, stream="aggTrade")
        )
        while (await next_json(websocket))["E"] != "soon":
            pass
    # The book's own events had none of these.
    assert all("trade id" in happened.detail for happened in exchange.fault_board.log)


async def test_old_trades_are_refused_once_they_are_forgotten(exchange: LocalExchange) -> None:
    async with streams(exchange, _STREAM) as websocket:
        first = await next_json(websocket)
        exchange.inject(Fault(kind=FaultKind.FORGET, symbol="btcusdt", seconds=3_600))
        assert await get_json(exchange, f"{_TRADES}&fromId={first['a']}&limit=1")
        exchange.inject(Fault(kind=FaultKind.FORGET, symbol="BTCUSDT"))
        status, body, _ = await get(exchange, f"{_TRADES}&fromId={first['a']}")
        assert (status, body["code"]) == (400, -1130)
        newer = await next_json(websocket)
        while not await get_json(exchange, _TRADES):
            newer = await next_json(websocket)
        assert (await get(exchange, f"{_TRADES}&fromId={newer['a']}"))[0] in (200, 400)
    status, body, _ = await get(exchange, f"{_TRADES}&fromId={first['a']}")
    assert status == 400


async def test_faults_of_requests_for_trades_and_their_form(exchange: LocalExchange) -> None:
    exchange.inject(Fault(kind=FaultKind.HTTP, path="aggTrades", status=503))
    exchange.inject(Fault(kind=FaultKind.DELAY, path="aggTrades", seconds=0.01))
    await get_json(exchange, "/api/v3/depth?symbol=BTCUSDT")
    assert exchange.fault_board.counts == {}
    assert (await get(exchange, _TRADES))[0] == 503
    await get_json(exchange, _TRADES)
    assert exchange.fault_board.counts == {FaultKind.HTTP: 1, FaultKind.DELAY: 1}
    with pytest.raises(ValueError, match="depth or aggTrade"):
        Fault(kind=FaultKind.DROP, stream="bookTicker")


async def _played(path: Path, count: int, *, loop: bool = False) -> list[Wire]:
    async with (
        LocalExchange(CaptureSource(path, speed=50, loop=loop)) as exchange,
        streams(exchange, _STREAM) as trades,
        streams(exchange, "/ws/btcusdt@depth@100ms"),
    ):
        return [await next_json(trades) for _ in range(count)]


async def test_a_capture_of_single_trades_is_served_aggregated(
    capture: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trades = await _played(capture, 30)
    assert _breaks(trades) == 0
    assert "BTCUSDT: the file has no aggregated trades" in caplog.text


@pytest.mark.parametrize("kind", ["trade", "aggTrade"])
async def test_trades_go_on_without_a_break_in_the_next_round(tmp_path: Path, kind: str) -> None:
    kinds = ("depth@100ms", kind)
    path = write_capture(tmp_path / "short.jsonl", seed=3, seconds=2, streams=kinds)
    single = {json.loads(line.partition(" ")[2])["data"]["T"] for line in _lines_of(path, kind)}
    trades = await _played(path, 4 * len(single), loop=True)
    assert trades[-1]["T"] > max(single)
    assert _breaks(trades) == 0


def _lines_of(path: Path, kind: str) -> list[str]:
    return [line for line in path.read_text().splitlines() if f"@{kind}" in line]


async def test_what_is_traded_while_no_client_is_there_can_be_asked_for(
    exchange: LocalExchange,
) -> None:
    async with streams(exchange, "/ws/btcusdt@aggTrade") as websocket:
        last_id = (await next_json(websocket))["a"]
    async with streams(exchange, "/ws/ethusdt@depth@100ms") as websocket:
        async with asyncio.timeout(60):
            # Of the market without a subscriber, until ten more are there.
            while len(await get_json(exchange, f"{_TRADES}&fromId={last_id}")) < 11:
                await next_json(websocket)
    async with streams(exchange, "/ws/btcusdt@aggTrade") as websocket:
        next_id = (await next_json(websocket))["a"]
        asked = await get_json(exchange, f"{_TRADES}&fromId={last_id}&limit=1000")
    ids = [trade["a"] for trade in asked]
    assert ids == [*range(last_id, ids[-1] + 1)]
    assert last_id < next_id <= ids[-1]


async def test_a_market_whose_trades_are_wanted_no_more_rests_in_the_end() -> None:
    now_s = 1_700_000_000
    source = SyntheticSource(alive_after_trades_s=60.0, now_ns=lambda: now_s * 10**9)
    source.want(["btcusdt@aggTrade", "ethusdt@depth@100ms", "nousdt@trade"])
    assert source._alive(now_s * 1_000) == {"BTCUSDT", "ETHUSDT"}
    source.want([])
    now_s += 59
    assert source._alive(now_s * 1_000) == {"BTCUSDT"}
    now_s += 1
    assert source._alive(now_s * 1_000) == set()
