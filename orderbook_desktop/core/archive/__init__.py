"""The archive's codec: a minute of one market as a start book and columns of its events."""

from orderbook_desktop.core.archive.chunk import ArchiveChunk, ChunkHeader
from orderbook_desktop.core.archive.decoded import ChunkSlice, DecodedChunk, decode_chunk
from orderbook_desktop.core.archive.encode import encode_chunk, encode_loose
from orderbook_desktop.core.archive.errors import DamagedChunk
from orderbook_desktop.core.archive.minutes import (
    MINUTE_MS,
    closed_span,
    encode_minutes,
    minute_of,
)
from orderbook_desktop.core.archive.verify import (
    ChunkFault,
    best_offers,
    chunk_faults,
    reproduces,
    same_book,
    verify_chunk,
)

__all__ = [
    "MINUTE_MS",
    "ArchiveChunk",
    "ChunkFault",
    "ChunkHeader",
    "ChunkSlice",
    "DamagedChunk",
    "DecodedChunk",
    "best_offers",
    "chunk_faults",
    "closed_span",
    "decode_chunk",
    "encode_chunk",
    "encode_loose",
    "encode_minutes",
    "minute_of",
    "reproduces",
    "same_book",
    "verify_chunk",
]
