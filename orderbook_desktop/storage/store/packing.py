"""Compression of payloads, and the packing of chunks into documents of `depth_chunks`.

A packed chunk is a checksum (16 bytes, BLAKE2b of the rest), then the chunk as MessagePack. Each
column's tokens are compressed by zstd if that makes them smaller. A column's bits are noise and
are stored as they are. A document of `depth_chunks` has these fields:

`market`, `start_id`, `first_id`, `last_id`  the start book, and the update ids of the chunk;
                                             without a book `start_id` is an id before
`minute`                                     of its first event, since the epoch
`from_time`, `to_time`, `event_count`
`schema_version`                             of the packed chunk
`data`                                       the packed chunk, with its checksum

All fields but `data`, and the `start_id` of a chunk without a book, are copies of values in
`data`. A copy that differs counts as damage.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec
import zstandard
from msgspec.structs import replace

from orderbook_desktop.core.archive import (
    ArchiveChunk,
    ChunkHeader,
    DamagedChunk,
    DecodedChunk,
    chunk_faults,
    decode_chunk,
    encode_chunk,
    encode_loose,
    minute_of,
    reproduces,
    verify_chunk,
)
from orderbook_desktop.core.archive.tokens import Column
from orderbook_desktop.core.archive.trades import TradeChunk
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.schema import Document

_log = logging.getLogger(__name__)

# Enough for a book of more than a million levels, which still fits into memory as a list of pairs.
_UNPACKED_AT_MOST: Final = 64 << 20
# A block of 4 bytes can unpack to 128 KiB, so this many bytes unpack to 8 MiB at most.
_PACKED_AT_ONCE: Final = 256

CHECKSUM_BYTES: Final = 16
# Higher levels search longer for repeated sequences. The tokens have few of them, and a reference
# to a short sequence may take more bytes than the sequence.
_LEVEL: Final = 1
_FORMAT: Final = zstandard.FORMAT_ZSTD1_MAGICLESS
_PARAMETERS: Final = zstandard.ZstdCompressionParameters.from_level(
    _LEVEL, format=_FORMAT, write_checksum=False, write_dict_id=False
)
_TOKENS_AT_MOST: Final = 1 << 28
_STORED: Final = b"\0"
_COMPRESSED: Final = b"\1"

_Part = TypeVar("_Part", bound=msgspec.Struct)
_decoder: Final = msgspec.msgpack.Decoder(ArchiveChunk)

CHUNK_FIELDS: Final = frozenset(
    {
        *("market", "start_id", "first_id", "last_id", "minute", "from_time", "to_time"),
        *("event_count", "schema_version", "data"),
    }
)


class DamagedDocument(DatabaseError):
    """A stored document is damaged; `reason` says how, at times in a library's words."""

    reason: str

    def __str__(self) -> str:
        return f"A document of the recording is damaged ({self.reason})."


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


def pack(data: bytes) -> bytes:
    """Return `data` compressed by zstd, with a checksum."""
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)


def unpack(
    packed: bytes,
    at_most: int = _UNPACKED_AT_MOST,
    decompressor: zstandard.ZstdDecompressor | None = None,
) -> bytes:
    """Return the unpacked data. Raises `DamagedDocument`, also above `at_most` bytes."""
    # Not `decompress()`: it trusts a damaged header that gives the length 0.
    reading = (decompressor or zstandard.ZstdDecompressor()).decompressobj()
    unpacked = bytearray()
    try:
        for start in range(0, len(packed), _PACKED_AT_ONCE):
            unpacked += reading.decompress(packed[start : start + _PACKED_AT_ONCE])
            if len(unpacked) > at_most:
                raise DamagedDocument(f"it unpacks to more than {at_most:,} bytes")
            if reading.unused_data:
                break
    except (zstandard.ZstdError, TypeError) as error:
        raise DamagedDocument(str(error)) from error
    if not reading.eof or reading.unused_data:
        raise DamagedDocument("its length is wrong")
    return bytes(unpacked)


class PackedChunk(NamedTuple):
    """A chunk as it is stored: its header, and the whole chunk as bytes."""

    header: ChunkHeader
    data: bytes


def pack_chunk(chunk: ArchiveChunk) -> PackedChunk:
    """Return `chunk` packed."""
    return PackedChunk(chunk.header, packed_bytes(chunk))


def packed_bytes(chunk: ArchiveChunk | TradeChunk) -> bytes:
    """Return `chunk` packed, with its checksum."""
    compressor = zstandard.ZstdCompressor(compression_params=_PARAMETERS)

    def packed(column: Column) -> Column:
        smaller = compressor.compress(column.tokens)
        if len(smaller) < len(column.tokens):
            return Column(_COMPRESSED + smaller, column.bits)
        return Column(_STORED + column.tokens if column.tokens else b"", column.bits)

    body = msgspec.msgpack.encode(_each_column(chunk, packed))
    return _checksum(body) + body


def unpack_chunk(data: bytes) -> ArchiveChunk:
    """Return the chunk that was packed into `data`. Raises `DamagedChunk` if a byte differs."""
    return with_columns_unpacked(_opened(data))


def _opened(data: bytes) -> ArchiveChunk:
    return opened_bytes(data, _decoder)


def opened_bytes(data: bytes, decoder: msgspec.msgpack.Decoder[_Part]) -> _Part:
    """Return the chunk that was packed into `data`, its columns still compressed.

    Raises `DamagedChunk` if a byte differs.
    """
    body = data[CHECKSUM_BYTES:]
    if _checksum(body) != data[:CHECKSUM_BYTES]:
        raise DamagedChunk("its checksum does not match")
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedChunk(str(error)) from error


def with_columns_unpacked(chunk: _Part) -> _Part:
    """Return `chunk` with its columns as they were before `packed_bytes`. Raises `DamagedChunk`."""
    decompressor = zstandard.ZstdDecompressor(format=_FORMAT)
    room = _TOKENS_AT_MOST

    def unpacked(column: Column) -> Column:
        nonlocal room
        kind, tokens = column.tokens[:1], column.tokens[1:]
        if kind == _COMPRESSED:
            # The library gives as much memory as a frame says that it needs.
            room -= zstandard.get_frame_parameters(tokens, _FORMAT).content_size
            if room < 0:
                raise DamagedChunk(f"it unpacks to more than {_TOKENS_AT_MOST:,} bytes")
            tokens = decompressor.decompress(tokens)
        return Column(tokens, column.bits)

    try:
        return _each_column(chunk, unpacked)
    except zstandard.ZstdError as error:
        raise DamagedChunk(str(error)) from error


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


def _each_column(part: _Part, change: Callable[[Column], Column]) -> _Part:
    """Return `part`, a structure of columns and nested structures, with each column changed.

    A header, which has neither, stays as it is.
    """
    fields = {name: getattr(part, name) for name in part.__struct_fields__}
    changed = {
        name: change(field) if isinstance(field, Column) else _each_column(field, change)
        for name, field in fields.items()
        if isinstance(field, msgspec.Struct)
    }
    return replace(part, **changed) if changed else part


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECKSUM_BYTES).digest()


def chunk_key(segment_id: str, start_id: int) -> str:
    """Return the `_id` of the segment's chunk that starts with the book at `start_id`."""
    return f"{segment_id}:{start_id}"


def chunk_document(chunk: PackedChunk, after_id: int) -> Document:
    """Return the document of `chunk`, without an `_id`.

    A chunk without a book comes after the update id `after_id`.
    """
    return {"start_id": after_id, **_found_by(chunk.header), "data": chunk.data}


def chunk_of(document: Document) -> ArchiveChunk:
    """Return the chunk that `document` stores. Raises `DamagedChunk`."""
    return with_columns_unpacked(_checked(document))


def packed_of(document: Document) -> PackedChunk:
    """Return the chunk that `document` stores, still packed. Raises `DamagedChunk`."""
    return PackedChunk(_checked(document).header, document["data"])


def _checked(document: Document) -> ArchiveChunk:
    chunk = _opened(document["data"])
    for name, value in _found_by(chunk.header).items():
        if not _is_same(document.get(name), value):
            raise DamagedChunk(f"its {name} is not that of its contents")
    return chunk


def _is_same(found: object, value: object) -> bool:
    # 0.0 and False equal 0, but the program stores neither.
    is_alike = isinstance(found, type(value)) and not isinstance(found, bool)
    return is_alike and found == value


def _found_by(header: ChunkHeader) -> Document:
    coverage = header.coverage
    start = {} if header.start_id is None else {"start_id": header.start_id}
    return start | {
        "market": header.market,
        "first_id": coverage.first_id,
        "last_id": coverage.last_id,
        "minute": minute_of(coverage.from_event_ms),
        "from_time": coverage.from_event_ms,
        "to_time": coverage.to_event_ms,
        "event_count": coverage.event_count,
        "schema_version": header.schema_version,
    }
