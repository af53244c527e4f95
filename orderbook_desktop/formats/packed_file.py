"""The container of a packed recording (`.obd`): records, and tables by which they are found.

`docs/packed-recordings.md` describes the file byte for byte. In short:

    header      magic, number of this format, number of the schema of the records, checksum
    market      its records, kind by kind, one right after the other; then a table for each kind
    ...         the other markets, by name
    directory   where the tables of each market are, and their checksums
    footer      where the directory is, its checksum, the length of the file, a checksum of these

A row of a table is where a record lies, its length, its checksum, and the numbers by which it is
looked up. So the footer proves the directory, that proves the tables, and these the records: there
is no byte that none of them covers. What a record holds is known in `storage.store`.

A file may be hostile: each length is compared with the file and with a limit before it is used.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO, Final, Self

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.symbols import is_market
from orderbook_desktop.core.wording import counted

SUFFIX: Final = ".obd"
# A file has the least number that suffices, so that an earlier version of the program reads it.
FORMAT: Final = 1
FORMAT_WITH_TRADES: Final = 2
FORMAT_WITH_BOOKMARKS: Final = 3
# As in PNG files: a transfer as text, or one that clears the highest bit, changes it.
_MAGIC: Final = b"\x89OBD\r\n\x1a\n"
_END: Final = b"OBD\n"
_HEADER: Final = struct.Struct("<8sIII")
# Directory: offset, length, digest; length of the file; checksum of all before it; end.
_FOOTER: Final = struct.Struct("<QQ16sQI4s")
_DIGEST_BYTES: Final = 16

# The kinds of records in the order in which they are stored, and the numbers of a row of each.
KINDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "chunks": ("segment", "start_id", "last_id", "from_ms", "to_ms"),
        "books": ("segment", "update_id"),
        "witnesses": ("update_id", "joined_id"),
        "segments": ("start_id", "last_id", "from_ms", "to_ms"),
    }
)
# The same for a file with trades, after all the others.
TRADE_KINDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "trade_parts": ("first_id", "last_id", "from_ms", "to_ms", "archived"),
        "trade_runs": ("first_id", "last_id", "from_ms", "to_ms"),
    }
)
# The same for a file with bookmarks, which has the tables of trades too.
BOOKMARK_KINDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"bookmarks": ("event_ms", "update_id")}
)
_NUMBERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {**KINDS, **TRADE_KINDS, **BOOKMARK_KINDS}
)
_KINDS_OF: Final[Mapping[int, tuple[str, ...]]] = MappingProxyType(
    {
        FORMAT: tuple(KINDS),
        FORMAT_WITH_TRADES: (*KINDS, *TRADE_KINDS),
        FORMAT_WITH_BOOKMARKS: tuple(_NUMBERS),
    }
)
# By kind, the numbers in whose order the rows are; no two rows have the same.
_ORDERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "chunks": ("segment", "start_id"),
        "books": ("segment", "update_id"),
        "witnesses": ("update_id",),
        "segments": (),
        "trade_parts": ("first_id", "last_id"),
        "trade_runs": (),
        "bookmarks": (),
    }
)
# A document of a database has at most 16 MiB.
_RECORD_AT_MOST: Final = 17 << 20
# More than seven years of minutes.
_TABLE_AT_MOST: Final = 256 << 20
_DIRECTORY_AT_MOST: Final = 16 << 20
_PROVEN_AT_ONCE: Final = 4 << 20
_MARKETS_AT_MOST: Final = 50_000

Rows = npt.NDArray[Any]
Numbers = tuple[int, ...]


class PackedFileError(KnownError):
    """Root of the errors of packed recordings."""


class NoPackedFile(PackedFileError):
    """There is no packed recording at `path`; `reason` says what is there."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{_name(self.path)} {self.reason}."


class OtherFormat(PackedFileError):
    """The file at `path` is of a version that this program does not know; `what` names it."""

    path: Path
    what: str

    def __str__(self) -> str:
        return (
            f"{_name(self.path)} has {self.what}, which this version of the program does not know; "
            "a later version reads it."
        )


class DamagedPackedFile(PackedFileError):
    """The file at `path` is not as it was written; `reason` says where."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{_name(self.path)} is damaged: {self.reason}; use another copy of it."


def _name(path: Path) -> str:
    return plain_text(str(path), 300)


def _row_type(kind: str) -> np.dtype[Any]:
    place = [("offset", "<u8"), ("length", "<u4"), ("checksum", "<u4")]
    return np.dtype([*place, *((name, "<i8") for name in _NUMBERS[kind])])


_ROW_TYPES: Final = MappingProxyType({kind: _row_type(kind) for kind in _NUMBERS})


class _Table(Struct, frozen=True, array_like=True):
    """Where the rows of a kind are, how many, and their digest."""

    offset: int
    count: int
    digest: bytes


class _Market(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the directory says of a market: where its records begin, and its tables by kind.

    Only a file with trades has tables of them, and only one with bookmarks a table of these.
    """

    market: str
    offset: int
    chunks: _Table
    books: _Table
    witnesses: _Table
    segments: _Table
    trade_parts: _Table | None = None
    trade_runs: _Table | None = None
    bookmarks: _Table | None = None

    def table(self, kind: str) -> _Table:
        found: _Table = getattr(self, kind)
        return found

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of which it has tables."""
        return tuple(kind for kind in _NUMBERS if self.table(kind) is not None)


def _unheard(done: int, total: int) -> None:
    """Tell nothing of the progress."""
    del done, total


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


class PackedWriter:
    """Writes a packed recording to `file`, from its beginning to its end.

    Call `begin` for each market, in order of their names, then `add` its records in the order of
    `KINDS`, `TRADE_KINDS` and `BOOKMARK_KINDS`, then `end`; and `close` after the last market. The
    same calls write the same bytes. Only a file that `has_trades` or `has_bookmarks` can have
    records of these.
    """

    def __init__(
        self,
        file: BinaryIO,
        schema: int,
        *,
        has_trades: bool = False,
        has_bookmarks: bool = False,
    ) -> None:
        self._file = file
        self._format = FORMAT_WITH_TRADES if has_trades else FORMAT
        if has_bookmarks:
            self._format = FORMAT_WITH_BOOKMARKS
        self._markets: list[_Market] = []
        self._market, self._begun = "", 0
        self._rows: dict[str, list[tuple[int, ...]]] = {}
        head = _HEADER.pack(_MAGIC, self._format, schema, 0)[:-4]
        self._at = 0
        self._write(head + zlib.crc32(head).to_bytes(4, "little"))

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return self._at

    def begin(self, market: str) -> None:
        """Begin with the records of `market`."""
        self._market, self._begun = market, self._at
        self._rows = {kind: [] for kind in _KINDS_OF[self._format]}

    def add(self, kind: str, numbers: Numbers, record: bytes) -> None:
        """Write a record, to be looked up by `numbers` (see `KINDS` and those after it)."""
        self._rows[kind].append((self._at, len(record), zlib.crc32(record), *numbers))
        self._write(record)

    def end(self) -> None:
        """Write the tables of the market."""
        tables: dict[str, _Table] = {}
        for kind, rows in self._rows.items():
            data = np.array(rows, _ROW_TYPES[kind]).tobytes()
            tables[kind] = _Table(self._at, len(rows), _digest(data))
            self._write(data)
        self._markets.append(_Market(self._market, self._begun, **tables))

    def close(self) -> None:
        """Write the directory and the footer."""
        directory, offset = msgspec.msgpack.encode(self._markets), self._at
        self._write(directory)
        size = self._at + _FOOTER.size
        place = struct.pack("<QQ16sQ", offset, len(directory), _digest(directory), size)
        self._write(place + struct.pack("<I4s", zlib.crc32(place), _END))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._at += len(data)


class PackedFile:
    """A packed recording at `path`, read by seeking. Close it, or use it as a context manager.

    Methods may be called in any thread. They raise `DamagedPackedFile`, and `NoPackedFile` if the
    file can't be read; opening also raises `OtherFormat`. `schema` is the number of the schema of
    its records.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._tables: dict[tuple[str, str], Rows] = {}
        self._file = _opened(path)
        try:
            self._size = self._file.seek(0, 2)
            self.schema = self._read_header()
            self._markets = {market.market: market for market in self._read_directory()}
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self._size

    @property
    def markets(self) -> list[str]:
        """The markets, by name."""
        return list(self._markets)

    def rows(self, market: str, kind: str) -> Rows:
        """Return the table of a kind, an array of rows; empty for a market that isn't there.

        It stays in memory until tables of other markets have been read.
        """
        known = self._tables.get((market, kind))
        if known is not None:
            return known
        entry = self._markets.get(market)
        if entry is None or kind not in entry.kinds:
            return np.empty(0, _ROW_TYPES[kind])
        rows = self._read_rows(entry, kind)
        if any(other != market for other, _ in self._tables):
            self._tables = {}
        self._tables[market, kind] = rows
        return rows

    def record(self, row: Any) -> bytes:
        """Return the record of a row of a table."""
        offset, length = int(row["offset"]), int(row["length"])
        data = self._read(offset, length, "a record", _RECORD_AT_MOST)
        if zlib.crc32(data) != int(row["checksum"]):
            raise self._damaged(f"the checksum of the record at byte {offset:,} does not match")
        return data

    def prove(self, progress: Callable[[int, int], None] = _unheard) -> None:
        """Read every byte, and compare it with its checksum. It is slow, so call it in a thread.

        `progress` is called with the bytes that are done, and their total.
        """
        at = _HEADER.size
        for entry in self._markets.values():
            self._check_place(entry.offset, at, f"the first record of {_text(entry.market)}")
            for kind in entry.kinds:
                at = self._prove_records(entry, kind, at, progress)
            for kind in entry.kinds:
                table = entry.table(kind)
                self._check_place(table.offset, at, f"a table of {_text(entry.market)}")
                at += table.count * _ROW_TYPES[kind].itemsize
        self._check_place(self._directory_at, at, "the directory")
        progress(self._size, self._size)

    def _prove_records(
        self, entry: _Market, kind: str, at: int, progress: Callable[[int, int], None]
    ) -> int:
        """Prove that the records of a kind begin at `at` without a hole; return where they end."""
        reported = at
        rows = self._read_rows(entry, kind)
        for row in rows:
            self._check_place(int(row["offset"]), at, "a record")
            at += len(self.record(row))
            if at - reported >= _PROVEN_AT_ONCE:
                reported = at
                progress(at, self._size)
        return at

    def _check_place(self, offset: int, expected: int, what: str) -> None:
        if offset != expected:
            raise self._damaged(f"{what} is not at byte {expected:,}")

    def _read_header(self) -> int:
        head = self._read_at(0, _HEADER.size)
        if not head.startswith(_MAGIC):
            what = "is empty" if not head else f"is no packed recording ({SUFFIX})"
            raise NoPackedFile(self.path, what)
        if len(head) < _HEADER.size:
            raise self._damaged("its header is cut off")
        _, form, schema, checksum = _HEADER.unpack(head)
        if zlib.crc32(head[:-4]) != checksum:
            raise self._damaged("the checksum of its header does not match")
        if form not in _KINDS_OF:
            raise OtherFormat(self.path, f"format {form}")
        self._format = int(form)
        return int(schema)

    def _read_directory(self) -> list[_Market]:
        at = self._size - _FOOTER.size
        if at < _HEADER.size:
            raise self._damaged("its end is missing")
        footer = self._read_at(at, _FOOTER.size)
        offset, length, digest, size, checksum, end = _FOOTER.unpack(footer)
        if end != _END or zlib.crc32(footer[:-8]) != checksum:
            raise self._damaged("its end is missing or changed")
        if size != self._size or offset + length != at:
            raise self._damaged("it is not as long as it was")
        self._directory_at = int(offset)
        data = self._read(offset, length, "the directory", _DIRECTORY_AT_MOST)
        if _digest(data) != digest:
            raise self._damaged("the checksum of its directory does not match")
        try:
            markets = msgspec.msgpack.decode(data, type=list[_Market])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged("its directory can't be understood") from error
        names = [market.market for market in markets]
        if names != sorted(set(names)) or len(names) > _MARKETS_AT_MOST:
            raise self._damaged("its markets are not in order")
        if not all(map(is_market, names)):
            raise self._damaged("a market of it has an impossible name")
        if any(market.kinds != _KINDS_OF[self._format] for market in markets):
            raise self._damaged("its directory has other tables than its format")
        return markets

    def _read_rows(self, entry: _Market, kind: str) -> Rows:
        table, row_type = entry.table(kind), _ROW_TYPES[kind]
        what = f"a table of {_text(entry.market)}"
        data = self._read(table.offset, table.count * row_type.itemsize, what, _TABLE_AT_MOST)
        if _digest(data) != table.digest:
            raise self._damaged(f"the checksum of {what} does not match")
        rows = np.frombuffer(data, row_type)
        # Rows that name one record again and again would let a small file take much memory.
        follow = rows["offset"][:-1] + rows["length"][:-1] == rows["offset"][1:]
        if not follow.all() or not rows["length"].all():
            raise self._damaged(f"the records of {what} do not follow each other")
        if not _are_in_order(rows, _ORDERS[kind]):
            raise self._damaged(f"the rows of {what} are not in order")
        return rows

    def _read(self, offset: int, length: int, what: str, at_most: int) -> bytes:
        """Return so many bytes; raise if the file can't have them, or no program writes so many."""
        inside = _HEADER.size <= offset and length >= 0 and offset + length <= self._size
        if not inside or length > at_most:
            raise self._damaged(f"{what} of {counted(length, 'byte')} at byte {offset:,} can't be")
        data = self._read_at(offset, length)
        if len(data) != length:
            raise self._damaged("it was cut off while it was read")
        return data

    def _read_at(self, offset: int, length: int) -> bytes:
        try:
            with self._lock:
                self._file.seek(offset)
                return self._file.read(length)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise NoPackedFile(self.path, f"can't be read ({reason})") from error

    def _damaged(self, reason: str) -> DamagedPackedFile:
        return DamagedPackedFile(self.path, reason)


def _are_in_order(rows: Rows, names: tuple[str, ...]) -> bool:
    """Whether each row has higher numbers than the one before it."""
    is_same = np.ones(max(0, len(rows) - 1), dtype=bool)
    for name in names:
        before, after = rows[name][:-1], rows[name][1:]
        if (is_same & (after < before)).any():
            return False
        is_same &= after == before
    return not names or not is_same.any()


def _text(market: str) -> str:
    return plain_text(market, 40)


def _opened(path: Path) -> BinaryIO:
    if os.path.isdir(path):  # noqa: PTH112 (says so too where it may not look)
        raise NoPackedFile(path, "is a folder; name a file in it")
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        raise NoPackedFile(path, "is not a file but a device or a pipe")
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise NoPackedFile(path, "does not exist") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NoPackedFile(path, f"can't be read ({reason})") from error


def is_packed(path: Path) -> bool:
    """Whether the file at `path` begins as a packed recording does, or has the name of one."""
    if path.suffix.lower() == SUFFIX:
        return True
    # Opening a pipe would wait for its other end.
    if not os.path.isfile(path):  # noqa: PTH113 (says so too where the path is impossible)
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False
