"""Compression of what is stored as one piece."""

from __future__ import annotations

from typing import Final

import zstandard

from orderbook_desktop.storage.errors import DatabaseError

# A book of more than a million levels, which as a list of pairs still fits into memory.
_UNPACKED_AT_MOST: Final = 64 << 20
# A block of 4 bytes can unpack to 128 KiB: so much at once is 8 MiB at most.
_PACKED_AT_ONCE: Final = 256


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
