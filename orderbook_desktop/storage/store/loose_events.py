"""Lists of loose events: stored events that belong to no segment. By these a loss is noticed.

Loose events came before the first snapshot, or during a gap, or again in another form. A document
of `loose_events` lists some of them: `market`, `first_id`, `last_id`, `count`, and `ids`, the
final update ids in order, as differences, in MessagePack compressed by zstd with a checksum. Once
they are archived, `archived` is true and `chunk` is the `_id` of their loose chunk. Events that a
segment has taken meanwhile are then no longer listed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate, pairwise
from typing import Final

import msgspec
from msgspec import Struct

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.timeline import LooseEnd
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument, pack, unpack
from orderbook_desktop.storage.store.schema import (
    DEPTH_CHUNKS,
    DEPTH_EVENTS,
    LOOSE_EVENTS,
    Document,
)

_ASKED_AT_ONCE: Final = 50
# The most bytes of an unpacked list: more than 450,000 ids, and less than 300 MB of memory.
_IDS_BYTES_AT_MOST: Final = 4 << 20
_decoder: Final = msgspec.msgpack.Decoder(list[int])


class LooseList(Struct, frozen=True):
    """Events that belong to no segment: their final ids, and their chunk once it is written."""

    id: str
    market: str
    ids: tuple[int, ...]
    archived: bool
    chunk: str | None


class LooseEvents:
    """The lists of loose events. All methods raise PyMongo's errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_up(self, market: str, ids: Iterable[int], key: str) -> None:
        """Write a list: the stored events `ids`, at least one, belong to no segment.

        Repeating is harmless.
        """
        fields = _listing(set(ids)) | {"market": market, "archived": False, "chunk": None}
        await self._database.collection(LOOSE_EVENTS).update_one(
            {"_id": key}, {"$setOnInsert": fields}, upsert=True
        )

    async def stored(self, keys: Collection[str]) -> set[str]:
        """Return which of the lists `keys` are stored."""
        query = {"_id": {"$in": list(keys)}}
        found = await self._database.collection(LOOSE_EVENTS).find(query, {"_id": 1}).to_list(None)
        return {document["_id"] for document in found}

    async def lists(self, market: str, *, waiting: bool = False) -> list[LooseList]:
        """Return the lists of `market`, or only those not archived. Raises `DamagedDocument`."""
        query: Document = {"market": market} | ({"archived": False} if waiting else {})
        found = await self._database.collection(LOOSE_EVENTS).find(query).to_list(None)
        return sorted(
            map(_list_of, found), key=lambda loose_list: (loose_list.ids[0], loose_list.id)
        )

    async def end_after(self, market: str, after_id: int) -> LooseEnd | None:
        """Return the last id and time of the loose events of `market` after `after_id`, if any.

        It unpacks no list, so it doesn't notice a damaged one; `lists` does.
        """
        query = {"market": market, "last_id": {"$gt": after_id}}
        fields = {"last_id": 1, "archived": 1, "chunk": 1}
        lists = await self._database.collection(LOOSE_EVENTS).find(query, fields).to_list(None)
        found = [document for document in lists if isinstance(document["last_id"], int)]
        archived = {
            chunk: document["last_id"]
            for document in found
            if isinstance(chunk := document.get("chunk"), str)
        }
        raw_id = max(
            (document["last_id"] for document in found if not document.get("archived")), default=0
        )
        ends = await self._ends_of(archived)
        if raw_id:
            ends += await self._raw_ends(market, after_id, raw_id)
        if not ends:
            return None
        return LooseEnd(max(end.last_id for end in ends), max(end.to_ms for end in ends))

    async def _ends_of(self, chunks: Mapping[str, int]) -> list[LooseEnd]:
        """Return the ends of loose chunks, whose last ids are known."""
        keys, ends = list(chunks), list[LooseEnd]()
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            query = {"_id": {"$in": keys[start : start + _ASKED_AT_ONCE]}}
            found = self._database.collection(DEPTH_CHUNKS).find(query, {"to_event_ms": 1})
            for document in await found.to_list(None):
                if isinstance(time := document.get("to_event_ms"), int):
                    ends.append(LooseEnd(chunks[document["_id"]], in_ms(time)))
        return ends

    async def _raw_ends(self, market: str, after_id: int, last_id: int) -> list[LooseEnd]:
        """Return ids and times of the raw events in a range of ids."""
        query = {"market": market, "u": {"$gt": after_id, "$lte": last_id}}
        fields = {"u": 1, "event_ms": 1}
        found = await self._database.collection(DEPTH_EVENTS).find(query, fields).to_list(None)
        times = ((document["u"], document.get("event_ms")) for document in found)
        return [LooseEnd(key, in_ms(time)) for key, time in times if isinstance(time, int)]

    async def waiting_markets(self) -> list[str]:
        """Return the markets that have loose events to be archived."""
        found = self._database.collection(LOOSE_EVENTS).find({"archived": False}, {"market": 1})
        return sorted(
            {document["market"] for document in await found.to_list(None) if "market" in document}
        )

    async def archived(
        self, loose_list: LooseList, ids: Collection[int], chunk: str | None
    ) -> bool:
        """Store that the events `ids` of a list are archived in `chunk`.

        The other events of the list are in a segment now, so they are removed from it. Return
        false if another process has already archived the list.
        """
        lists = self._database.collection(LOOSE_EVENTS)
        waiting = {"_id": loose_list.id, "archived": False}
        if not ids:
            return bool((await lists.delete_one(waiting)).deleted_count)
        fields = _listing(ids) | {"archived": True, "chunk": chunk}
        return bool((await lists.update_one(waiting, {"$set": fields})).matched_count)


async def missing_loose(
    database: Database, market: str, known: Collection[int] = frozenset()
) -> list[int]:
    """Return the final ids of listed loose events of `market` that are not stored any more.

    The ids in `known` need no check. Decodes only the chunks that it needs. Raises
    `DamagedDocument`, `DamagedChunk` and PyMongo's errors.
    """
    listed: set[int] = set()
    for loose_list in await LooseEvents(database).lists(market):
        listed.update(loose_list.ids)
    listed.difference_update(known)
    store = ChunkStore(database)
    for key in await store.loose_keys(market) if listed else ():
        chunk = await store.get_loose(key)
        if chunk is not None:
            listed.difference_update(decode_chunk(chunk).numbers.final_ids.tolist())
    listed -= await stored_ids(database, market, listed)
    if listed:
        listed -= await archived_ids(database, market, listed)
    return sorted(listed)


async def stored_ids(database: Database, market: str, ids: Collection[int]) -> set[int]:
    """Return which of `ids` are final ids of raw events."""
    events = database.collection(DEPTH_EVENTS)
    ordered = sorted(ids)
    found: set[int] = set()
    for start in range(0, len(ordered), _ASKED_AT_ONCE):
        query = {"market": market, "u": {"$in": ordered[start : start + _ASKED_AT_ONCE]}}
        found.update(event["u"] for event in await events.find(query, {"u": 1}).to_list(None))
    return found


async def archived_ids(database: Database, market: str, ids: Collection[int]) -> set[int]:
    """Return which of `ids` are final ids of events in the archive of a segment."""
    store = ChunkStore(database)
    found: set[int] = set()
    for segment_id, start_id in await store.holding(market, ids):
        chunk = await store.get(segment_id, start_id)
        if chunk is not None:
            found.update(decode_chunk(chunk).numbers.final_ids.tolist())
    return found.intersection(ids)


def _listing(ids: Collection[int]) -> Document:
    # Plain integers: the database returns integers of its own type.
    ordered = sorted(map(int, ids))
    steps = [ordered[0], *(after - before for before, after in pairwise(ordered))]
    return {
        "first_id": ordered[0],
        "last_id": ordered[-1],
        "count": len(ordered),
        "ids": pack(msgspec.msgpack.encode(steps)),
    }


def _list_of(document: Document) -> LooseList:
    try:
        steps = _decoder.decode(unpack(document["ids"], _IDS_BYTES_AT_MOST))
        ids = tuple(accumulate(steps))
        market, archived, chunk = (document[name] for name in ("market", "archived", "chunk"))
    except (KeyError, TypeError, ValueError, msgspec.DecodeError) as error:
        raise DamagedDocument(f"{type(error).__name__}: {error}") from error
    fields = (document.get("count"), document.get("first_id"), document.get("last_id"))
    is_in_order = all(step > 0 for step in steps[1:])
    if not ids or not is_in_order or fields != (len(ids), ids[0], ids[-1]):
        raise DamagedDocument("a list of loose events contradicts itself")
    return LooseList(document["_id"], market, ids, archived, chunk)
