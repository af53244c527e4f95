"""Chunks of trades in a database: proven, written once, and every changed field is noticed."""

from __future__ import annotations

import random
from typing import Any

import pytest

from orderbook_desktop.core.errors import BugError, DamagedChunk
from orderbook_desktop.storage.store.chunks import ChunkNotKept
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.sealing import SEAL, checksum
from orderbook_desktop.storage.store.trade_chunks import (
    TRADES_A_CHUNK,
    TradeChunks,
    chunk_of,
    proven_document,
)
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from tests.storage.made_trades import asked, received, sent


async def test_a_chunk_comes_back_byte_for_byte(database: Database) -> None:
    trades = [
        *sent(range(1, 900), random.Random(1)),
        asked(900, q="00.5"),
        received(901, 5, x="é"),
        asked(902),
    ]
    size = await TradeChunks(database).put(trades)
    (part,) = await DatabaseTrades(database).parts("BTCUSDT", 900, 900)
    (decoded,) = part.unpack()
    assert decoded.trades() == trades
    assert (part.key, part.size) == ("BTCUSDT:trade:1:902", size)
    assert (part.first_id, part.last_id, part.is_archived) == (1, 902, True)
    assert (part.from_ms, part.to_ms) == (trades[0].event_ms, trades[-1].event_ms)
    (document,) = await database.collection("trade_chunks").find().to_list(None)
    assert document["repaired"] == 2


async def test_a_chunk_is_never_replaced(database: Database) -> None:
    chunks, stored = TradeChunks(database), database.collection("trade_chunks")
    await chunks.put(sent(range(1, 5)))
    (before,) = await stored.find().to_list(None)
    await chunks.put(sent(range(1, 5)))
    # Another recorder received the same trades at other times.
    await chunks.put([received(trade_id, 77) for trade_id in range(1, 5)])
    assert await stored.find().to_list(None) == [before]
    with pytest.raises(ChunkNotKept):
        await chunks.put([received(trade_id, q="5.00000000") for trade_id in range(1, 5)])
    await stored.update_one({}, {"$set": {"repaired": 1}})
    with pytest.raises(ChunkNotKept):
        await chunks.put(sent(range(1, 5)))


def test_more_trades_than_fit_are_a_bug() -> None:
    with pytest.raises(BugError):
        proven_document(sent(range(TRADES_A_CHUNK + 1)))


@pytest.mark.parametrize(
    "change",
    [
        {"_id": "BTCUSDT:trade:1:5"},
        {"market": "ETHUSDT"},
        {"first_id": 2},
        {"last_id": 5},
        {"from_time": 0},
        {"to_time": 0},
        {"repaired": False},
        {"schema_version": True},
        {"extra": 1},
        {"data": "text"},
        {"data": b"0" * 40},
    ],
)
@pytest.mark.parametrize("is_sealed_again", [True, False])
def test_a_changed_field_is_noticed(change: dict[str, Any], is_sealed_again: bool) -> None:
    document = proven_document(sent(range(1, 5))) | change
    if is_sealed_again:
        del document[SEAL]
        document[SEAL] = checksum(document | {"data": document["data"][:16]})
    with pytest.raises(DamagedChunk):
        chunk_of(document)
