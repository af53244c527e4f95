"""Cuts whole chunks: off the front of a segment, or loose ones. A kill at any point does no harm.

To cut a segment, its document first gets a later beginning, and its old beginning as `cut_from`.
So the segment never promises events that are gone. Then the chunks between the two are removed,
the last one first: the rest can still be found, chunk by chunk from `cut_from` on.

To remove a loose chunk, its list is removed first, since listed events without a chunk would
count as lost. Before that a note in `meta` names the chunk, so that the next process can finish the
removal. A loose chunk without a list and without a note is just being written, and stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.chunks import ChunkStore, chunk_key
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import (
    CHECKPOINTS,
    DEPTH_CHUNKS,
    LOOSE_EVENTS,
    META,
    SEGMENTS,
    Document,
)

_log = logging.getLogger(__name__)

_CUT_FROM: Final = "cut_from"

_NOTE: Final = "removal:"
_FIELDS: Final = ("market", "first_id", "last_id", "from_event_ms", "to_event_ms", "event_count")


class ChainLink(NamedTuple):
    """A chunk to be cut: its ids and event times, how many events it has, and its size in bytes."""

    start_id: int
    first_id: int
    last_id: int
    from_ms: int
    to_ms: int
    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What was cut: how many events, and the bytes of their chunks.

    `is_last` is true if nothing more can be cut from that segment or loose chunk now.
    """

    events: int = 0
    bytes: int = 0
    is_last: bool = False


# Decides whether a chunk is to be removed.
Wanted = Callable[[ChainLink], bool]


class SegmentCutter:
    """Cuts the segments of `database`. Its methods raise PyMongo's errors; then call them again.

    Several processes may cut one segment: only one moves the beginning, and all of them may remove
    the chunks before it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reported: set[str] = set()

    async def cut(self, segment: Document, wanted: Wanted, at_most: int, *, whole: bool) -> Cut:
        """Cut the oldest chunks of a stored `segment`, while they are `wanted`.

        The last archived chunk stays, since the raw events after it need its book. If `whole` is
        true and the segment has ended and is archived, it goes too, and the segment with it.
        The document `segment` is updated.
        """
        links = await self._front(segment, wanted, at_most)
        start_id = links[-1].last_id if links else segment["snapshot_id"]
        is_through = start_id == segment["archived_id"]
        if is_through and whole and _is_settled(segment):
            return await self._move(segment, links, _end_of(segment), is_last=True)
        if is_through and links:
            start_id = links.pop().start_id
        first = await self._link(segment["_id"], start_id) if links else None
        if first is None:
            return Cut(is_last=True)
        front = {
            "snapshot_id": start_id,
            "first_id": first.first_id,
            "first_event_ms": first.from_ms,
        }
        return await self._move(segment, links, front, is_last=len(links) < at_most)

    async def finish(self, segment: Document) -> None:
        """Remove the chunks before the beginning of a stored `segment`; an empty one entirely."""
        if _CUT_FROM not in segment:
            return
        key, front = segment["_id"], segment["snapshot_id"]
        links = await self._walk(key, segment[_CUT_FROM], front)
        await self._drop_chunks(key, links)
        is_gone = _is_settled(segment) and front == segment["last_id"]
        await self._drop_checkpoints(key, INT64_MAX if is_gone else front - 1)
        segments = self._database.collection(SEGMENTS)
        known = {"_id": key, "snapshot_id": front, _CUT_FROM: segment[_CUT_FROM]}
        if is_gone:
            await segments.delete_one(known)
        else:
            await segments.update_one(known, {"$unset": {_CUT_FROM: ""}})
        del segment[_CUT_FROM]

    async def _front(self, segment: Document, wanted: Wanted, at_most: int) -> list[ChainLink]:
        """Return the first chunks, up to the first that is not wanted."""
        links: list[ChainLink] = []
        start_id = segment["snapshot_id"]
        while start_id < segment["archived_id"] and len(links) < at_most:
            link = await self._link(segment["_id"], start_id)
            if link is None:
                await self._report_missing(segment)
            if link is None or not wanted(link):
                break
            links.append(link)
            start_id = link.last_id
        return links

    async def _move(
        self, segment: Document, links: list[ChainLink], front: Document, *, is_last: bool
    ) -> Cut:
        """Store that the segment begins at `front`; then remove `links`, the chunks before it."""
        before = segment["snapshot_id"]
        events, count = sum(link.events for link in links), sum(link.bytes for link in links)
        moved = {**front, _CUT_FROM: before}
        less = {"archived_events": -events, "archived_bytes": -count, "cut_events": events}
        # Not while another process removes the chunks of an earlier cut.
        known: Document = {"_id": segment["_id"], "snapshot_id": before, _CUT_FROM: None}
        done = await self._database.collection(SEGMENTS).update_one(
            known, {"$set": moved, "$inc": less}
        )
        if not done.matched_count:
            return Cut(is_last=True)
        segment.update(moved)
        for name, by in less.items():
            segment[name] += by
        await self.finish(segment)
        return Cut(events, count, is_last)

    async def _walk(self, key: str, start_id: int, end_id: int) -> list[ChainLink]:
        """Return the chunks from `start_id` to `end_id`, up to the first that is missing."""
        links: list[ChainLink] = []
        while start_id < end_id and (link := await self._link(key, start_id)) is not None:
            links.append(link)
            start_id = link.last_id
        return links

    async def _link(self, key: str, start_id: int) -> ChainLink | None:
        chunks = self._database.collection(DEPTH_CHUNKS)
        found: Any = await chunks.find_one({"_id": chunk_key(key, start_id)})
        if found is None or found["last_id"] <= start_id:
            return None
        return ChainLink(
            start_id,
            found["first_id"],
            found["last_id"],
            found["from_event_ms"],
            found["to_event_ms"],
            found["event_count"],
            len(found["data"]),
        )

    async def _drop_chunks(self, key: str, links: list[ChainLink]) -> None:
        from pymongo import DeleteOne  # noqa: PLC0415 (see storage.store.database)

        if not links:
            return
        gone = [DeleteOne({"_id": chunk_key(key, link.start_id)}) for link in reversed(links)]
        # In this order: the first chunk is needed to find the others, so it goes last.
        await self._database.collection(DEPTH_CHUNKS).bulk_write(gone, ordered=True)

    async def _drop_checkpoints(self, key: str, through_id: int) -> None:
        checkpoints = self._database.collection(CHECKPOINTS)
        for checkpoint in await checkpoints.find({"segment": key}, {"update_id": 1}).to_list(None):
            if checkpoint["update_id"] <= through_id:
                await checkpoints.delete_one({"_id": checkpoint["_id"]})

    async def _report_missing(self, segment: Document) -> None:
        """Log once that a chunk is missing, unless another process has just cut it."""
        known = {"_id": segment["_id"], "snapshot_id": segment["snapshot_id"], _CUT_FROM: None}
        is_reported = segment["_id"] in self._reported
        if is_reported or await self._database.collection(SEGMENTS).find_one(known) is None:
            return
        self._reported.add(segment["_id"])
        _log.warning(
            "%s: a chunk of the segment %s is missing, so it can't be cut; see `verify`",
            segment["market"],
            segment["_id"],
        )


def _is_settled(segment: Document) -> bool:
    """Whether the segment has ended and is archived to its end."""
    has_ended = segment["end_cause"] is not None and segment["archived_id"] == segment["last_id"]
    return has_ended and not segment.get("to_archive")


def _end_of(segment: Document) -> Document:
    """Return the beginning of a segment from which all events were cut."""
    return {
        "snapshot_id": segment["last_id"],
        "first_id": min(segment["last_id"] + 1, INT64_MAX),
        "first_event_ms": segment["last_event_ms"],
    }


class CuttableLoose:
    """A loose chunk, which can only be cut as a whole.

    `ages` is whether it is removed by age; imported chunks are not.
    """

    def __init__(self, database: Database, found: Document, *, ages: bool) -> None:
        self.ages = ages
        self._database = database
        self._found = found

    @property
    def market(self) -> str:
        """The market of the chunk."""
        return str(self._found["market"])

    @property
    def from_ms(self) -> int:
        """The time of its first event (ms since the epoch)."""
        return int(self._found["from_event_ms"])

    async def cut(self, wanted: Wanted) -> Cut:
        """Remove the chunk if it is wanted. Raises PyMongo's errors."""
        found = self._found
        link = ChainLink(
            found["first_id"] - 1,
            *(found["first_id"], found["last_id"]),
            *(found["from_event_ms"], found["to_event_ms"]),
            *(found["event_count"], found["bytes"]),
        )
        if not wanted(link):
            return Cut(is_last=True)
        note = {"_id": f"{_NOTE}{found['_id']}", "market": self.market, "chunk": found["_id"]}
        await self._database.collection(META).replace_one({"_id": note["_id"]}, note, upsert=True)
        await _remove(self._database, note)
        return Cut(link.events, link.bytes, is_last=True)


async def cuttable_loose(database: Database) -> list[CuttableLoose]:
    """Finish the noted removals of loose chunks; return the other loose chunks of `database`.

    Raises PyMongo's errors.
    """
    noted = {"_id": {"$gte": _NOTE, "$lt": _NOTE + "~"}}
    for note in await database.collection(META).find(noted).to_list(None):
        await _remove(database, note)
    pipeline: list[Mapping[str, Any]] = [
        {"$match": {"segment": None}},
        {"$project": {**dict.fromkeys(_FIELDS, 1), "bytes": {"$binarySize": "$data"}}},
    ]
    found = await database.collection(DEPTH_CHUNKS).aggregate(pipeline).to_list(None)
    archived = database.collection(LOOSE_EVENTS).find({"archived": True}, {"chunk": 1})
    # The list of an imported chunk has the same `_id` as the chunk.
    imported = {
        listed["chunk"]: listed["_id"] == listed["chunk"] for listed in await archived.to_list(None)
    }
    return [
        CuttableLoose(database, chunk, ages=not imported[chunk["_id"]])
        for chunk in found
        if chunk["_id"] in imported
    ]


async def _remove(database: Database, note: Document) -> None:
    listed = {"market": note["market"], "archived": True, "chunk": note["chunk"]}
    await database.collection(LOOSE_EVENTS).delete_many(listed)
    await ChunkStore(database).drop_loose([note["chunk"]])
    await database.collection(META).delete_one({"_id": note["_id"]})
