"""A small client for the tests: real sockets, plain JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from orderbook_desktop.exchange.local import LocalExchange

from .true_book import TrueBook


class Served(Protocol):
    """An exchange that is served at an address, on this event loop or in another thread."""

    @property
    def rest_url(self) -> str: ...


async def get(exchange: Served, target: str) -> tuple[int, Any, dict[str, str]]:
    """Return status, decoded JSON and headers of a GET request."""
    async with aiohttp.ClientSession() as session, session.get(exchange.rest_url + target) as got:
        return got.status, await got.json(), dict(got.headers)


async def get_json(exchange: Served, target: str) -> Any:
    """Return the JSON of a GET request that must succeed."""
    status, body, _ = await get(exchange, target)
    assert status == 200, body
    return body


@asynccontextmanager
async def streams(exchange: LocalExchange, target: str) -> AsyncIterator[ClientConnection]:
    """Open a websocket at `target`."""
    # Unbounded queue: a test that reads no further can still close at once.
    url = exchange.ws_url + target
    async with connect(url, compression=None, max_size=None, max_queue=None) as websocket:
        yield websocket


async def next_json(websocket: ClientConnection) -> Any:
    """Return the next message."""
    async with asyncio.timeout(60):
        return json.loads(await websocket.recv())


async def next_diff(websocket: ClientConnection) -> dict[str, Any]:
    """Return the next `depthUpdate` object of a raw or combined stream."""
    while True:
        message = await next_json(websocket)
        event: dict[str, Any] = message.get("data", message)
        if event.get("e") == "depthUpdate":
            return event


async def until_closed(websocket: ClientConnection) -> tuple[list[Any], int | None]:
    """Return all further messages, and the close code (None if there was no goodbye)."""
    messages = []
    try:
        while True:
            messages.append(await next_json(websocket))
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code if closed.rcvd else None


async def follow(
    exchange: LocalExchange, websocket: ClientConnection, market: str, until: int
) -> TrueBook:
    """Return a book kept by the rules, once it has applied `until` events."""
    first = await next_diff(websocket)
    book = TrueBook(await get_json(exchange, f"/api/v3/depth?symbol={market}&limit=5000"))
    book.apply(first)
    applied = 0
    while applied < until:
        applied += book.apply(await next_diff(websocket))
    return book
