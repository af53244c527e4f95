"""Brings a database of an earlier schema up to date. A kill at any point does no harm.

First the schema's document gets the new version, and `migrating`, the version before: from then on
no earlier program begins to record here, and a kill leaves word of what is to be done. Then every
document of the earlier schema is written anew. A document that is written anew in place changes
only if it is still the earlier one; one that gets another `_id` is written before the earlier one
goes. So each step may be repeated, also by several processes at once. In the end `migrating` goes.

A document whose earlier checksum does not match is written anew with a seal that does not match:
the damage is still found. A document that can't be understood stays as it is, and is found so.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.core.archive.chunk import MILLISECONDS
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import answered, decode_snapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.streams import DEPTH
from orderbook_desktop.storage.errors import OlderRecorder
from orderbook_desktop.storage.store.event_documents import event_key, packed_payload
from orderbook_desktop.storage.store.horizons import Ends, horizon_document
from orderbook_desktop.storage.store.owner import is_live
from orderbook_desktop.storage.store.packing import CHECKSUM_BYTES, chunk_key, unpack, unpack_chunk
from orderbook_desktop.storage.store.schema import (
    CHECKPOINTS,
    DEPTH_CHUNKS,
    DEPTH_EVENTS,
    IMPORT,
    LEASES,
    META,
    RECORDER,
    SCHEMA_VERSION,
    SEGMENTS,
    WITNESSES,
    Document,
    create_indexes,
    stored_version,
)
from orderbook_desktop.storage.store.sealing import SEAL, checksum, is_sealed, sealed
from orderbook_desktop.storage.store.segment_documents import (
    PARTS,
    StoredIds,
    bookless_document,
    is_whole,
    packed_ids,
    sealed_parts,
    unheld_lease,
)

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 500
_REMOVED_AT_ONCE: Final = 50
_DUPLICATE_KEY: Final = 11000
_INDEX_NOT_FOUND: Final = 27
# How deep an earlier witness is known itself follows from its depth. It was joined to no book.
_WITNESS_ALONE: Final[Document] = {"known": None, "joined_id": None}
_LOOSE_EVENTS: Final = "loose_events"
_NOTES: Final = {"_id": {"$gte": "removal:", "$lt": "removal:~"}}
_IMPORTS: Final = {"_id": {"$gte": "import:", "$lt": "import:~"}}
# The ends of a horizon that was not known.
_NOWHERE: Final = ("Infinity", "-Infinity")
# The unique index of earlier schemas.
_UNIQUE_INDEX: Final = "market_1_u_1"


async def prepare_schema(database: Any, now_ns: Callable[[], int] = time.time_ns) -> None:
    """Create the missing indexes in `database` (motor's), and migrate an earlier schema.

    Several processes may do so at once. Raises `NewerSchema`, `OlderRecorder` and PyMongo's errors.
    """
    version = await stored_version(database)
    if version is None:
        await create_indexes(database)
        # Another process may have just written the version, perhaps an earlier one.
        as_new = {"$setOnInsert": _schema_fields(None)}
        await database[META].update_one({"_id": "schema"}, as_new, upsert=True)
        version = await stored_version(database) or SCHEMA_VERSION
    if version < SCHEMA_VERSION:
        await _refuse_older_recorders(database, now_ns() // 1_000_000)
        begun = {"$set": _schema_fields(version)}
        await database[META].update_one({"_id": "schema", "version": version}, begun)
    document = await database[META].find_one({"_id": "schema"})
    if document is not None and "migrating" in document:
        before = document["migrating"]
        _log.info("the recording is being brought from schema %s to %d", before, SCHEMA_VERSION)
        for step in _STEPS:
            await step(database)
        ended = {"$set": _schema_fields(None), "$unset": {"migrating": ""}}
        await database[META].update_one({"_id": "schema", "migrating": before}, ended)
        _log.info("the recording is of schema %d now", SCHEMA_VERSION)
    await create_indexes(database)


def _schema_fields(migrating: int | None) -> Document:
    fields: Document = {"_id": "schema", "version": SCHEMA_VERSION}
    if migrating is not None:
        fields["migrating"] = migrating
    return {name: value for name, value in sealed(fields).items() if name != "_id"}


async def _refuse_older_recorders(database: Any, now_ms: int) -> None:
    for document in await database[SEGMENTS].find({"end_cause": None}).to_list(None):
        if "first_time" not in document and is_live(document, now_ms):
            raise OlderRecorder(str(document.get("market")))


async def _drop_unique_index(database: Any) -> None:
    from pymongo.errors import OperationFailure  # noqa: PLC0415 (see storage.store.database)

    indexes = await database[DEPTH_EVENTS].index_information()
    if not indexes.get(_UNIQUE_INDEX, {}).get("unique"):
        return
    try:
        await database[DEPTH_EVENTS].drop_index(_UNIQUE_INDEX)
    except OperationFailure as error:
        # Another process has just dropped it.
        if error.code != _INDEX_NOT_FOUND:
            raise


async def _write_events(database: Any) -> None:
    events = database[DEPTH_EVENTS]
    found = await events.find({}, {"_id": 1}).to_list(None)
    old = [document["_id"] for document in found if not isinstance(document["_id"], str)]
    for start in range(0, len(old), _REMOVED_AT_ONCE):
        ids = old[start : start + _REMOVED_AT_ONCE]
        documents = await events.find({"_id": {"$in": ids}}).to_list(None)
        new = await asyncio.to_thread(_new_events, documents)
        await _insert_missing(events, [document for _, document in new])
        await events.delete_many({"_id": {"$in": [key for key, _ in new]}})


async def _insert_missing(collection: Any, documents: Sequence[Document]) -> None:
    from pymongo.errors import BulkWriteError  # noqa: PLC0415 (see storage.store.database)

    try:
        if documents:
            await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        faults = error.details.get("writeErrors", [])
        if any(fault["code"] != _DUPLICATE_KEY for fault in faults) or not faults:
            raise


def _new_events(documents: Iterable[Document]) -> list[tuple[object, Document]]:
    """Return the earlier `_id` and the new document of each event that can be understood."""
    new: list[tuple[object, Document]] = []
    for document in documents:
        market, final_id, payload = (document.get(name) for name in ("market", "u", "payload"))
        if not (isinstance(market, str) and is_whole(final_id) and isinstance(payload, str)):
            continue
        fields = {
            "_id": event_key(market, final_id),
            "market": market,
            "U": document.get("U"),
            "u": final_id,
            "time": document.get("event_ms"),
            "received_ns": document.get("received_ns"),
        }
        fields["encoding"], fields["payload"] = packed_payload(payload)
        is_right = "sum" not in document or document["sum"] == _event_sum(document)
        is_known = not document.keys() - {*fields, "event_ms", "sum"}
        new.append((document["_id"], _sealed_if(fields, is_right=is_right and is_known)))
    return new


def _event_sum(document: Document) -> int | None:
    try:
        received = document["received_ns"].to_bytes(16, "little", signed=True)
        return zlib.crc32(received, zlib.crc32(document["payload"].encode())) - (1 << 31)
    except (AttributeError, KeyError, OverflowError, UnicodeError):
        return None


async def _write_chunks(database: Any) -> None:
    chunks = database[DEPTH_CHUNKS]
    fields = {"_id": 1, "from_time": 1}
    for found in await chunks.find({}, fields).to_list(None):
        if "from_time" in found:
            continue
        document = await chunks.find_one({"_id": found["_id"], "from_time": None})
        new = None if document is None else _new_chunk(document)
        if new is not None:
            await chunks.replace_one({"_id": new["_id"], "from_time": None}, new)


def _new_chunk(document: Document) -> Document | None:
    data = document.get("data")
    if type(data) is not bytes or "from_event_ms" not in document:
        return None
    own = repr((document.get("segment"), document.get("epoch"))).encode()
    is_right = document.get("sum") == zlib.crc32(own, zlib.crc32(data[:16])) - (1 << 31)
    renamed = {"from_event_ms": "from_time", "to_event_ms": "to_time"}
    fields = {renamed.get(name, name): value for name, value in document.items() if name != SEAL}
    seal = _sealed_if(fields | {"data": data[:CHECKSUM_BYTES]}, is_right=is_right)[SEAL]
    return fields | {SEAL: seal}


async def _write_loose(database: Any) -> None:
    """Write the lists of loose events, and notes of removals, as runs without a book."""
    lists = database[_LOOSE_EVENTS]
    for document in await lists.find({}).to_list(None):
        new = await _new_bookless(database, document) or _damaged_run(document)
        if new is None:
            continue
        chunk = document.get("chunk")
        if isinstance(chunk, str):
            await _move_chunk(database, chunk, new)
        fields = {name: value for name, value in new.items() if name != "_id"}
        await database[SEGMENTS].update_one(
            {"_id": new["_id"]}, {"$setOnInsert": fields}, upsert=True
        )
        await lists.delete_one({"_id": document["_id"]})
    # All that is left without a segment was moved, or belongs to an import that is undone.
    await database[DEPTH_CHUNKS].delete_many({"segment": None, "from_time": {"$gte": 0}})


async def _list_committed(database: Any) -> None:
    """List the loose chunks of imports that were to be completed, as completing them would."""
    committing = {**_IMPORTS, "state": "committing"}
    for journal in await database[META].find(committing).to_list(None):
        for key in journal.get("loose", ()):
            document = await database[DEPTH_CHUNKS].find_one({"_id": key})
            if document is None:
                continue
            try:
                events = list(decode_chunk(unpack_chunk(document["data"])).diffs())
            except (KeyError, KnownError):
                continue
            ids = sorted({event.final_id for event in events})
            fields = {"market": document["market"], "chunk": key, "ids": packed_ids(ids)}
            fields |= {"count": len(ids), "first_id": ids[0], "last_id": ids[-1]}
            await database[_LOOSE_EVENTS].update_one(
                {"_id": key}, {"$setOnInsert": fields}, upsert=True
            )


async def _new_bookless(database: Any, document: Document) -> Document | None:
    """Return the run of a list; None if the list is damaged."""
    try:
        market, chunk = document["market"], document["chunk"]
        ids = list(accumulate(msgspec.msgpack.decode(unpack(document["ids"]), type=list[int])))
        if (len(ids), ids[0], ids[-1]) != tuple(
            document[name] for name in ("count", "first_id", "last_id")
        ):
            return None
    except (KeyError, IndexError, TypeError, ValueError, KnownError, msgspec.DecodeError):
        return None
    known = {event.final_id: event for event in await _loose_events(database, market, chunk, ids)}
    events = [known.get(update_id) or StoredIds(update_id, update_id, 0) for update_id in ids]
    # The list of an imported chunk has the same `_id` as the chunk.
    is_imported = chunk == document["_id"]
    key = document["_id"]
    if is_imported:
        key = hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
    return bookless_document(key, market, events, IMPORT if is_imported else RECORDER)


def _damaged_run(document: Document) -> Document | None:
    """Return the run of a damaged list, damaged as well, so that it is found; None if impossible.

    It keeps the list as its ids.
    """
    market = document.get("market")
    if not isinstance(market, str):
        return None
    key = hashlib.blake2b(f"damaged {document['_id']}".encode(), digest_size=12).hexdigest()
    run = bookless_document(key, market, [StoredIds(0, 0, 0)]) | {"ids": document.get("ids")}
    return run | {seal: run[seal] ^ 1 for seal in PARTS} | {"event_count": 0}


async def _loose_events(
    database: Any, market: str, chunk: object, ids: Sequence[int]
) -> list[StoredIds]:
    found: list[StoredIds] = []
    for start in range(0, len(ids), _REMOVED_AT_ONCE):
        keys = [event_key(market, update_id) for update_id in ids[start : start + _REMOVED_AT_ONCE]]
        for event in await database[DEPTH_EVENTS].find({"_id": {"$in": keys}}).to_list(None):
            numbers = [event.get(name) for name in ("U", "u", "time")]
            if all(map(is_whole, numbers)):
                found.append(StoredIds(*numbers))
    document = await database[DEPTH_CHUNKS].find_one({"_id": chunk}) if chunk else None
    if document is not None:
        try:
            decoded = await asyncio.to_thread(lambda: decode_chunk(unpack_chunk(document["data"])))
        except KnownError:
            return found
        found += map(StoredIds.of, decoded.diffs())
    return found


async def _move_chunk(database: Any, key: str, run: Document) -> None:
    """Store a loose chunk under its run, and note in `run` that it is archived there."""
    chunks, start_id = database[DEPTH_CHUNKS], run["snapshot_id"]
    document = await chunks.find_one({"_id": key})
    new_key = chunk_key(run["_id"], start_id)
    if document is not None:
        fields = document | {"_id": new_key, "segment": run["_id"], "start_id": start_id}
        seal = checksum(
            {name: value for name, value in fields.items() if name != SEAL}
            | {"data": fields["data"][:CHECKSUM_BYTES]}
        )
        is_right = is_sealed(document | {"data": document["data"][:CHECKSUM_BYTES]})
        await chunks.replace_one(
            {"_id": new_key}, fields | {SEAL: seal if is_right else seal ^ 1}, upsert=True
        )
    moved = document or await chunks.find_one({"_id": new_key})
    if moved is not None:
        archived = {
            "last_id": moved["last_id"],
            "to_archive": False,
            "archived_id": moved["last_id"],
            "archived_events": moved["event_count"],
            "archived_bytes": len(moved["data"]),
        }
        run.update(sealed_parts(run | archived))


async def _drop_notes(database: Any) -> None:
    """Finish the removals of loose chunks that were noted."""
    for note in await database[META].find(_NOTES).to_list(None):
        await database[DEPTH_CHUNKS].delete_one({"_id": note.get("chunk")})
        await database[_LOOSE_EVENTS].delete_many({"chunk": note.get("chunk")})
        await database[META].delete_one({"_id": note["_id"]})


async def _write_leases(database: Any) -> None:
    """Give each market a lease that no archiver holds, whose epoch is not below any segment's."""
    fields = {"market": 1, "epoch": 1}
    epochs: dict[str, int] = {}
    for document in await database[SEGMENTS].find({}, fields).to_list(None):
        market, epoch = document.get("market"), document.get("epoch")
        if isinstance(market, str) and is_whole(epoch):
            epochs[market] = max(epochs.get(market, 0), epoch)
    for market, epoch in epochs.items():
        lease = unheld_lease(market, epoch)
        rest = {name: value for name, value in lease.items() if name != "_id"}
        await database[LEASES].update_one(
            {"_id": lease["_id"]}, {"$setOnInsert": rest}, upsert=True
        )


async def _write_segments(database: Any) -> None:
    segments = database[SEGMENTS]
    for document in await segments.find({"first_time": None}).to_list(None):
        new = _new_segment(document)
        if new is not None:
            await segments.replace_one({"_id": document["_id"], "first_time": None}, new)


def _new_segment(document: Document) -> Document | None:
    """Return the new document of a segment; None if it can't be understood."""
    try:
        cut_events = document.get("cut_events", 0)
        fields = {
            "_id": document["_id"],
            "market": document["market"],
            "kind": DEPTH.name,
            "origin": document.get("origin", RECORDER),
            "unit": MILLISECONDS,
            "book": True,
            "snapshot_id": document["snapshot_id"],
            "first_id": document["first_id"],
            "first_time": document["first_event_ms"],
            "cut_events": cut_events,
            "cut_bytes": 0,
            "cut_from": document.get("cut_from"),
            "last_id": document["last_id"],
            "last_time": document["last_event_ms"],
            "back": document.get("back_ms"),
            "event_count": document["event_count"],
            "price_exponent": document["price_exponent"],
            "quantity_exponent": document["quantity_exponent"],
            "end_cause": document["end_cause"],
            "end_detail": document["end_detail"],
            "to_archive": document.get("to_archive", True),
            "ids": None,
            "owner": document.get("owner"),
            "alive_ms": document.get("alive_ms"),
            "archived_id": document.get("archived_id", document["snapshot_id"]),
            "archived_events": document.get("archived_events", 0) + cut_events,
            "archived_bytes": document.get("archived_bytes", 0),
            "epoch": _epoch_of(document),
        }
        new = sealed_parts(fields)
    except (KeyError, TypeError, OverflowError):
        return None
    if "sum" in document and document["sum"] != _segment_sum(document):
        new |= {seal: new[seal] ^ 1 for seal in PARTS}
    return new


def _epoch_of(document: Document) -> int:
    """Return the epoch of a segment's own lease: its chunks have no higher one."""
    lease = document.get("archive_lease")
    epoch = lease.get("epoch") if isinstance(lease, dict) else None
    return epoch if is_whole(epoch) else 0


def _segment_sum(document: Document) -> int:
    fields = tuple(
        document.get(name)
        for name in ("market", "price_exponent", "quantity_exponent", "end_cause", "end_detail")
    )
    return zlib.crc32(repr(fields).encode("utf-8", "backslashreplace")) - (1 << 31)


async def _write_books(database: Any) -> None:
    books = database[CHECKPOINTS]
    horizons: dict[object, Ends | None] = {}
    found = await books.find({}, {"segment": 1, "base": 1}).to_list(None)
    # Those with which a segment begins come first: the others are known as deep as they are.
    for key in sorted(found, key=lambda document: document.get("base") is not True):
        document = await books.find_one({"_id": key["_id"]})
        if document is None:
            continue
        if "time" in document:
            if document.get("base") is True:
                horizons[document.get("segment")] = document.get("horizon")
            continue
        if document.get("base") is True:
            horizon = await asyncio.to_thread(_base_horizon, document)
            horizons[document.get("segment")] = horizon_document(horizon)
        new = await asyncio.to_thread(_new_book, document, horizons.get(document.get("segment")))
        if new is not None:
            await books.replace_one({"_id": document["_id"], "time": None}, new)


def _base_horizon(document: Document) -> Horizon | None:
    """Return how deep the first book of a segment is known.

    An answer of the exchange, which names no time, is known to its last level. A copy of a running
    book has a time; its last levels may be single levels beyond the horizon.
    """
    try:
        if document["event_ms"]:
            return None
        return answered(decode_snapshot(unpack(document["payload"]), document["market"])).horizon
    except (KeyError, TypeError, ValueError, KnownError):
        return None


def _new_book(document: Document, horizon: Ends | None) -> Document | None:
    known = {"_id", "segment", "market", "update_id", "event_ms", "base", "payload", "new"}
    try:
        fields = {name: document[name] for name in ("_id", "segment", "market", "update_id")}
        fields |= {
            "time": document["event_ms"],
            "received_ns": 0,
            "horizon": horizon,
            "base": document["base"],
            "new": "new" in document,
            "payload": document["payload"],
        }
        return _sealed_if(fields, is_right=not document.keys() - known)
    except (KeyError, TypeError, OverflowError):
        return None


async def _write_witnesses(database: Any) -> None:
    witnesses = database[WITNESSES]
    for document in await witnesses.find({"received_ns": None}).to_list(None):
        new = await asyncio.to_thread(_new_witness, document)
        if new is not None:
            await witnesses.replace_one({"_id": document["_id"], "received_ns": None}, new)


def _new_witness(document: Document) -> Document | None:
    known = {name: value for name, value in document.items() if name != SEAL}
    is_right = document.get(SEAL) == zlib.crc32(repr(sorted(known.items())).encode()) - (1 << 31)
    try:
        ends = known.pop("lowest_bid"), known.pop("highest_ask")
        horizon = None if ends == _NOWHERE else {"from": ends[0], "to": ends[1]}
        fields = {**known, "received_ns": 0, "horizon": horizon, **_WITNESS_ALONE}
        return _sealed_if(fields, is_right=is_right)
    except (KeyError, TypeError, OverflowError):
        return None


async def _write_journals(database: Any) -> None:
    for document in await database[META].find(_IMPORTS).to_list(None):
        if SEAL in document:
            continue
        known = [_new_segment(segment) or segment for segment in document.get("known", [])]
        try:
            new = sealed({**document, "known": known})
        except (TypeError, OverflowError):
            continue
        await database[META].replace_one({"_id": document["_id"], SEAL: None}, new)


def _sealed_if(fields: Document, *, is_right: bool) -> Document:
    """Return `fields` with their seal; with a wrong one unless the earlier checksum was right."""
    seal = checksum(fields)
    return {**fields, SEAL: seal if is_right else seal ^ 1}


_STEPS: Final[tuple[Callable[[Any], Awaitable[None]], ...]] = (
    _drop_unique_index,
    _write_events,
    _write_chunks,
    _drop_notes,
    _list_committed,
    _write_loose,
    _write_segments,
    _write_leases,
    _write_books,
    _write_witnesses,
    _write_journals,
)
