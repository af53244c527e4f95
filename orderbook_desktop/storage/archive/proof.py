"""Proves chunks by decoding them, and removes the raw events that a proven chunk replaces."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

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
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import PackedChunk, pack_chunk, unpack_chunk
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.segments import unarchived_ranges

_log = logging.getLogger(__name__)


class UnprovenChunk(DatabaseError):
    """A chunk of `market` from `first_id` on doesn't decode to its events; `reason` says why."""

    market: str
    first_id: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.market} can't be archived from update id {self.first_id} on "
            f"({self.reason}); its events stay as they are."
        )


def proven_chunk(start: BookImage, events: Sequence[DepthDiff]) -> PackedChunk:
    """Return the packed chunk of `start` and `events`, proven by decoding it.

    Store its bytes as they are. It takes as long as encoding twice, so call it in a thread. Raises
    `UnprovenChunk`, and `InexactValue` if no scale can hold the values.
    """
    packed = pack_chunk(encode_chunk(start, events))
    decoded = _decoded(packed, events)
    for fault in chunk_faults(decoded, start):
        raise UnprovenChunk(start.market, events[0].first_id, fault.reason)
    for fault in verify_chunk(decoded):
        # The exchange sent it like that, and the archive holds what was sent.
        _log.warning("%s: archived as it was sent: %s", start.market, fault)
    return packed


def proven_loose(events: Sequence[DepthDiff]) -> PackedChunk:
    """Return the packed loose chunk of `events`, like `proven_chunk`."""
    packed = pack_chunk(encode_loose(events))
    for fault in chunk_faults(_decoded(packed, events)):
        raise UnprovenChunk(events[0].market, events[0].first_id, fault.reason)
    return packed


def _decoded(packed: PackedChunk, events: Sequence[DepthDiff]) -> DecodedChunk:
    decoded = decode_chunk(unpack_chunk(packed.data))
    if not reproduces(decoded, events):
        reason = "the encoded events differ from the recorded ones"
        raise UnprovenChunk(events[0].market, events[0].first_id, reason)
    return decoded


class ArchivedRaw:
    """Removes archived raw events. Its methods raise PyMongo's errors; then call them again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remove(self, market: str, ids: Iterable[int], of: str) -> list[int]:
        """Remove the raw events with the final ids `ids`, unless another segment needs them.

        Call it once they are proven to be archived in the segment `of`. Return the ids of those
        that were not needed.
        """
        ranges = await unarchived_ranges(self._database, market)
        claims = [claim for segment_id, claim in ranges.items() if segment_id != of]
        mine = sorted(u for u in ids if not any(after < u <= last for after, last in claims))
        await RawEvents(self._database, market).remove(mine)
        return mine

    async def sweep(self, chunk: DecodedChunk, of: str) -> list[int]:
        """Remove the raw events of `chunk` that a kill has left, as `remove` does."""
        coverage, market = chunk.header.coverage, chunk.header.market
        raw = RawEvents(self._database, market)
        archived = chunk.numbers.final_ids.tolist()
        found = await raw.between(coverage.first_id - 1, coverage.last_id, sorted(archived))
        if not found:
            return []
        received = dict(zip(archived, chunk.numbers.received_ns.tolist(), strict=True))
        # An event with the same id and another receive time was stored later, and stays.
        same = [u for u, ns in found.items() if received.get(u) == ns]
        return await self.remove(market, same, of)
