"""Chunks of trades as documents of `trade_chunks`: written once, proven by reading them back.

`_id`                     MARKET:trade:FIRST_ID:LAST_ID
`market`, `first_id`, `last_id`
`from_time`, `to_time`    the earliest and the latest time of its trades (ms)
`repaired`                how many of them were asked for afterwards
`schema_version`          of the packed chunk
`data`                    the packed chunk, with its checksum (`storage.store.packing`)
`sum`                     the seal of all these; of `data` it covers the checksum

A chunk is never replaced. Two archivers that see different batches write different chunks: these
overlap, and readers take each trade once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from orderbook_desktop.core.archive.trades import (
    DecodedTrades,
    TradeChunk,
    decode_trades,
    encode_trades,
)
from orderbook_desktop.core.errors import BugError, DamagedChunk
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.chunks import ChunkNotKept
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import (
    CHECKSUM_BYTES,
    opened_bytes,
    packed_bytes,
    with_columns_unpacked,
)
from orderbook_desktop.storage.store.schema import TRADE_CHUNKS, Document
from orderbook_desktop.storage.store.sealing import SEAL, is_sealed, sealed
from orderbook_desktop.storage.store.trade_documents import batch_key

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

TRADES_A_CHUNK: Final = 5_000
"""No chunk has more trades, so a query for those that may hold an id is bounded on both sides."""

_decoder: Final = msgspec.msgpack.Decoder(TradeChunk)
_FIELDS: Final = frozenset(
    {
        *("_id", "market", "first_id", "last_id", "from_time", "to_time", "repaired"),
        *("schema_version", "data", SEAL),
    }
)


class UnprovenTrades(DatabaseError):
    """A chunk of trades of `market` from `first_id` on doesn't decode to these."""

    market: str
    first_id: int

    def __str__(self) -> str:
        return (
            f"The trades of {self.market} can't be archived from id {self.first_id} on: the "
            "encoded ones differ from the recorded ones; they stay as they are."
        )


class TradeChunks:
    """Writes chunks of trades to `database`. Its methods raise PyMongo's errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _chunks(self) -> AsyncIOMotorCollection[Document]:
        return self._database.collection(TRADE_CHUNKS)

    async def put(self, trades: Sequence[Trade]) -> int:
        """Write a proven chunk of `trades`, read it back and compare it; return its size in bytes.

        Repeating is harmless. Raises `UnprovenTrades`, `ChunkNotKept`, and `InexactValue` if no
        scale holds all the trades.
        """
        document = await asyncio.to_thread(proven_document, trades)
        await self.put_document(document)
        return len(document["data"])

    async def put_document(self, document: Document) -> None:
        """Write a chunk, and read it back. Raises `ChunkNotKept`."""
        from pymongo.errors import DuplicateKeyError  # noqa: PLC0415 (see storage.store.database)

        key = document["_id"]
        try:
            await self._chunks.insert_one(dict(document))
        except DuplicateKeyError:
            # Of an archiver that was killed, or that works at the same time.
            if await self._is_alike(document):
                return
        if await self._chunks.find_one({"_id": key}) != document:
            raise ChunkNotKept(key)

    async def _is_alike(self, document: Document) -> bool:
        """Whether the stored chunk with the same ids has the same trades."""
        stored = await self._chunks.find_one({"_id": document["_id"]})
        if stored is None:
            return False

        def payloads() -> bool:
            one, other = chunk_of(stored), chunk_of(document)
            return one.payloads() == other.payloads()

        try:
            return stored == document or await asyncio.to_thread(payloads)
        except DamagedChunk:
            return False


def proven_document(trades: Sequence[Trade]) -> Document:
    """Return the document of a chunk of `trades`, proven by decoding it. Raises as `put` does."""
    if len(trades) > TRADES_A_CHUNK:
        raise BugError(f"{len(trades)} trades are no chunk")
    chunk = encode_trades(trades)
    document = _document(packed_bytes(chunk), decode_trades(chunk))
    if chunk_of(document).trades() != list(trades):
        raise UnprovenTrades(trades[0].market, trades[0].trade_id)
    return document


def chunk_of(document: Document) -> DecodedTrades:
    """Return the trades of a chunk. Raises `DamagedChunk` if any field differs."""
    data = document.get("data")
    if type(data) is not bytes or document.keys() != _FIELDS:
        raise DamagedChunk("a field of its document is missing, or unknown")
    if not is_sealed(_sealed_fields(document)):
        raise DamagedChunk("the checksum of its document does not match")
    decoded = decode_trades(with_columns_unpacked(opened_bytes(data, _decoder)))
    for name, value in _found_by(decoded).items():
        if document[name] != value or type(document[name]) is bool:
            raise DamagedChunk(f"its {name} is not that of its contents")
    return decoded


def _document(data: bytes, decoded: DecodedTrades) -> Document:
    document = {**_found_by(decoded), "data": data}
    return document | {SEAL: sealed(_sealed_fields(document))[SEAL]}


def _sealed_fields(document: Document) -> Document:
    return document | {"data": document["data"][:CHECKSUM_BYTES]}


def _found_by(decoded: DecodedTrades) -> dict[str, Any]:
    header = decoded.header
    last_id = header.first_id + header.count - 1
    return {
        "_id": batch_key(header.market, header.first_id, last_id),
        "market": header.market,
        "first_id": header.first_id,
        "last_id": last_id,
        "from_time": header.least_ms,
        "to_time": header.greatest_ms,
        "repaired": int(decoded.arrays.repaired.sum()),
        "schema_version": header.schema_version,
    }
