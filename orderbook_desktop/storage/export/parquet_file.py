"""Writing Parquet files: flat tables without nulls, row group by row group, nothing else.

Source: Apache Parquet, "File Format", "Logical Types", and `parquet.thrift`. Values are
encoded PLAIN and compressed by zstd, one page per column and row group: what every reader
understands. A library would add a sixth to the program's size for this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

import numpy as np
import zstandard

from orderbook_desktop.core.archive.tokens import BoolArray
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.storage.export.thrift import I64, Struct, Value, encode

_MAGIC: Final = b"PAR1"
_REQUIRED, _PLAIN, _RLE, _ZSTD, _DATA_PAGE = 0, 0, 3, 6, 0
_ZSTD_LEVEL: Final = 3
_BYTES_OF_DECIMAL: Final = 16
# What 16 bytes hold, whatever it is: decimal digits.
_DECIMAL_DIGITS: Final = 38


class Column(Protocol):
    """A column: how it is described, and how its values are stored."""

    @property
    def name(self) -> str:
        """The column's name."""
        ...

    @property
    def physical(self) -> int:
        """Parquet's number of the type in which values are stored."""
        ...

    def schema(self) -> Struct:
        """Return the column's `SchemaElement`."""
        ...

    def plain(self, values: Int64Array | BoolArray) -> bytes:
        """Return `values` in PLAIN encoding."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """Whole numbers of 64 bits."""

    name: str
    physical: int = 2

    def schema(self) -> Struct:
        """See `Column`."""
        return Struct(((1, self.physical), (3, _REQUIRED), (4, self.name)))

    def plain(self, values: Int64Array | BoolArray) -> bytes:
        """See `Column`."""
        return values.astype("<i8").tobytes()


@dataclass(frozen=True, slots=True)
class Milliseconds:
    """Instants, as ms since the epoch in UTC."""

    name: str
    physical: int = 2

    def schema(self) -> Struct:
        """See `Column`."""
        in_ms = Struct(((1, Struct()),))
        timestamp = Struct(((1, True), (2, in_ms)))
        old_name = 9
        return Struct(
            (
                (1, self.physical),
                (3, _REQUIRED),
                (4, self.name),
                (6, old_name),
                (10, Struct(((8, timestamp),))),
            )
        )

    def plain(self, values: Int64Array | BoolArray) -> bytes:
        """See `Column`."""
        return values.astype("<i8").tobytes()


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    name: str
    physical: int = 0

    def schema(self) -> Struct:
        """See `Column`."""
        return Struct(((1, self.physical), (3, _REQUIRED), (4, self.name)))

    def plain(self, values: Int64Array | BoolArray) -> bytes:
        """See `Column`."""
        return np.packbits(values.astype(np.bool_), bitorder="little").tobytes()


@dataclass(frozen=True, slots=True)
class Choice:
    """One of two words of one length: the first where a value is false."""

    name: str
    words: tuple[str, str]
    physical: int = 6

    def schema(self) -> Struct:
        """See `Column`."""
        old_name, text = 0, Struct(((1, Struct()),))
        return Struct(
            ((1, self.physical), (3, _REQUIRED), (4, self.name), (6, old_name), (10, text))
        )

    def plain(self, values: Int64Array | BoolArray) -> bytes:
        """See `Column`."""
        stored = [len(word).to_bytes(4, "little") + word.encode() for word in self.words]
        return np.array(stored).take(values.astype(np.int64)).tobytes()


@dataclass(frozen=True, slots=True)
class Decimals:
    """Exact decimals with `scale` places; values are whole numbers of 10^-scale, from 0 on."""

    name: str
    scale: int
    physical: int = 7

    def schema(self) -> Struct:
        """See `Column`."""
        old_name, decimal = 5, Struct(((1, self.scale), (2, _DECIMAL_DIGITS)))
        return Struct(
            (
                (1, self.physical),
                (2, _BYTES_OF_DECIMAL),
                (3, _REQUIRED),
                (4, self.name),
                (6, old_name),
                (7, self.scale),
                (8, _DECIMAL_DIGITS),
                (10, Struct(((5, decimal),))),
            )
        )

    def plain(self, values: Int64Array | BoolArray) -> bytes:
        """See `Column`."""
        if values.dtype == object:
            return b"".join(value.to_bytes(_BYTES_OF_DECIMAL, "big") for value in values.tolist())
        halves = np.zeros((len(values), 2), dtype=">i8")
        halves[:, 1] = values
        return halves.tobytes()


class ParquetFile:
    """Writes a table of `columns` into `file`. Call `close()` in the end.

    `about` is text that the file carries, by name.
    """

    def __init__(
        self, file: BinaryIO, columns: Sequence[Column], created_by: str, about: Mapping[str, str]
    ) -> None:
        self._file = file
        self._columns = columns
        self._created_by = created_by
        self._about = about
        self._row_groups: list[Value] = []
        self._rows = 0
        self._at = 0
        self._compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        self._put(_MAGIC)

    def write(self, values: Sequence[Int64Array | BoolArray]) -> None:
        """Append a row group: of each column an array, all of one length."""
        count = len(values[0])
        if not count:
            return
        chunks = [
            self._write_column(column, column_values)
            for column, column_values in zip(self._columns, values, strict=True)
        ]
        size = sum(uncompressed for _, uncompressed in chunks)
        columns = [chunk for chunk, _ in chunks]
        self._row_groups.append(Struct(((1, columns), (2, I64(size)), (3, I64(count)))))
        self._rows += count

    def close(self) -> None:
        """Write the metadata; the file itself stays open."""
        root = Struct(((4, "schema"), (5, len(self._columns))))
        about = [Struct(((1, name), (2, text))) for name, text in self._about.items()]
        metadata = encode(
            Struct(
                (
                    (1, 2),
                    (2, [root, *(column.schema() for column in self._columns)]),
                    (3, I64(self._rows)),
                    (4, self._row_groups),
                    (5, about),
                    (6, self._created_by),
                    # Least and greatest values are those of the logical type's order.
                    (7, [Struct(((1, Struct()),)) for _ in self._columns]),
                )
            )
        )
        self._put(metadata + len(metadata).to_bytes(4, "little") + _MAGIC)

    def _write_column(self, column: Column, values: Int64Array | BoolArray) -> tuple[Struct, int]:
        """Write one page; return its `ColumnChunk`, and its size before compression."""
        plain = column.plain(values)
        packed = self._compressor.compress(plain)
        page = Struct(((1, len(values)), (2, _PLAIN), (3, _RLE), (4, _RLE)))
        header = encode(Struct(((1, _DATA_PAGE), (2, len(plain)), (3, len(packed)), (5, page))))
        begin = self._at
        self._put(header)
        self._put(packed)
        size = len(header) + len(plain)
        fields: tuple[tuple[int, Value], ...] = (
            (1, column.physical),
            (2, [_PLAIN]),
            (3, [column.name]),
            (4, _ZSTD),
            (5, I64(len(values))),
            (6, I64(size)),
            (7, I64(self._at - begin)),
            (9, I64(begin)),
        )
        if isinstance(column, Whole | Milliseconds):
            fields += ((12, _statistics(values)),)
        return Struct(((2, I64(begin)), (3, Struct(fields)))), size

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._at += len(data)


def _statistics(values: Int64Array | BoolArray) -> Struct:
    """Return least and greatest value: by them readers pass over row groups."""
    least, greatest = (int(one).to_bytes(8, "little", signed=True) for one in _span(values))
    return Struct(((3, I64(0)), (5, greatest), (6, least)))


def _span(values: Int64Array | BoolArray) -> tuple[int, int]:
    return int(values.min()), int(values.max())
