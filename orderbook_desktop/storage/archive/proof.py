"""Removes the raw events that a proven chunk replaces."""

from __future__ import annotations

from collections.abc import Iterable

from orderbook_desktop.core.archive import DecodedChunk
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.segments import unarchived_ranges


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
        same = [
            event.final_id for event in found if received.get(event.final_id) == event.received_ns
        ]
        return await self.remove(market, same, of)
