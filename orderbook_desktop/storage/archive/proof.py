"""Encoding a chunk, and the proof that it gives back what it was made of."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from orderbook_desktop.core.archive import (
    ArchiveChunk,
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
from orderbook_desktop.storage.store.chunk_packing import pack_chunk, unpack_chunk

_log = logging.getLogger(__name__)


class UnprovenChunk(DatabaseError):
    """Events of `market` from `first_id` on, encoded, don't come back; `reason` is the fault."""

    def __init__(self, market: str, first_id: int, reason: str) -> None:
        self.market = market
        self.first_id = first_id
        self.reason = reason
        super().__init__(market, first_id, reason)

    def __str__(self) -> str:
        return (
            f"{self.market} can't be archived from update id {self.first_id} on "
            f"({self.reason}); its events stay as they are."
        )


def proven_chunk(start: BookImage, events: Sequence[DepthDiff]) -> ArchiveChunk:
    """Return the chunk of `start` and `events`, proven by decoding it from its bytes.

    Takes as long as encoding twice: call it in a thread. Raises `UnprovenChunk`, and
    `InexactValue` where nothing holds the values.
    """
    chunk = encode_chunk(start, events)
    decoded = _decoded(chunk, events)
    for fault in chunk_faults(decoded, start):
        raise UnprovenChunk(start.market, events[0].first_id, fault.reason)
    for fault in verify_chunk(decoded):
        # It was sent so; what is kept is what was sent.
        _log.warning("%s: archived as it was sent: %s", start.market, fault)
    return chunk


def proven_loose(events: Sequence[DepthDiff]) -> ArchiveChunk:
    """Return the loose chunk of `events`; as `proven_chunk`."""
    chunk = encode_loose(events)
    for fault in chunk_faults(_decoded(chunk, events)):
        raise UnprovenChunk(events[0].market, events[0].first_id, fault.reason)
    return chunk


def _decoded(chunk: ArchiveChunk, events: Sequence[DepthDiff]) -> DecodedChunk:
    decoded = decode_chunk(unpack_chunk(pack_chunk(chunk)))
    if not reproduces(decoded, events):
        reason = "they do not come back as they were"
        raise UnprovenChunk(events[0].market, events[0].first_id, reason)
    return decoded
