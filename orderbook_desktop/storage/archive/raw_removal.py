"""Raw events that are archived: removed, exactly these, unless another segment needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from orderbook_desktop.core.archive import DecodedChunk
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.schema import DEPTH_EVENTS, SEGMENTS, Document

# SecantusDB removes so many, each named, within some ten milliseconds, and takes nothing else
# meanwhile; of more at once each costs more, and of a range with a further condition it walks
# through the whole collection.
_REMOVED_AT_ONCE: Final = 50
_PAUSE_S: Final = 0.005


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
