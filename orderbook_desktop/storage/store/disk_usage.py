"""The size of a recording in its database, and the free space of its disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from orderbook_desktop.core.disk import USUAL_BYTES_A_TRADE, FolderSize, RecordingSize
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import (
    CHECKPOINTS,
    DEPTH_CHUNKS,
    DEPTH_EVENTS,
    SEGMENTS,
    TRADE_CHUNKS,
    WITNESSES,
    Document,
)
from orderbook_desktop.storage.store.segment_documents import is_whole
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_sizes import trade_counts, trade_size

_SIZED: Final = {"$bsonSize": "$$ROOT"}
_SAMPLE: Final = 30
_TABLES: Final = 16
# The sample of raw events is taken from so many ids before the segment's last stored id: from the
# first span that has any, since SecantusDB reads all events of a span.
_SAMPLE_IDS: Final = (1_000, 10_000, 100_000)
_NUMBERS: Final = (
    *("last_id", "event_count", "cut_events", "cut_bytes", "archived_events", "archived_bytes"),
)


def free_bytes(folder: Path) -> int | None:
    """Return the free bytes on the volume of `folder`; None if they are not known."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:  # The folder isn't there yet, or its volume is gone.
        return None


def file_bytes(folder: Path) -> int | None:
    """Return the bytes of all files in `folder` and below; None if there is no folder."""
    try:
        return sum(_tree_bytes(folder))
    except FileNotFoundError:
        return None


def folder_size(folder: Path, db_name: str) -> FolderSize | None:
    """Return the bytes of the program's databases in `folder`; None if there is no folder.

    The archive of `db_name` is counted separately. A SecantusDB keeps collections in sixteen files,
    by a hash of database and collection, so the archive's files are known. The names of a mongod's
    files don't show their contents, so all of its files with documents count as archive.
    """
    total = file_bytes(folder)
    if total is None:
        return None
    numbers = {_table_of(db_name, name) for name in (DEPTH_CHUNKS, TRADE_CHUNKS)}
    tables = [folder / "secantus" / f"secantus_documents_sh{number}.wt" for number in numbers]
    archive = 0
    for path in (*tables, *(folder / "mongod").glob("collection-*.wt")):
        try:
            archive += path.stat().st_size
        except OSError:
            # It does not exist yet, or was just removed.
            continue
    return FolderSize(total, archive)


def _table_of(database: str, collection: str) -> int:
    """Return the number of a collection's table in a SecantusDB: a 64-bit FNV-1a hash."""
    digest = 0xCBF29CE484222325
    for byte in f"{database}\0{collection}".encode():
        digest = (digest ^ byte) * 0x100000001B3 % (1 << 64)
    return digest % _TABLES


def _tree_bytes(folder: Path) -> Sequence[int]:
    sizes: list[int] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    sizes.extend(_tree_bytes(Path(entry.path)))
                else:
                    sizes.append(entry.stat(follow_symlinks=False).st_size)
            except FileNotFoundError:
                # The database has just removed this file.
                continue
    return sizes


class RecordingSizes:
    """Measures the size of the recording in `database` (see `core.disk.RecordingSize`).

    `measure` is cheap, since the segments' documents hold the sizes of their chunks. It adds the
    last result of `count_rest`, which reads all other documents: call that now and then.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._book_bytes = 0
        self._event_bytes: dict[str, int] = {}
        self._trades = DatabaseTrades(database)
        # The bytes that a trade of a market takes in the archive.
        self._trade_bytes: dict[str, float] = {}

    async def measure(self) -> RecordingSize:
        """Return the size now. Raises PyMongo's errors."""
        archive_bytes = archived = raw = 0
        for segment in await self._segments():
            archive_bytes += segment.archived_bytes
            archived += segment.archived_events
            raw += segment.raw_events * self._event_bytes.get(segment.market, 0)
        trades = trade_bytes = 0
        for market, count in (await trade_counts(self._database)).items():
            trades += count
            trade_bytes += round(count * self._trade_bytes.get(market, USUAL_BYTES_A_TRADE))
        return RecordingSize(archive_bytes, archived, raw, self._book_bytes, trades, trade_bytes)

    async def count_rest(self) -> None:
        """Add up checkpoints and witnesses; sample the size of raw events, and of trades.

        Raises PyMongo's errors.
        """
        self._book_bytes = sum([await self._sum(name) for name in (CHECKPOINTS, WITNESSES)])
        latest: dict[str, int] = {}
        for segment in await self._segments():
            if segment.raw_events:
                known = latest.get(segment.market, 0)
                latest[segment.market] = max(segment.last_id, known)
        for market, last_id in latest.items():
            sampled = await self._sample(market, last_id)
            if sampled:
                self._event_bytes[market] = sampled
        for market in await self._trades.markets():
            try:
                size = await trade_size(self._trades, market, await self._trades.runs(market))
            except KnownError:
                # `verify` tells of the damage. A damaged part is no sample of a size.
                continue
            if size.archived_each:
                self._trade_bytes[market] = size.archived_each

    async def _segments(self) -> list[_SegmentSize]:
        fields = dict.fromkeys(("market", *_NUMBERS), 1)
        found = await self._database.collection(SEGMENTS).find({}, fields).to_list(None)
        return [size for document in found if (size := _size_of(document)) is not None]

    async def _sum(self, collection: str) -> int:
        pipeline: list[Mapping[str, Any]] = [
            {"$group": {"_id": None, "bytes": {"$sum": _SIZED}}},
        ]
        found = await self._database.collection(collection).aggregate(pipeline).to_list(None)
        return int(found[0]["bytes"]) if found else 0

    async def _sample(self, market: str, last_id: int) -> int:
        """Return the mean size of some new raw events of `market`; 0 if there are none."""
        for ids in _SAMPLE_IDS:
            pipeline: list[Mapping[str, Any]] = [
                {"$match": {"market": market, "u": {"$gt": last_id - ids, "$lte": last_id}}},
                {"$limit": _SAMPLE},
                {"$group": {"_id": None, "bytes": {"$avg": _SIZED}}},
            ]
            events = self._database.collection(DEPTH_EVENTS)
            for found in await events.aggregate(pipeline).to_list(None):
                return int(found["bytes"])
        return 0


class _SegmentSize(NamedTuple):
    """How much of a segment is archived, and how many of its events are not."""

    market: str
    last_id: int
    raw_events: int
    archived_events: int
    archived_bytes: int


def _size_of(document: Document) -> _SegmentSize | None:
    """Return the size of the segment that `document` stores; None if it is damaged."""
    market = document.get("market")
    numbers = [number for name in _NUMBERS if is_whole(number := document.get(name))]
    if not isinstance(market, str) or len(numbers) < len(_NUMBERS):
        return None
    last_id, events, cut_events, cut_bytes, archived_events, archived_bytes = numbers
    raw_events = max(0, events - archived_events)
    left, left_bytes = archived_events - cut_events, archived_bytes - cut_bytes
    return _SegmentSize(market, last_id, raw_events, left, left_bytes)
