"""Chunks as documents of `depth_chunks`: the packed chunk, and by what it is found.

`market`, `start_id`, `first_id`, `last_id`  the book and the update ids that it covers
`minute`                                     of its first event, since the epoch
`from_event_ms`, `to_event_ms`, `event_count`
`schema_version`                             of the packed chunk
`data`                                       the packed chunk, with its checksum

All but `data` is a copy of what `data` holds; a copy that differs is damage too.
"""

from __future__ import annotations

from typing import Final

from orderbook_desktop.core.archive import ArchiveChunk, ChunkHeader, DamagedChunk, minute_of
from orderbook_desktop.storage.store.chunk_packing import pack_chunk, unpack_chunk
from orderbook_desktop.storage.store.schema import Document

CHUNK_FIELDS: Final = frozenset(
    {
        *("market", "start_id", "first_id", "last_id", "minute", "from_event_ms", "to_event_ms"),
        *("event_count", "schema_version", "data"),
    }
)


def chunk_document(chunk: ArchiveChunk) -> Document:
    """Return the document of `chunk`, without an `_id`."""
    return {**_found_by(chunk.header), "data": pack_chunk(chunk)}


def chunk_of(document: Document) -> ArchiveChunk:
    """Return the chunk that `document` stores. Raises `DamagedChunk`."""
    chunk = unpack_chunk(document["data"])
    for name, value in _found_by(chunk.header).items():
        if not _is_same(document.get(name), value):
            raise DamagedChunk(f"its {name} is not that of its contents")
    return chunk


def _is_same(found: object, value: object) -> bool:
    # 0.0 and False equal 0, but were not stored.
    is_alike = isinstance(found, type(value)) and not isinstance(found, bool)
    return is_alike and found == value


def _found_by(header: ChunkHeader) -> Document:
    coverage = header.coverage
    return {
        "market": header.market,
        "start_id": header.start_id,
        "first_id": coverage.first_id,
        "last_id": coverage.last_id,
        "minute": minute_of(coverage.from_event_ms),
        "from_event_ms": coverage.from_event_ms,
        "to_event_ms": coverage.to_event_ms,
        "event_count": coverage.event_count,
        "schema_version": header.schema_version,
    }
