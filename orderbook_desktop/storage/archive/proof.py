"""Chunks proven by decoding them, and the raw events that a proven chunk replaces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from orderbook_desktop.core.archive import (
    DecodedChunk,
    chunk_faults,
    decode_chunk,
    encode_chunk,
    encode_loose,
    reproduces,
    verify_chunk,
)
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import PackedChunk, pack_chunk, unpack_chunk
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.schema import DEPTH_EVENTS, SEGMENTS, Document

_log = logging.getLogger(__name__)

# SecantusDB removes so many, each named, within some ten milliseconds, and takes nothing else
# meanwhile; of more at once each costs more, and of a range with a further condition it walks
# through the whole collection.
_REMOVED_AT_ONCE: Final = 50
_PAUSE_S: Final = 0.005


@dataclass(eq=False)
class UnprovenChunk(DatabaseError):
    """Events of `market` from `first_id` on, encoded, don't come back; `reason` is the fault."""

    market: str
    first_id: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.market} can't be archived from update id {self.first_id} on "
            f"({self.reason}); its events stay as they are."
        )


def proven_chunk(start: BookImage, events: Sequence[DepthDiff]) -> PackedChunk:
    """Return the chunk of `start` and `events`, proven by decoding it from the bytes it has.

    Store these very bytes. Takes as long as encoding twice: call it in a thread. Raises
    `UnprovenChunk`, and `InexactValue` where nothing holds the values.
    """
    packed = pack_chunk(encode_chunk(start, events))
    decoded = _decoded(packed, events)
    for fault in chunk_faults(decoded, start):
        raise UnprovenChunk(start.market, events[0].first_id, fault.reason)
    for fault in verify_chunk(decoded):
        # It was sent so; what is kept is what was sent.
        _log.warning("%s: archived as it was sent: %s", start.market, fault)
    return packed


def proven_loose(events: Sequence[DepthDiff]) -> PackedChunk:
    """Return the loose chunk of `events`; as `proven_chunk`."""
    packed = pack_chunk(encode_loose(events))
    for fault in chunk_faults(_decoded(packed, events)):
        raise UnprovenChunk(events[0].market, events[0].first_id, fault.reason)
    return packed


def _decoded(packed: PackedChunk, events: Sequence[DepthDiff]) -> DecodedChunk:
    decoded = decode_chunk(unpack_chunk(packed.data))
    if not reproduces(decoded, events):
        reason = "they do not come back as they were"
        raise UnprovenChunk(events[0].market, events[0].first_id, reason)
    return decoded


class ArchivedRaw:
    """Removes raw events of segments. Its methods raise PyMongo's errors; repeat them then."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remove(self, market: str, ids: Iterable[int], of: str | None) -> None:
        """Remove the raw events whose final ids are `ids`, unless another segment needs them.

        Call it once they are archived, beyond doubt, in the segment `of` (None: as loose
        events).
        """
        claims = await self._claims(market, of)
        mine = sorted(one for one in ids if not any(after < one <= last for after, last in claims))
        for start in range(0, len(mine), _REMOVED_AT_ONCE):
            some = {"$in": mine[start : start + _REMOVED_AT_ONCE]}
            query = {"market": market, "u": some}
            await self._database.collection(DEPTH_EVENTS).delete_many(query)
            await asyncio.sleep(_PAUSE_S)

    async def sweep(self, chunk: DecodedChunk, of: str | None) -> None:
        """Remove what is left, after a kill, of the raw events that `chunk` has; as `remove`."""
        coverage, market = chunk.header.coverage, chunk.header.market
        raw = RawEvents(self._database, market)
        found = await raw.between(coverage.first_id - 1, coverage.last_id)
        if not found:
            return
        received = dict(
            zip(chunk.numbers.final_ids.tolist(), chunk.numbers.received_ns.tolist(), strict=True)
        )
        # One of the same ids that came in since is another event.
        same = [u for u, ns in found.items() if received.get(u) == ns]
        await self.remove(market, same, of)

    async def _claims(self, market: str, of: str | None) -> list[tuple[int, int]]:
        """Return the ranges of ids that segments, but for the one `of`, may still need."""
        others = {"market": market, "to_archive": True}
        found = await self._database.collection(SEGMENTS).find(others).to_list(None)
        return [unarchived_range(one) for one in found if one["_id"] != of]


def unarchived_range(segment: Document) -> tuple[int, int]:
    """Return after which id, and through which, a stored segment may need raw events."""
    end = INT64_MAX if segment["end_cause"] is None else segment["last_id"]
    return segment["archived_id"], end
