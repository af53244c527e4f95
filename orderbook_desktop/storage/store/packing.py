"""What is stored as bytes: compressed pieces, and the chunks of `depth_chunks`.

A packed chunk is the checksum (16 bytes, BLAKE2b of everything behind it), then the chunk
as MessagePack. Of each column the tokens are compressed by zstd, where that makes them smaller;
the bits are noise and are stored as they are. A document of `depth_chunks` has these fields:

`market`, `start_id`, `first_id`, `last_id`  the book and the update ids that the chunk covers
`minute`                                     of its first event, since the epoch
`from_event_ms`, `to_event_ms`, `event_count`
`schema_version`                             of the packed chunk
`data`                                       the packed chunk, with its checksum

All but `data` is a copy of what `data` holds; a copy that differs is damage too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import msgspec
import zstandard

from orderbook_desktop.core.archive import ArchiveChunk, ChunkHeader, DamagedChunk, minute_of
from orderbook_desktop.core.archive.tokens import Column
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.schema import Document

# A book of more than a million levels, which as a list of pairs still fits into memory.
_UNPACKED_AT_MOST: Final = 64 << 20
# A block of 4 bytes can unpack to 128 KiB: so much at once is 8 MiB at most.
_PACKED_AT_ONCE: Final = 256

_CHECKSUM_BYTES: Final = 16
# Higher levels look harder for repeated sequences; the tokens have few, and at times it
# costs more to point at a short one.
_LEVEL: Final = 1
_PARAMETERS: Final = zstandard.ZstdCompressionParameters.from_level(
    _LEVEL, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_checksum=False, write_dict_id=False
)
_TOKENS_AT_MOST: Final = 1 << 28
_STORED: Final = b"\0"
_COMPRESSED: Final = b"\1"

_Part = TypeVar("_Part", bound=msgspec.Struct)
_decoder: Final = msgspec.msgpack.Decoder(ArchiveChunk)

CHUNK_FIELDS: Final = frozenset(
    {
        *("market", "start_id", "first_id", "last_id", "minute", "from_event_ms", "to_event_ms"),
        *("event_count", "schema_version", "data"),
    }
)


class DamagedDocument(DatabaseError):
    """A stored document can't be unpacked; `reason` is the library's."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return f"A document of the recording is damaged ({self.reason})."


def pack(data: bytes) -> bytes:
    """Return `data` compressed by zstd, with a checksum."""
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)


def unpack(packed: bytes, at_most: int = _UNPACKED_AT_MOST) -> bytes:
    """Return what was packed, of `at_most` bytes; raises `DamagedDocument`."""
    # Not `decompress()`: that believes a header which says that there is nothing.
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    unpacked = bytearray()
    try:
        for start in range(0, len(packed), _PACKED_AT_ONCE):
            unpacked += decompressor.decompress(packed[start : start + _PACKED_AT_ONCE])
            if len(unpacked) > at_most:
                raise DamagedDocument(f"it unpacks to more than {at_most:,} bytes")
            if decompressor.unused_data:
                break
    except (zstandard.ZstdError, TypeError) as error:
        raise DamagedDocument(str(error)) from error
    if not decompressor.eof or decompressor.unused_data:
        raise DamagedDocument("its length is wrong")
    return bytes(unpacked)


class PackedChunk(NamedTuple):
    """A chunk as it is stored: its header, and all of it as bytes."""

    header: ChunkHeader
    data: bytes


def pack_chunk(chunk: ArchiveChunk) -> PackedChunk:
    """Return `chunk` packed."""
    compressor = zstandard.ZstdCompressor(compression_params=_PARAMETERS)

    def packed(column: Column) -> Column:
        smaller = compressor.compress(column.tokens)
        if len(smaller) < len(column.tokens):
            return Column(_COMPRESSED + smaller, column.bits)
        return Column(_STORED + column.tokens if column.tokens else b"", column.bits)

    columns = _each_column(chunk.columns, packed)
    body = msgspec.msgpack.encode(ArchiveChunk(chunk.header, columns))
    return PackedChunk(chunk.header, _checksum(body) + body)


def unpack_chunk(data: bytes) -> ArchiveChunk:
    """Return the chunk of which these are the bytes; raises `DamagedChunk` if one differs."""
    body = data[_CHECKSUM_BYTES:]
    if _checksum(body) != data[:_CHECKSUM_BYTES]:
        raise DamagedChunk("its checksum does not match")
    decompressor = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)

    def unpacked(column: Column) -> Column:
        kind, tokens = column.tokens[:1], column.tokens[1:]
        if kind == _COMPRESSED:
            tokens = decompressor.decompress(tokens, max_output_size=_TOKENS_AT_MOST)
        return Column(tokens, column.bits)

    try:
        chunk = _decoder.decode(body)
        return ArchiveChunk(chunk.header, _each_column(chunk.columns, unpacked))
    except (msgspec.DecodeError, zstandard.ZstdError) as error:
        raise DamagedChunk(str(error)) from error


def _each_column(part: _Part, change: Callable[[Column], Column]) -> _Part:
    """Return `part`, a structure of columns and such structures, with each column changed."""
    fields = (getattr(part, name) for name in part.__struct_fields__)
    return type(part)(
        *(
            change(field) if isinstance(field, Column) else _each_column(field, change)
            for field in fields
        )
    )


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def chunk_document(chunk: PackedChunk) -> Document:
    """Return the document of `chunk`, without an `_id`."""
    return {**_found_by(chunk.header), "data": chunk.data}


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
