"""A played market, and what a client of its exchange sees of it, which is the truth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from websockets.asyncio.client import ClientConnection

from orderbook_desktop.exchange.local import CaptureSource, LocalExchange
from orderbook_desktop.system.tasks import end_tasks
from tests.exchange.local.client import get_json, streams
from tests.exchange.local.true_book import TrueBook

MARKET = "BTCUSDT"
SYMBOL = "BTC/USDT"
_TRADES_KEPT = 2_000_000


class Wire:
    """What was sent: each event by its final id, and each of `trades` by its id.

    It has the true book at any event, in order.
    """

    def __init__(self, book: TrueBook) -> None:
        self.payloads: dict[int, bytes] = {}
        self.trades: dict[int, bytes] = {}
        self._book = book

    async def listen(self, websocket: ClientConnection) -> None:
        """Note everything, for ever."""
        async for message in websocket:
            payload = message if isinstance(message, bytes) else message.encode()
            event = json.loads(payload)
            if event["e"] == "aggTrade":
                self.trades[event["a"]] = payload
            else:
                self.payloads[event["u"]] = payload

    def book_at(self, update_id: int) -> TrueBook:
        """Return the true book; ids may only rise from call to call."""
        for final_id in sorted(self.payloads):
            if self._book.last_update_id < final_id <= update_id:
                self._book.apply(json.loads(self.payloads[final_id]))
        return self._book


@asynccontextmanager
async def played_market(
    capture: Path, speed: float, *, loop: bool = True
) -> AsyncIterator[tuple[LocalExchange, CaptureSource, Wire]]:
    """Play `capture`, over and over."""
    source = CaptureSource(capture, speed=speed, loop=loop)
    name = MARKET.lower()
    both = f"/ws/{name}@depth@100ms/{name}@aggTrade"
    # A recorder that comes back asks for all trades since its first ones.
    exchange = LocalExchange(source, trades_kept=_TRADES_KEPT)
    async with exchange, streams(exchange, both) as websocket:
        snapshot = await get_json(exchange, f"/api/v3/depth?symbol={MARKET}&limit=5000")
        wire = Wire(TrueBook(snapshot))
        listening = asyncio.create_task(wire.listen(websocket))
        try:
            yield exchange, source, wire
        finally:
            await end_tasks(listening)


def variables_of(exchange: LocalExchange) -> dict[str, str]:
    """Return the environment that leads the program to `exchange`."""
    return {"ORDERBOOK_REST_URL": exchange.rest_url, "ORDERBOOK_WS_URL": exchange.ws_url}
