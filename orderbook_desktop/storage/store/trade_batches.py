"""Writes batches of trades, compares those that are stored already, and removes archived ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Self

from msgspec import Struct

from orderbook_desktop.core.trades import Trade, is_same_trade
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_writer import known_indices
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import TRADE_EVENTS, Document
from orderbook_desktop.storage.store.trade_documents import batch_document, trades_of

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

# SecantusDB takes a time that grows with the square of the number of ids in a query.
_ASKED_AT_ONCE: Final = 50
_REMOVED_AT_ONCE: Final = 100
_PAUSE_S: Final = 0.005


class TradeConflict(DatabaseError):
    """The trade `trade_id` of `market` is stored already, and was another one."""

    market: str
    trade_id: int

    def __str__(self) -> str:
        return (
            f"The trade {self.trade_id} of {self.market} is stored already with different content, "
            "so these trades are of another exchange, or of one that was restarted; choose another "
            "DB_NAME for them."
        )


def contradiction(known: Iterable[Trade], trades: Mapping[int, Trade]) -> TradeConflict | None:
    """Return the first contradiction between stored trades and `trades`, by their ids."""
    for stored in known:
        trade = trades.get(stored.trade_id)
        if trade is not None and not is_same_trade(stored, trade):
            return TradeConflict(trade.market, trade.trade_id)
    return None


class NewBatch(Struct, frozen=True, eq=False):
    """Trades of one market in a row, at most `TRADES_A_BATCH`, ready to be stored."""

    trades: Sequence[Trade]
    document: Document

    @classmethod
    def of(cls, trades: Sequence[Trade]) -> Self:
        """Return the batch of `trades`."""
        return cls(trades, batch_document(trades))

    @property
    def key(self) -> str:
        """The `_id` of its document."""
        return str(self.document["_id"])

    @property
    def size(self) -> int:
        """The size of its payload as it is stored, in bytes."""
        return len(self.document["payload"])

    def contradicted_by(self, document: Document) -> TradeConflict | None:
        """Return how a stored batch with the same ids contradicts this one, if it does."""
        try:
            stored = trades_of(document)
        except DamagedDocument:
            return TradeConflict(self.trades[0].market, self.trades[0].trade_id)
        return contradiction(stored, {trade.trade_id: trade for trade in self.trades})


class TradeBatches:
    """The batches of `database`. All methods raise PyMongo's errors; repeating is harmless."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _events(self) -> AsyncIOMotorCollection[Document]:
        return self._database.collection(TRADE_EVENTS)

    async def insert(self, batches: Sequence[NewBatch]) -> dict[NewBatch, TradeConflict | None]:
        """Write `batches`; return those that another program has stored before.

        Each of these with its contradiction to what is stored, if there is one. When it raises, any
        part of the batches may be written.
        """
        from pymongo.errors import BulkWriteError  # noqa: PLC0415 (see storage.store.database)

        if not batches:
            return {}
        try:
            documents = [batch.document for batch in batches]
            # Unordered: a batch that is stored already doesn't stop the ones after it.
            await self._events.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            known = [batches[index] for index in known_indices(error)]
            stored = await self._get([batch.key for batch in known])
            if any(batch.key not in stored for batch in known):
                # It is not visible yet, or was removed meanwhile, so it is not acknowledged.
                raise
            # A batch that is the same in each field is our own: its acknowledgement was lost.
            return {
                batch: batch.contradicted_by(stored[batch.key])
                for batch in known
                if stored[batch.key] != batch.document
            }
        return {}

    async def _get(self, keys: Sequence[str]) -> dict[str, Document]:
        found: list[Document] = []
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            query = {"_id": {"$in": list(keys[start : start + _ASKED_AT_ONCE])}}
            found += await self._events.find(query).to_list(None)
        return {document["_id"]: document for document in found}

    async def stored(self, keys: Sequence[str]) -> set[str]:
        """Return which of the batches `keys` are stored."""
        found: set[str] = set()
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            query = {"_id": {"$in": list(keys[start : start + _ASKED_AT_ONCE])}}
            documents = await self._events.find(query, {"_id": 1}).to_list(None)
            found.update(document["_id"] for document in documents)
        return found

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove batches."""
        for start in range(0, len(keys), _REMOVED_AT_ONCE):
            some = list(keys[start : start + _REMOVED_AT_ONCE])
            await self._events.delete_many({"_id": {"$in": some}})
            await asyncio.sleep(_PAUSE_S)
