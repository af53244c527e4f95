"""Compression of what is stored as one piece."""

from __future__ import annotations

import zstandard

from orderbook_desktop.storage.errors import DatabaseError


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


def unpack(packed: bytes) -> bytes:
    """Return what was packed; raises `DamagedDocument`."""
    # Not `decompress()`: that believes a header which says that there is nothing.
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        data = decompressor.decompress(packed)
    except (zstandard.ZstdError, TypeError) as error:
        raise DamagedDocument(str(error)) from error
    if not decompressor.eof or decompressor.unused_data:
        raise DamagedDocument("its length is wrong")
    return data
