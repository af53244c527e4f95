"""Witnesses: snapshots of the exchange with which a recording is compared.

A document of `witnesses` has `_id`, which is `MARKET:UPDATE_ID`, `market`, `update_id`, `taken_ms`
(our time), `received_ns` (when it was received; 0 if unknown), `depth` (the most levels of a side),
`known` (its own horizon; None if only its depth tells),
`segment` (the one that was recorded then), `horizon` (of its book), `joined_id` (the update id of
the running book that it was joined to; None if it was not joined), and `payload`, compressed like
the one of checkpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import decode_snapshot
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.horizons import horizon_document, horizon_of
from orderbook_desktop.storage.store.packing import DamagedDocument, pack, unpack
from orderbook_desktop.storage.store.schema import WITNESSES, Document
from orderbook_desktop.storage.store.sealing import canonical_bytes, is_sealed, sealed

# The most digits of an update id in 64 bits.
_ID_DIGITS: Final = 19
# SecantusDB takes a time that grows with the square of the number of keys in a query.
_AT_ONCE: Final = 50


class StoredWitness(Struct, frozen=True):
    """A witness as it is stored, `size` bytes of it.

    `unpack` returns the witness, and raises `DamagedDocument`. It is slow, so call it in a thread.
    `record` returns its document as canonical bytes, and raises the same.
    """

    size: int
    unpack: Callable[[], Witness]
    record: Callable[[], bytes]


class Witnesses:
    """The witnesses in `database`. All methods raise PyMongo's errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, witness: Witness) -> None:
        """Store `witness`, unless one with the same update id is stored already.

        One that was joined to a book takes the place of one that was not. Repeating is harmless.
        """
        await self._put(await asyncio.to_thread(_document, witness))

    async def _put(self, document: Document) -> None:
        fields = {name: value for name, value in document.items() if name != "_id"}
        witnesses, key = self._database.collection(WITNESSES), {"_id": document["_id"]}
        stored = await witnesses.update_one(key, {"$setOnInsert": fields}, upsert=True)
        if stored.matched_count and document["joined_id"] is not None:
            await witnesses.replace_one({**key, "joined_id": None}, document)

    async def put_record(self, record: bytes) -> None:
        """Store the witness of a `StoredWitness.record`, as `put` does. Repeating is harmless."""
        await self._put(msgspec.msgpack.decode(record))

    async def keys(self, market: str) -> list[tuple[int, str]]:
        """Return update id and `_id` of the witnesses of `market`, damaged ones too, in order."""
        collection = self._database.collection(WITNESSES)
        # By both fields, since either may be damaged.
        by_id = {"_id": {"$gte": f"{market}:", "$lt": f"{market};"}}
        found = {
            document["_id"]: document
            for query in ({"market": market}, by_id)
            for document in await collection.find(query, {"update_id": 1}).to_list(None)
        }
        for key in found:
            if not isinstance(key, str):
                raise DamagedDocument(f"witness {key!r:.40}: its id is no text")
        return sorted((_update_id(document), key) for key, document in found.items())

    async def joined(self, market: str, first_id: int, last_id: int) -> list[tuple[int, str]]:
        """Return update id of the book and `_id` of each that was joined to a book, in order.

        The books are as of `first_id` to `last_id`.
        """
        query = {"market": market, "joined_id": {"$gte": first_id, "$lte": last_id}}
        fields = {"joined_id": 1}
        found = await self._database.collection(WITNESSES).find(query, fields).to_list(None)
        return sorted((document["joined_id"], str(document["_id"])) for document in found)

    async def drop(self, market: str, *, before_id: int | None = None) -> None:
        """Delete the witnesses of `market` with update ids below `before_id`; None: all of them."""
        query: Document = {"market": market}
        if before_id is not None:
            query["update_id"] = {"$gte": 0, "$lt": before_id}
        await self._database.collection(WITNESSES).delete_many(query)

    async def drop_some(self, keys: Sequence[str]) -> None:
        """Delete the witnesses with these keys."""
        for start in range(0, len(keys), _AT_ONCE):
            query = {"_id": {"$in": list(keys[start : start + _AT_ONCE])}}
            await self._database.collection(WITNESSES).delete_many(query)

    async def stored(self, keys: Sequence[str]) -> set[str]:
        """Return which of these witnesses are stored."""
        found: set[str] = set()
        for start in range(0, len(keys), _AT_ONCE):
            query = {"_id": {"$in": list(keys[start : start + _AT_ONCE])}}
            some = self._database.collection(WITNESSES).find(query, {"_id": 1})
            found.update(document["_id"] for document in await some.to_list(None))
        return found

    async def some(self, keys: Sequence[str]) -> dict[str, StoredWitness]:
        """Return by `_id` those witnesses that are stored. Ask for 50 at most."""
        query = {"_id": {"$in": list(keys)}}
        found = await self._database.collection(WITNESSES).find(query).to_list(None)
        return {document["_id"]: stored_witness(document) for document in found}


def stored_witness(document: Document) -> StoredWitness:
    """Return the witness that `document` stores, not unpacked yet."""
    payload = document.get("payload")
    size = len(payload) if isinstance(payload, bytes) else 0
    return StoredWitness(size, partial(_witness, document), partial(_record, document))


def _document(witness: Witness) -> Document:
    snapshot = witness.snapshot
    return sealed(
        {
            "_id": f"{snapshot.market}:{snapshot.last_update_id}",
            "market": snapshot.market,
            "update_id": snapshot.last_update_id,
            "taken_ms": witness.taken_ms,
            "received_ns": snapshot.received_ns,
            "depth": witness.depth,
            "known": horizon_document(snapshot.horizon),
            "segment": witness.segment_id,
            "horizon": horizon_document(witness.horizon),
            "joined_id": witness.joined_id,
            "payload": pack(snapshot.payload),
        }
    )


def _record(document: Document) -> bytes:
    if not is_sealed(document):
        raise DamagedDocument("the checksum of a witness does not match")
    return canonical_bytes(document)


def _witness(document: Document) -> Witness:
    try:
        if not is_sealed(document):
            raise DamagedDocument("the checksum of a witness does not match")
        snapshot = decode_snapshot(
            unpack(document["payload"]),
            document["market"],
            received_ns=int(document["received_ns"]),
        )
        horizon, known = horizon_of(document["horizon"]), horizon_of(document["known"])
        depth, taken_ms, joined_id = (document[name] for name in ("depth", "taken_ms", "joined_id"))
        snapshot = msgspec.structs.replace(snapshot, horizon=known)
        return Witness(snapshot, depth, taken_ms, document["segment"], horizon, joined_id)
    except (KeyError, TypeError, ValueError, MalformedMessage) as error:
        raise DamagedDocument(f"witness {document['_id']}: {error}") from error


def _update_id(document: Document) -> int:
    """Return the update id in the document's `_id`; if that is damaged, the one in its field."""
    digits, update_id = str(document["_id"]).rpartition(":")[2], document.get("update_id")
    if digits.isdecimal() and len(digits) <= _ID_DIGITS:
        return int(digits)
    return update_id if isinstance(update_id, int) else 0
