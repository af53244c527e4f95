"""Every fault happens when it is ordered, is counted, and leaves the rest alone."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake

from orderbook_desktop.exchange.local import (
    Fault,
    FaultKind,
    LocalExchange,
    Shape,
    SyntheticSource,
)
from orderbook_desktop.exchange.local.faults import REST_PATHS, REST_PREFIX

from .client import follow, get, get_json, next_diff, streams, until_closed

_DEPTH = "/api/v3/depth?symbol=BTCUSDT"
_STREAM = "/ws/btcusdt@depth@100ms"


@pytest.fixture
async def exchange() -> AsyncIterator[LocalExchange]:
    """A synthetic exchange that takes orders for faults."""
    async with LocalExchange(SyntheticSource(seed=1), faults=True) as running:
        yield running


@pytest.fixture
async def websocket(exchange: LocalExchange) -> AsyncIterator[ClientConnection]:
    """A raw depth stream that has begun."""
    async with streams(exchange, _STREAM) as opened:
        await next_diff(opened)
        yield opened


async def _ids(websocket: ClientConnection, count: int) -> list[tuple[int, int]]:
    diffs = [await next_diff(websocket) for _ in range(count)]
    return [(diff["U"], diff["u"]) for diff in diffs]


def _breaks(ids: list[tuple[int, int]]) -> int:
    return sum(later[0] != earlier[1] + 1 for earlier, later in pairwise(ids))


async def test_drop_leaves_a_gap(exchange: LocalExchange) -> None:
    async with streams(exchange, _STREAM) as websocket:
        ids = await _ids(websocket, 1)
        exchange.inject(Fault(kind=FaultKind.DROP, count=2))
        while not _breaks(ids):
            ids += await _ids(websocket, 1)
    assert exchange.fault_board.counts == {FaultKind.DROP: 2}
    assert not exchange.fault_board.pending


async def test_duplicate(exchange: LocalExchange, websocket: ClientConnection) -> None:
    exchange.inject(Fault(kind=FaultKind.DUPLICATE, count=2))
    ids = await _ids(websocket, 4)
    while len(ids) - len(set(ids)) < 2:
        ids += await _ids(websocket, 1)
    assert _breaks(list(dict.fromkeys(ids))) == 0
    assert exchange.fault_board.counts == {FaultKind.DUPLICATE: 2}


async def test_swap(exchange: LocalExchange, websocket: ClientConnection) -> None:
    exchange.inject(Fault(kind=FaultKind.SWAP))
    ids = await _ids(websocket, 2)
    while ids == sorted(ids):
        ids += await _ids(websocket, 1)
    assert _breaks(sorted(ids)) == 0
    assert exchange.fault_board.counts == {FaultKind.SWAP: 1}


def _is_bad(frame: str) -> bool:
    try:
        return json.loads(frame)["data"]["U"] is None
    except json.JSONDecodeError:
        return True


@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("instead", [False, True])
async def test_malformed(exchange: LocalExchange, shape: Shape, instead: bool) -> None:
    async with streams(exchange, "/stream?streams=btcusdt@depth@100ms") as websocket:
        ids = await _ids(websocket, 1)
        exchange.inject(Fault(kind=FaultKind.MALFORMED, shape=shape, instead=instead))
        while not _is_bad(frame := str(await websocket.recv())):
            diff = json.loads(frame)["data"]
            ids.append((diff["U"], diff["u"]))
        ids += await _ids(websocket, 1)
    assert _breaks(ids) == (1 if instead else 0)
    assert exchange.fault_board.counts == {FaultKind.MALFORMED: 1}
    assert frame.startswith("{") is (shape is not Shape.GARBAGE)


async def test_a_fault_of_one_symbol_spares_the_others(exchange: LocalExchange) -> None:
    target = "/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms"
    async with streams(exchange, target) as websocket:
        exchange.inject(Fault(kind=FaultKind.DUPLICATE, count=2, symbol="ETHUSDT"))
        seen: Counter[tuple[str, int]] = Counter()
        while max(seen.values(), default=0) < 2 or len(seen) < 5:
            diff = await next_diff(websocket)
            seen[diff["s"], diff["u"]] += 1
    assert {symbol for (symbol, _), times in seen.items() if times > 1} == {"ETHUSDT"}


async def test_disconnect_is_abrupt(exchange: LocalExchange, websocket: ClientConnection) -> None:
    exchange.inject(Fault(kind=FaultKind.DISCONNECT))
    _, code = await until_closed(websocket)
    assert code is None
    async with streams(exchange, _STREAM) as again:
        await follow(exchange, again, "BTCUSDT", until=1)


async def test_close_with_a_code(exchange: LocalExchange, websocket: ClientConnection) -> None:
    exchange.inject(Fault(kind=FaultKind.CLOSE, code=1012))
    _, code = await until_closed(websocket)
    assert code == 1012


async def test_shutdown_is_announced(exchange: LocalExchange, websocket: ClientConnection) -> None:
    exchange.inject(Fault(kind=FaultKind.SHUTDOWN, seconds=1.0))
    messages, code = await until_closed(websocket)
    assert code == 1001
    kinds = [message["e"] for message in messages]
    assert kinds.count("serverShutdown") == 1
    assert "depthUpdate" in kinds[kinds.index("serverShutdown") :]


@pytest.mark.parametrize("deliver", [False, True])
async def test_silence(exchange: LocalExchange, deliver: bool) -> None:
    async with streams(exchange, _STREAM) as websocket:
        before = await _ids(websocket, 1)
        exchange.inject(Fault(kind=FaultKind.SILENCE, seconds=1.5, deliver=deliver))
        # The socket itself is alive, and connections opened later hear everything.
        await (await websocket.ping())
        async with streams(exchange, _STREAM) as other:
            await next_diff(other)
        ids = before + await _ids(websocket, 6)
        while not (deliver or _breaks(ids)):
            ids += await _ids(websocket, 1)
    assert _breaks(ids) == (0 if deliver else 1)
    assert exchange.fault_board.counts == {FaultKind.SILENCE: 1}


async def test_refuse(exchange: LocalExchange, websocket: ClientConnection) -> None:
    exchange.inject(Fault(kind=FaultKind.REFUSE, seconds=60))
    with pytest.raises((ConnectionError, EOFError, InvalidHandshake)):
        await connect(exchange.ws_url + _STREAM).__aenter__()
    with pytest.raises(aiohttp.ClientConnectionError):
        await get_json(exchange, "/api/v3/ping")
    assert exchange.fault_board.counts[FaultKind.REFUSE] >= 2
    await next_diff(websocket)
    exchange.inject(Fault(kind=FaultKind.REFUSE, seconds=0))
    await get_json(exchange, "/api/v3/ping")


@pytest.mark.parametrize(
    ("status", "retry_after", "code"),
    [(418, 120, -1003), (429, 7, -1003), (451, -1, 0), (500, -1, -1000), (503, -1, -1000)],
)
async def test_http_status(
    exchange: LocalExchange, status: int, retry_after: int, code: int
) -> None:
    exchange.inject(Fault(kind=FaultKind.HTTP, status=status, retry_after=retry_after, count=2))
    await get_json(exchange, "/api/v3/ping")
    for _ in range(2):
        got, body, headers = await get(exchange, _DEPTH)
        assert (got, body["code"]) == (status, code)
        assert headers.get("Retry-After") == (str(retry_after) if retry_after >= 0 else None)
    await get_json(exchange, _DEPTH)
    assert exchange.fault_board.counts == {FaultKind.HTTP: 2}


async def test_http_status_of_another_path(exchange: LocalExchange) -> None:
    exchange.inject(Fault(kind=FaultKind.HTTP, status=451, path="exchangeInfo"))
    await get_json(exchange, _DEPTH)
    assert (await get(exchange, "/api/v3/exchangeInfo"))[0] == 451


@pytest.mark.parametrize("path", ["depth", "/api/v3/depth", "ticker/24hr", ""])
async def test_http_status_of_a_path_however_it_is_written(
    exchange: LocalExchange, path: str
) -> None:
    await get_json(exchange, f"/control/fault?kind=http&status=503&path={path}")
    asked = "/api/v3/ticker/24hr?symbol=BTCUSDT" if path.startswith("ticker") else _DEPTH
    assert (await get(exchange, asked))[0] == 503
    assert not exchange.fault_board.pending


@pytest.mark.parametrize("path", ["dept", "/depth", "/api/v3/klines", "/api/v4/depth"])
async def test_a_path_that_nobody_asks_for_is_refused(exchange: LocalExchange, path: str) -> None:
    status, body, _ = await get(exchange, f"/control/fault?kind=http&path={path}")
    assert status == 400
    assert "must be one of ping, time, exchangeInfo, depth, ticker/24hr" in body["msg"]
    assert not exchange.fault_board.pending
    with pytest.raises(ValueError, match="must be one of"):
        Fault(kind=FaultKind.HTTP, path=path)


async def test_every_path_that_can_fail_is_served(exchange: LocalExchange) -> None:
    for path in REST_PATHS:
        await get_json(exchange, f"{REST_PREFIX}{path}?symbol=BTCUSDT")


async def test_http_status_of_one_symbol_spares_the_others(exchange: LocalExchange) -> None:
    exchange.inject(Fault(kind=FaultKind.HTTP, symbol="ETHUSDT"))
    await get_json(exchange, _DEPTH)
    assert (await get(exchange, "/api/v3/depth?symbol=ETHUSDT"))[0] == 503


async def test_hang_never_answers(exchange: LocalExchange) -> None:
    exchange.inject(Fault(kind=FaultKind.HANG))
    hanging = asyncio.create_task(get_json(exchange, _DEPTH))
    while not exchange.fault_board.counts[FaultKind.HANG]:
        await asyncio.sleep(0.001)
    await get_json(exchange, _DEPTH)
    assert not hanging.done()
    hanging.cancel()
    await asyncio.wait([hanging])


async def test_delay(exchange: LocalExchange) -> None:
    exchange.inject(Fault(kind=FaultKind.DELAY, seconds=0.05))
    assert (await get_json(exchange, _DEPTH))["bids"]
    exchange.inject(Fault(kind=FaultKind.DELAY, seconds=60))
    late = asyncio.create_task(get_json(exchange, _DEPTH))
    while exchange.fault_board.counts[FaultKind.DELAY] < 2:
        await asyncio.sleep(0.001)
    await get_json(exchange, _DEPTH)
    assert not late.done()
    late.cancel()
    await asyncio.wait([late])


async def test_stale(exchange: LocalExchange, websocket: ClientConnection) -> None:
    exchange.inject(Fault(kind=FaultKind.STALE))
    stale = await get_json(exchange, _DEPTH)
    fresh = await get_json(exchange, _DEPTH)
    assert stale["lastUpdateId"] < fresh["lastUpdateId"]
    await next_diff(websocket)


async def test_faults_over_http(exchange: LocalExchange) -> None:
    target = "/control/fault?kind=http&status=503&count=2&symbol=BTCUSDT"
    ordered = await get_json(exchange, target)
    assert (ordered["kind"], ordered["status"], ordered["count"]) == ("http", 503, 2)
    assert (await get(exchange, _DEPTH))[0] == 503
    told = await get_json(exchange, "/control/faults")
    assert told["counts"] == {"http": 1}
    assert told["pending"][0]["left"] == 1
    assert told["log"][0]["detail"] == "depth: 503"
    status, body, _ = await get(exchange, "/control/fault?kind=earthquake")
    assert (status, "earthquake" in body["msg"]) == (400, True)
