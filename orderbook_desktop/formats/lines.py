"""Lines of files that collectors wrote: plain or gzipped, cut off, padded, or overwritten.

A killed collector leaves half a line, or a gzip stream without its end. A restarted collector may
append to that, or write a shorter stream over a longer one. A computer that loses power leaves
zero bytes at the end of a file. The lines before and after such a part are intact; the part
itself is an `UnreadablePart`.

Memory is bounded for any file. A gzip member that follows one without an end is found by its
header (RFC 1952, "Member format").
"""

from __future__ import annotations

import os
import re
import zlib
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from msgspec import Struct

from orderbook_desktop.core.received import UnusableFile

# A book of 5,000 levels a side takes less than a tenth of that.
LONGEST_LINE: Final = 4 << 20
# It is small, as hundreds of files may be open at once.
_READ_BYTES: Final = 1 << 15
_UNPACKED_BYTES: Final = 1 << 16
_GZIP: Final = b"\x1f\x8b\x08"
# It makes zlib read the header and trailer of gzip.
_GZIP_WINDOW: Final = 31
_TRIED_BYTES: Final = 512
_HEADER_BYTES: Final = 10
_zeros: Final = re.compile(rb"\0+")
_ZERO: Final = b"\0"

_CUT_OFF: Final = "the gzip data are cut off"
_DAMAGED: Final = "the gzip data are damaged"
_GARBAGE: Final = "what follows is not gzip data"
_ZEROS: Final = "zero bytes follow"
_NO_END: Final = "the file is cut off"
_CHECKSUM: Final = "the checksum of its gzip data is wrong"


class UnreadablePart(Struct, frozen=True):
    """A part of a file that can't be read: in `line`, for `reason`.

    `fragment` is the part of the line that is there.
    """

    line: int
    reason: str
    fragment: bytes = b""


def check_file(path: Path) -> None:
    """Raise `UnusableFile` where `path` exists and is no file."""
    if os.path.isdir(path):  # noqa: PTH112 (says so too where it may not look)
        raise UnusableFile(path, "is a folder; name the files in it")
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        # The file is read more than once: part of a pipe would be missing, and a device has no
        # end.
        raise UnusableFile(path, "is not a file but a device or a pipe; store it in a file first")


class FileLines:
    """The lines of the file at `path`. Use it as a context manager, and iterate once.

    It yields (number, line without its end), or (number, `UnreadablePart`). It skips empty lines.
    Raises `UnusableFile`.
    """

    def __init__(self, path: Path, longest: int = LONGEST_LINE) -> None:
        self._path = path
        self._longest = longest
        self._number = 0
        self._rest = b""
        # The last yielded line, and its number.
        self._latest, self._at = b"", 0
        # Why the last yielded line may be half a line; empty where it can't be.
        self._doubt = ""
        self._is_zipped = False
        self._is_reading_on = False
        # What is yielded next, each with its `_latest` and `_doubt`.
        self._waiting = deque[tuple[tuple[int, bytes | UnreadablePart], bytes, str]]()
        check_file(path)
        try:
            self._file = path.open("rb")
        except FileNotFoundError as error:
            raise UnusableFile(path, "does not exist") from error
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        self._lines = self._split()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[tuple[int, bytes | UnreadablePart]]:
        """Iterate over the lines; see the class."""
        while True:
            if self._waiting:
                item, self._latest, self._doubt = self._waiting.popleft()
            else:
                found = next(self._lines, None)
                if found is None:
                    return
                item = found
            self._at = item[0]
            yield item

    def following(self) -> bytes | None:
        """Return the line after the last yielded one; None where there is none, or no whole one.

        It is yielded next.
        """
        if not self._waiting:
            latest, doubt = self._latest, self._doubt
            found = next(self._lines, None)
            if found is not None:
                self._waiting.append((found, self._latest, self._doubt))
            self._latest, self._doubt = latest, doubt
        line = self._waiting[0][0][1] if self._waiting else None
        return line if isinstance(line, bytes) else None

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last yielded line may be half a line."""
        return bool(self._doubt)

    def is_broken_here(self) -> bool:
        """Whether the last yielded line, which the caller can't read, is of an unreadable part.

        In gzip data this reads on: overwritten data shows only further down. If the part is
        broken, the lines up to its end are left out; iterating goes on with the `UnreadablePart`.
        """
        if self._doubt:
            if self._doubt == _NO_END:
                self._yield_next(_NO_END)
            return True
        if not self._is_zipped:
            return False
        self._is_reading_on = True
        fragment = self._latest
        waiting, self._waiting = [item for item, *_ in self._waiting], deque()
        for _, line in chain(waiting, self._lines):
            if isinstance(line, UnreadablePart) and line.reason != _ZEROS:
                self._is_reading_on = False
                self._latest = fragment
                self._yield_next(line.reason)
                return True
        return False

    def _yield_next(self, reason: str) -> None:
        """Let the last yielded line be yielded next, as an unreadable part."""
        part = UnreadablePart(self._at, reason, self._latest)
        self._waiting.append(((self._at, part), self._latest, self._doubt))

    def _cut(self, reason: str, fragment: bytes) -> tuple[int, UnreadablePart]:
        return self._number, UnreadablePart(self._number, reason, fragment)

    def _unreadable(self, error: Exception) -> UnusableFile:
        reason = getattr(error, "strerror", None) or str(error)
        return UnusableFile(self._path, f"cannot be read ({reason})", self._number)

    def _blocks(self) -> Iterator[bytes | str]:
        """Iterate over blocks of the content, and the reasons why it is broken after them."""
        try:
            begin = self._file.read(len(_GZIP))
            self._file.seek(0)
            # By content, not by name.
            self._is_zipped = begin[:2] == _GZIP[:2]
            if self._is_zipped:
                yield from _Members(self._file).blocks()
            else:
                while block := self._file.read(_READ_BYTES):
                    yield block
        except OSError as error:
            raise self._unreadable(error) from error

    def _split(self) -> Iterator[tuple[int, bytes | UnreadablePart]]:
        for block in self._blocks():
            if isinstance(block, str):
                yield self._broken(block)
                continue
            if _ZERO in block:
                block = _zeros.sub(_ZERO, block)  # noqa: PLW2901 (there may be gigabytes of them)
            data = self._rest + block
            *lines, self._rest = data.split(b"\n")
            if not self._number or len(data) > self._longest or _ZERO in data:
                for line in lines:
                    yield from self._line(line)
            else:
                yield from self._usual(lines)
            if len(self._rest) > self._longest:
                raise UnusableFile(self._path, "is longer than any message", self._number + 1)
        if self._rest:
            rest, self._rest = self._rest, b""
            # The last line may be whole nevertheless.
            yield from self._line(rest, _NO_END)

    def _usual(self, lines: list[bytes]) -> Iterator[tuple[int, bytes | UnreadablePart]]:
        """Iterate over usual lines: it gives what `_line` gives for each, in half the time."""
        self._doubt = ""
        if not any(lines):
            # There may be millions of empty lines.
            self._number += len(lines)
            return
        for line in lines:
            self._number += 1
            self._latest = line.rstrip(b"\r") if line.endswith(b"\r") else line
            if self._latest:
                yield self._number, self._latest

    def _line(self, line: bytes, doubt: str = "") -> Iterator[tuple[int, bytes | UnreadablePart]]:
        self._number += 1
        if self._number == 1:
            line = line.removeprefix(BOM_UTF8)
        if len(line) > self._longest:
            raise UnusableFile(self._path, "is longer than any message", self._number)
        if _ZERO in line:
            yield from self._between_zeros(line)
            return
        if line.endswith(b"\r"):
            line = line.rstrip(b"\r")
        if line:
            self._latest, self._doubt = line, doubt
            yield self._number, line

    def _between_zeros(self, line: bytes) -> Iterator[tuple[int, bytes | UnreadablePart]]:
        before, *others = _zeros.split(line)
        for other in others:
            self._latest, self._doubt = before, _ZEROS
            if before:
                yield self._number, before
            yield self._cut(_ZEROS, before)
            before = other.rstrip(b"\r")
        if before:
            # It may be the rest of a line, where a block of the file was lost.
            self._latest, self._doubt = before, _ZEROS
            yield self._number, before

    def _broken(self, reason: str) -> tuple[int, UnreadablePart]:
        if reason == _CHECKSUM and not self._is_reading_on:
            # Any of the lines up to here may be damaged.
            raise UnusableFile(self._path, f"is damaged: {reason}")
        self._number += 1
        # The rest is half a line, whose other half is lost.
        cut = self._cut(reason, self._rest)
        self._rest = b""
        return cut


class _Members:
    """The members of gzip data; some may lack their end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data = b""
        # An unreadable part is reported once.
        self._is_reported = False

    def blocks(self) -> Iterator[bytes | str]:
        """Iterate over blocks of the data, and the reasons why it is broken after them."""
        while self._has_more():
            # A member may begin with a long file name; in garbage a name is not believed.
            if _begins_member(self._data[:_TRIED_BYTES], is_expected=not self._is_reported):
                self._is_reported = False
                yield from self._member()
                continue
            if not self._is_reported:
                self._is_reported = True
                yield _GARBAGE
            at = self._next_member(1)
            self._data = b"" if at is None else self._data[at:]

    def _read(self) -> bool:
        """Read more data; return whether there was any."""
        more = self._file.read(_READ_BYTES)
        self._data += more
        return bool(more)

    def _has_more(self) -> bool:
        """Whether there is data behind the padding."""
        self._data = self._data.lstrip(_ZERO)
        while not self._data:
            if not self._read():
                return False
            self._data = self._data.lstrip(_ZERO)
        if len(self._data) < _TRIED_BYTES:
            self._read()
        return True

    def _member(self) -> Iterator[bytes | str]:
        unpack, begin = zlib.decompressobj(_GZIP_WINDOW), 1
        while True:
            at = self._next_member(begin)
            begin = 0
            end = len(self._data) if at is None else at
            data, self._data = self._data[:end], self._data[end:]
            try:
                yield from _unpacked(unpack, data)
            except zlib.error as error:
                self._is_reported = True
                yield _CHECKSUM if "check" in str(error) else _DAMAGED
                return
            if unpack.eof:
                self._data = unpack.unused_data + self._data
                return
            if at is not None or not self._read():
                self._is_reported = True
                yield _CUT_OFF
                return

    def _next_member(self, begin: int) -> int | None:
        """Return where the next member begins, from `begin` on, or None."""
        # A header may begin with the last byte.
        while self._data.endswith(_GZIP[:1]) and self._read():
            pass
        at = self._data.find(_GZIP[:2], begin)
        while at >= 0:
            if len(self._data) - at < _TRIED_BYTES:
                self._read()
            if _begins_member(self._data[at : at + _TRIED_BYTES]):
                return at
            at = self._data.find(_GZIP[:2], at + 1)
        return None


def _begins_member(data: bytes, *, is_expected: bool = False) -> bool:
    """Whether a gzip member begins with `data`: it has a valid header, and the rest unpacks."""
    if is_expected and data.startswith(_GZIP):
        return True
    head = data[:_HEADER_BYTES]
    if len(head) < _HEADER_BYTES or not head.startswith(_GZIP):
        return False
    # Flags (a file name at most), the compression level, and the system.
    if head[3] not in (0, 8) or head[8] not in (0, 2, 4) or not (head[9] <= 13 or head[9] == 255):
        return False
    try:
        unpacked = zlib.decompressobj(_GZIP_WINDOW).decompress(data[:_TRIED_BYTES])
    except zlib.error:
        return False
    return bool(unpacked) or len(data) < _TRIED_BYTES


def _unpacked(unpack: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Iterate over the unpacked `data`, to the last byte before any damage."""
    while data and not unpack.eof:
        before = unpack.copy()
        try:
            block = unpack.decompress(data, _UNPACKED_BYTES)
        except zlib.error:
            for byte in range(len(data)):
                yield before.decompress(data[byte : byte + 1])
            raise
        if block:
            yield block
        data = unpack.unconsumed_tail


def first_line(path: Path) -> bytes:
    """Return the first line that is not empty; raises `UnusableFile` where there is none."""
    broken = ""
    with FileLines(path) as lines:
        for _, line in lines:
            if isinstance(line, bytes):
                return line
            if line.reason != _ZEROS:
                broken = broken or line.reason
    reason = f"has no whole line: {broken}" if broken else "is empty"
    raise UnusableFile(path, reason)
