"""Server-sent events as bytes, made once for all viewers, plain and compressed.

Each event is compressed on its own: its bytes end on a byte boundary (`Z_FULL_FLUSH`) and refer
to no earlier event. The same bytes therefore fit into every viewer's gzip stream. An event is
compressed once, not once per viewer, and a viewer can read it as soon as it arrives.
"""

from __future__ import annotations

import struct
import zlib
from functools import cached_property
from typing import Final

from fastapi.sse import format_sse_event

# Levels of zlib. A whole book of thousands of levels must not block the event loop.
_LEVEL: Final = 6
_LEVEL_OF_LARGE: Final = 1
_LARGE: Final = 64 * 1024

# RFC 1952: magic number, deflate, no flags, no time, no hint, unknown system.
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_EMPTY_BLOCK: Final = b"\x03\x00"


class Frame:
    """Server-sent events: `packed` is for viewers that accept gzip, `plain` for the others."""

    def __init__(self, plain: bytes) -> None:
        self.plain = plain

    def __add__(self, other: Frame) -> Frame:
        """Return the events of this frame and then those of the other one."""
        return Frame(self.plain + other.plain)

    @cached_property
    def packed(self) -> bytes:
        """The event as deflate blocks that refer to no other event."""
        level = _LEVEL if len(self.plain) < _LARGE else _LEVEL_OF_LARGE
        packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(self.plain) + packer.flush(zlib.Z_FULL_FLUSH)


def event_frame(data: str, event_id: str | None = None, name: str | None = None) -> Frame:
    """Return an event; `EventSource` and htmx take one without a name by default."""
    return Frame(format_sse_event(data_str=data, id=event_id, event=name))


def opening_frame(retry_ms: int) -> Frame:
    """Return the first event of a stream: how long to wait before connecting again."""
    return Frame(format_sse_event(retry=retry_ms, comment="the order book follows"))


class Encoding:
    """Encodes one viewer's stream. Call `start`, then `take` for each frame, then `end`."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._checksum = 0
        self._length = 0

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response that name the encoding."""
        return {"content-encoding": "gzip"} if self._gzip else {}

    def start(self) -> bytes:
        """Return the bytes before the first frame."""
        return _GZIP_HEADER if self._gzip else b""

    def take(self, frame: Frame) -> bytes:
        """Return the frame's bytes for this stream."""
        if not self._gzip:
            return frame.plain
        self._checksum = zlib.crc32(frame.plain, self._checksum)
        self._length += len(frame.plain)
        return frame.packed

    def end(self) -> bytes:
        """Return the bytes that complete the stream."""
        if not self._gzip:
            return b""
        trailer = struct.pack("<LL", self._checksum, self._length & 0xFFFFFFFF)
        return _LAST_EMPTY_BLOCK + trailer


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the value of an `Accept-Encoding` header names gzip and doesn't refuse it."""
    for part in accept_encoding.lower().split(","):
        name, _, parameter = part.partition(";")
        if name.strip() == "gzip":
            return parameter.strip().removeprefix("q=").strip("0.") != "" or not parameter
    return False
