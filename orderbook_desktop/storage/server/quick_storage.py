"""A SecantusDB storage that inserts, reads and removes events in a fraction of the time.

SecantusDB reads and decodes a collection's list of indexes several times for each document, spells
each key of the storage engine in Python, and compares each document that it reads or removes with
the query. `QuickStorage` looks at the indexes once for a command. What it stores and finds is the
same, byte for byte: `tests/storage/server/test_quick_storage.py` compares all tables and answers.
Locks, transactions and retries are SecantusDB's own. What is not plain goes SecantusDB's own way: a
collection or an index with options, an indexed array or table, a transaction of several commands,
any other query.

One thing is not the same: no entry of the op-log says that an event was removed. Events are removed
when they are archived, and each change stream would read and drop as many entries again.

Like `secantus_child`, this module runs only in the child.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple, Self

import bson
from msgspec import Struct
from secantus import storage as secantus
from secantus.sortkey import COMPOUND_SEP, encode_value_directed
from wiredtiger import WT_NOTFOUND, WiredTigerError
from wiredtiger.packing import pack, pack_int

# Collections of events. That one of them was removed is not told to change streams.
_UNLOGGED: Final = frozenset({"depth_events", "trade_events"})
_DUPLICATE_KEY: Final = 11000
_REMOVED_AT_ONCE: Final = 1_000
# What a query may come with. (No field or bound of ours is one of the variables in `let`.)
_TAKEN: Final = frozenset({"limit", "sort", "projection", "let"})
# The engine spells numbers beyond this as their length and their bytes.
_SMALL: Final = 8_256
_LARGE: Final = 0xE0
# What an entry of the op-log ends with: its timestamp, and the wall clock.
_STAMP: Final = struct.Struct("<4sII6sqx")


class _Plain(Struct, frozen=True):
    """A plain collection, with what its rows in the engine begin with.

    `row` begins the keys of a document and of its `_id`. `indexes` are the beginnings of the keys
    of entries, with the fields of the index and their directions. `inserted`, `removed` and `uuid`
    are parts of entries of the op-log; `is_logged` is whether removals have any.
    """

    table: str
    row: bytes
    indexes: tuple[tuple[bytes, tuple[tuple[str, int], ...]], ...]
    inserted: bytes
    removed: bytes
    uuid: bytes
    is_logged: bool

    def takes(self, document: dict[str, Any], size: int) -> bool:
        """Whether the document has one key in each index, and nothing else that is special."""
        values = (document.get(name) for _, fields in self.indexes for name, _ in fields)
        return (
            next(iter(document)) == "_id"
            and type(document["_id"]) is str
            and all(isinstance(value, str | int) for value in values)
            and size <= secantus.MAX_BSON_OBJECT_SIZE
        )

    def entry_keys(self, document: dict[str, Any], record: int) -> Iterator[bytes]:
        """Iterate over the engine's keys of the document's entries in the indexes."""
        for beginning, fields in self.indexes:
            parts = [_part(document.get(name), way) for name, way in fields]
            yield beginning + secantus._pack_entry(COMPOUND_SEP.join(parts), record)

    def insertion(self, blob: bytes, key: bytes) -> bytes:
        """Return the op-log's entry of an insertion, without its end; `key` is its `_id`."""
        return b"%b\x03o\0%b\x03o2\0%b" % (self.inserted, blob, key)

    def removal(self, key: bytes) -> bytes:
        """Return the op-log's entry of a removal, without its end; `key` is its `_id`."""
        return b"%b\x03o\0%b\x03o2\0%b%b" % (self.removed, key, key, self.uuid)


class QuickStorage(secantus.Storage):  # type: ignore[misc] # it has no types
    """See the module. It is used like SecantusDB's `Storage`."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # Sixteen more tables are of another program's op-log. SecantusDB tries to open each of them
        # with each look of a change stream, and never makes one.
        tables = secantus._OPLOG_ALL_TABLES
        tables[:] = [table for table in tables if self._cursor_optional(table) is not None]

    def _plain(self, db: str, coll: str) -> _Plain | None:
        """Return the collection, if it is plain, and no transaction of several commands runs."""
        in_transaction = getattr(self._tls, "user_txn", None) is not None
        if in_transaction or getattr(self._tls, "replay_silent", False) or not self.enable_oplog:
            return None
        self._refresh_read_snapshot()
        options = self._coll_options(db, coll)
        if options is None or options.keys() != {"uuid"}:
            return None
        indexes = []
        for name, fields, kind in self._iter_indexes(db, coll):
            ways = tuple(fields.items())
            if kind.keys() != {"entryFormat"} or any("." in field for field in fields):
                return None
            if any(way not in (1, -1) for _, way in ways):
                return None
            indexes.append((pack("SSS", db, coll, name), ways))
        names = {"ns": self._ns(db, coll)}
        uuid = {"ui": bson.Binary(bytes(options["uuid"]), subtype=4)}
        return _Plain(
            secantus._doc_table_for(db, coll),
            pack("SS", db, coll),
            tuple(indexes),
            _elements({"op": "i"} | names | uuid),
            _elements({"op": "d"} | names),
            _elements(uuid),
            coll not in _UNLOGGED,
        )

    @secantus._retry_write_conflicts  # type: ignore[untyped-decorator]
    def _insert_chunk(
        self, db: str, coll: str, prepared: Sequence[tuple[dict[str, Any], bytes]], **how: Any
    ) -> tuple[int, list[dict[str, Any]], bool]:
        with self._coll_lock(db, coll):
            plain = self._plain(db, coll)
            if plain is None or not all(plain.takes(one, len(blob)) for one, blob in prepared):
                found: tuple[int, list[dict[str, Any]], bool] = super()._insert_chunk(
                    db, coll, prepared, **how
                )
                return found
            with self._batch_transaction(sync=how["sync"]):
                logged: list[bytes] = []
                errors: list[dict[str, Any]] = []
                ids = self._cursor(secantus._NAT_SEQ_TABLE, overwrite=False)
                rows = self._cursor(plain.table, overwrite=False)
                entries = self._cursor(secantus._IDX_ENTRIES_TABLE)
                for index, (document, blob) in enumerate(prepared, how["base_index"]):
                    key = secantus._id_key(document["_id"])
                    record = self._mint_nat_seq()
                    number = spelled(record)
                    if not _is_new(ids, plain.row + key, number):
                        errors.append(_duplicate(index, f"{db}.{coll}", document["_id"]))
                        if how["ordered"]:
                            break
                        continue
                    _put(rows, plain.row + number, secantus._frame_doc_value(key, blob))
                    for entry in plain.entry_keys(document, record):
                        _put(entries, entry, b"")
                    logged.append(plain.insertion(blob, bson.encode({"_id": document["_id"]})))
                self._log(logged)
            return len(logged), errors, bool(errors) and how["ordered"]

    def _delete_matching_chunked(
        self, db: str, coll: str, query: dict[str, Any], **how: Any
    ) -> int:
        ids = named_ids(query)
        with self._coll_lock(db, coll):
            plain = None if ids is None or how["collation"] else self._plain(db, coll)
            if ids is None or plain is None:
                return int(super()._delete_matching_chunked(db, coll, query, **how))
            keys = sorted({secantus._id_key(name) for name in ids})
            return sum(
                self._remove(plain, keys[start : start + _REMOVED_AT_ONCE], how["journal"])
                for start in range(0, len(keys), _REMOVED_AT_ONCE)
            )

    @secantus._retry_write_conflicts  # type: ignore[untyped-decorator]
    def _remove(self, plain: _Plain, keys: Sequence[bytes], journal: bool) -> int:
        logged: list[bytes] = []
        removed = 0
        with self._batch_transaction(sync=journal):
            ids = self._cursor(secantus._NAT_SEQ_TABLE)
            rows = self._cursor(plain.table)
            entries = self._cursor(secantus._IDX_ENTRIES_TABLE)
            for key in keys:
                # The engine refers to a key that is set, so a variable has to hold it.
                name = plain.row + key
                ids._set_key(name)
                if ids.search() != 0:
                    continue
                record = int(ids.get_value())
                row = plain.row + spelled(record)
                rows._set_key(row)
                if rows.search() != 0:
                    continue
                document = bson.decode(secantus._unframe_doc_value(rows._get_value())[1])
                for entry in plain.entry_keys(document, record):
                    entries._set_key(entry)
                    entries.remove()
                rows.remove()
                ids.remove()
                removed += 1
                if plain.is_logged:
                    logged.append(plain.removal(bson.encode({"_id": document["_id"]})))
            self._log(logged)
        return removed

    def find_matching(
        self, db: str, coll: str, query: dict[str, Any] | None = None, **how: Any
    ) -> list[dict[str, Any]]:
        """Return the documents that match."""
        span = None if query is None else _Span.of(query, how)
        plain = None if span is None else self._plain(db, coll)
        beginning = None if span is None or plain is None else span.beginning_in(plain)
        if query is None or span is None or plain is None or beginning is None:
            found: list[dict[str, Any]] = super().find_matching(db, coll, query, **how)
            return found
        with self._lock:
            walk = self._walk(plain, beginning + span.after, beginning + span.through)
            found = list(islice(walk, how.get("limit") or None))
        projection = how.get("projection")
        if not projection:
            return found
        sort = how.get("sort")
        metas = self._projection_metas(db, coll, found, projection, query, sort, None, None)
        projected: list[dict[str, Any]] = secantus.apply_projection_batch(
            found, projection, query, metas=metas, has_sort=bool(sort)
        )
        return projected

    def _walk(self, plain: _Plain, after: bytes, through: bytes) -> Iterator[dict[str, Any]]:
        """Iterate over the documents of the entries between two keys, in the index's order."""
        entries = self._cursor(secantus._IDX_ENTRIES_TABLE)
        rows = self._cursor(plain.table)
        entries._set_key(after)
        nearest = entries.search_near()
        is_there = nearest != WT_NOTFOUND and (nearest > 0 or entries.next() == 0)
        while is_there and (key := entries._get_key()) <= through:
            secantus._deadline.check()
            row = plain.row + spelled(int.from_bytes(key[-8:], "big"))
            rows._set_key(row)
            if rows.search() == 0:
                yield bson.decode(secantus._unframe_doc_value(rows._get_value())[1])
            is_there = entries.next() == 0

    def _log(self, bodies: Sequence[bytes]) -> None:
        """Write entries into the op-log, within a transaction, and count them as SecantusDB does.

        When the transaction ends, SecantusDB shows the numbers that are noted here to the readers.
        """
        if not bodies:
            return
        first, stamps = self._mint_oplog_seq_and_ts(len(bodies))
        minted = getattr(self._tls, "pending_minted", None) or []
        self._tls.pending_minted = [*minted, (first, first + len(bodies))]
        log = self._cursor(secantus._OPLOG_TABLE)
        now_ms = time.time_ns() // 1_000_000
        for number, (body, at) in enumerate(zip(bodies, stamps, strict=True), first):
            end = _STAMP.pack(b"\x11ts\0", at.inc, at.time, b"\x09wall\0", now_ms)
            size = (4 + len(body) + len(end)).to_bytes(4, "little")
            _put(log, spelled(number), size + body + end)
        self._oplog_live_count += len(bodies)


class _Span(NamedTuple):
    """The query of a text in one field, and of a span of whole numbers in another one.

    `after` and `through` are the ends of the engine's keys before the first entry that matches, and
    of the last one that may.
    """

    text: str
    number: str
    after: bytes
    through: bytes

    @classmethod
    def of(cls, query: dict[str, Any], how: dict[str, Any]) -> Self | None:
        """Return the span of `query`, if it is one and `how` asks for nothing but its order."""
        if len(query) != 2 or any(how.get(name) for name in how.keys() - _TAKEN):
            return None
        (text, value), (number, condition) = query.items()
        if type(value) is not str or not isinstance(condition, dict) or text.startswith("$"):
            return None
        if condition.keys() != {"$gt", "$lte"} or how.get("sort") not in (None, {number: 1}):
            return None
        bounds = condition["$gt"], condition["$lte"]
        if not all(type(bound) in (int, bson.Int64) for bound in bounds):
            return None
        keys = [COMPOUND_SEP.join((_part(value, 1), _part(bound, 1))) for bound in bounds]
        # No record has this number, so it comes behind all entries of the same values.
        after, through = (secantus._pack_entry(key, -1) for key in keys)
        return cls(text, number, after, through)

    def beginning_in(self, plain: _Plain) -> bytes | None:
        """Return the beginning of the keys of an index of just these fields, if there is one."""
        fields = ((self.text, 1), (self.number, 1))
        return next((begin for begin, ways in plain.indexes if ways == fields), None)


def named_ids(query: dict[str, Any]) -> list[str] | None:
    """Return the texts of `{"_id": {"$in": TEXTS}}`; None for any other query."""
    condition = query.get("_id")
    if len(query) != 1 or not isinstance(condition, dict) or condition.keys() != {"$in"}:
        return None
    ids = condition["$in"]
    is_plain = isinstance(ids, list) and all(type(one) is str for one in ids)
    return ids if is_plain else None


def spelled(number: int) -> bytes:
    """Return a whole number as the engine spells it in keys and values."""
    if number <= _SMALL:
        return bytes(pack_int(number))
    beyond = number - _SMALL
    size = (beyond.bit_length() + 7) // 8
    return bytes((_LARGE | size,)) + beyond.to_bytes(size, "big")


def _part(value: object, way: int) -> bytes:
    """Return the part of an index's key that is about `value`."""
    if type(value) is str:
        return _part_of_text(value, way)
    part: bytes = encode_value_directed(value, way)
    return part


@lru_cache(maxsize=1_024)
def _part_of_text(text: str, way: int) -> bytes:
    # A market's name is in the keys of all of its events.
    part: bytes = encode_value_directed(text, way)
    return part


def _is_new(ids: Any, key: bytes, value: bytes) -> bool:
    """Insert an `_id`; return false, and change nothing, if it is there already."""
    try:
        _put(ids, key, value)
    except secantus.WriteConflictError:
        raise
    except WiredTigerError as error:
        if not secantus._is_wt_duplicate_key(error):
            raise
        ids.reset()
        return False
    return True


def _put(cursor: Any, key: bytes, value: bytes) -> None:
    # The engine refers to both while it inserts.
    cursor._set_key(key)
    cursor._set_value(value)
    try:
        cursor.insert()
    except WiredTigerError as error:
        if secantus._is_wt_rollback(error):
            raise secantus.WriteConflictError(str(error)) from error
        raise


def _elements(fields: dict[str, Any]) -> bytes:
    """Return the fields of a document in BSON, without its size and its end."""
    return bson.encode(fields)[4:-1]


def _duplicate(index: int, collection: str, name: str) -> dict[str, Any]:
    return {
        "index": index,
        "code": _DUPLICATE_KEY,
        "errmsg": secantus.format_dup_key_errmsg(collection, "_id_", {"_id": name}),
        "keyPattern": {"_id": 1},
        "keyValue": {"_id": name},
    }
