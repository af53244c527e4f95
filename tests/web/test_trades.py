"""Trades as programs get them: the newest ones, older ones page by page, and as they come."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orderbook_desktop.core.library import NotOffered
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.web.api import TradesAnswer
from orderbook_desktop.web.server import WebServer
from orderbook_desktop.web.trades import FIRST_TRADES, TRADES_AT_ONCE, trades_message
from tests.web.hand_library import HandLibrary, made_trade
from tests.web.reader import Viewer, watching


async def _trades(client: httpx.AsyncClient, query: str = "") -> Any:
    answer = await client.get(f"/api/trades?symbol=BTC/USDT{query}")
    assert answer.status_code == 200, answer.text
    TradesAnswer.model_validate(answer.json())
    return answer.json()["trades"]


def _ids(trades: list[dict[str, Any]]) -> list[int]:
    return [trade["id"] for trade in trades]


async def test_a_trade_is_as_documented(client: httpx.AsyncClient, library: HandLibrary) -> None:
    library.btc.trade(7, "100.01000000", "0.12345678", is_sold=True)
    answer = await client.get("/api/trades?symbol=btcusdt")
    assert answer.json() == {
        "symbol": "BTC/USDT",
        "trades": [
            {
                "id": 7,
                "time": 1_700_000_000_007,
                "price": "100.01000000",
                "quantity": "0.12345678",
                "side": "sell",
            }
        ],
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_where_trades_are_not_followed_there_are_none(client: httpx.AsyncClient) -> None:
    assert await _trades(client) == []


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("&limit=3", range(109, 112)),
        ("&limit=20", range(92, 112)),
        ("&limit=5&before=105", range(100, 105)),
        ("&limit=5&before=102", range(97, 102)),
        ("&limit=5&before=50", range(45, 50)),
        ("&before=0", ()),
    ],
)
async def test_the_tape_goes_on_in_the_recording(
    client: httpx.AsyncClient, library: HandLibrary, query: str, ids: range
) -> None:
    library.trades.end = 100
    for trade_id in range(100, 112):
        library.btc.trade(trade_id, "100.01", "1")
    assert _ids(await _trades(client, query)) == list(ids)


async def test_what_the_tape_lacks_comes_from_the_recording(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    library.trades.end = 111
    for trade_id in (100, 101, 102, 106, 107, 111):
        library.btc.trade(trade_id, "100.01", "1")
    assert _ids(await _trades(client, "&limit=6")) == list(range(106, 112))
    library.trades.end = 104
    assert _ids(await _trades(client, "&limit=5")) == [102, 103, 106, 107, 111]


async def test_where_the_recording_cannot_be_read_the_answer_says_so(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    library.btc.trade(7, "100.01", "1")
    library.trades.problem = NotOffered("X", "the database is away")
    answer = await client.get("/api/trades?symbol=BTC/USDT")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "X cannot be shown: the database is away."
    assert _ids(await _trades(client, "&limit=1")) == [7]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "before=-1", "before=x", "symbol=X/Y"])
async def test_a_wrong_request_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/api/trades?{query}")
    assert answer.status_code in (404, 422)
    assert answer.json()["detail"]


async def test_a_stream_begins_with_the_newest_trades_and_has_each_later_one_once(
    server: WebServer, library: HandLibrary
) -> None:
    for trade_id in range(60):
        library.btc.trade(trade_id, "100.01", "1")
    async with watching(server.port, "/stream?symbol=BTC/USDT") as viewer:
        first = await viewer.trades()
        assert _ids(first["trades"]) == list(range(60 - FIRST_TRADES, 60))
        assert (first["symbol"], first["lastPrice"], first["direction"]) == (
            *("BTC/USDT", "100.01", "none"),
        )
        library.btc.trade(60, "100.02", "1")
        assert await _until(viewer, 60) == [60]
        for trade_id in (61, 62, 63):
            library.btc.trade(trade_id, "99", "2", is_sold=True)
        assert await _until(viewer, 63) == [61, 62, 63]


async def _until(viewer: Viewer, last_id: int) -> list[int]:
    """Return the ids that come until `last_id` has come."""
    ids: list[int] = []
    while last_id not in ids:
        ids += _ids((await viewer.trades())["trades"])
    return ids


async def test_a_viewer_that_comes_back_gets_what_it_missed(
    server: WebServer, library: HandLibrary
) -> None:
    library.btc.trade(1, "100.01", "1")
    async with watching(server.port, "/stream?symbol=BTC/USDT") as viewer:
        await viewer.trades()
        while not (event := await viewer.event()).id:
            pass
        library.btc.trade(2, "100.01", "1")
        assert await _until(viewer, 2) == [2]
        async with watching(
            server.port, "/stream?symbol=BTC/USDT", Last_Event_ID=event.id
        ) as returned:
            assert await _until(returned, 2) == [2]


async def test_the_stream_of_books_has_no_trades_in_it(
    server: WebServer, library: HandLibrary
) -> None:
    async with watching(server.port, "/stream?symbol=BTC/USDT") as viewer:
        assert (await viewer.message())["kind"] == "book"
        library.btc.trade(1, "100.01", "1")
        # A reader that knows the old events only still follows the numbers of the moments.
        assert (await viewer.message())["kind"] in ("diff", "beat")


def test_a_burst_is_cut_and_says_how_much_is_left_out() -> None:
    tape = Tape("BTCUSDT")
    for trade_id in range(TRADES_AT_ONCE + 7):
        tape.add(made_trade("BTCUSDT", trade_id, "5", "1"))
    message = trades_message("run", "BTC/USDT", tape, tape.newest(10_000))
    assert (message.left_out, message.trades[0].id) == (7, 7)
