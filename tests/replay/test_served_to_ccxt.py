"""ccxt's own order-book code follows a served recording, and ends in the true book."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from ccxt.base.errors import NetworkError
from ccxt.pro.binance import binance

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.exchange.local import LocalExchange
from orderbook_desktop.replay.served import Play, RecordedSource, serve_recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from tests.core.reference_book import pairs_of
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf, Shelved

_LEVELS = 5000


@asynccontextmanager
async def _ccxt(exchange: LocalExchange) -> AsyncIterator[Any]:
    client = binance({"options": {"fetchMarkets": {"types": ["spot"]}}})
    client.has["fetchCurrencies"] = False
    client.urls["api"]["public"] = f"{exchange.rest_url}/api/v3"
    client.urls["api"]["ws"]["spot"] = f"{exchange.ws_url}/ws"
    try:
        yield client
    finally:
        await client.close()


async def _followed(client: Any, until: int) -> tuple[Any, int]:
    """The book at an update id, and how often the connection was lost before."""
    lost = 0
    while True:
        try:
            book = await client.watch_order_book("BTC/USDT", _LEVELS)
        except NetworkError:
            lost += 1
            continue
        if book["nonce"] == until:
            return book, lost


def _is_true(book: Any, shelved: Shelved) -> bool:
    true = shelved.book_after(len(shelved.events) - 1)
    found = [
        [(Decimal(str(price)), Decimal(str(size))) for price, size in book[side]]
        for side in ("bids", "asks")
    ]
    return found == [pairs_of(true.bids), pairs_of(true.asks)]


@pytest.mark.parametrize("has_gap", [False, True])
async def test_ccxt_ends_in_the_true_book(database: Database, has_gap: bool) -> None:
    tape = Tape()
    shelved = await Shelf(database).put(tape, 60, GapCause.DISCONNECT)
    if has_gap:
        tape.now_ms += 3_600_000
        tape.diffs(5)
        shelved = await Shelf(database).put(tape, 40, GapCause.USER)
    play = Play(speed=100.0, delay_s=0.2, skips_gaps=True)
    gaps: list[Gap] = []
    source = RecordedSource(DatabaseStore(database), tape.market, play, gaps.append)
    async with (
        asyncio.timeout(120),
        serve_recording(source, "127.0.0.1", 0, stays=True) as exchange,
        _ccxt(exchange) as client,
    ):
        book, lost = await _followed(client, shelved.last_id)
    assert _is_true(book, shelved)
    assert (lost > 0) is has_gap
    assert len(gaps) == has_gap
