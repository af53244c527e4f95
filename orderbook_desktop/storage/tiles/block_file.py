"""A block as bytes: the section of a heatmap of a fixed stretch of time, row part by row part.

A file has a head, and parts of 256 price rows each, which are compressed apart: what a view does
not show is not decoded. Head and parts have a checksum each. A cell hardly differs from the one
before it in time, so differences are stored, byte by byte: their high bytes are alike.

A block holds nothing that the recording does not hold: a damaged one is built again.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.cells import Columns, Heatmap
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.exact import halves
from orderbook_desktop.core.heatmap.sections import Section
from orderbook_desktop.core.heatmap.spans import BoolArray
from orderbook_desktop.core.levels import EMPTY, Int64Array
from orderbook_desktop.core.units import Scale

ROWS_A_PART: Final = 256

_MAGIC: Final = b"OBT2"
_LENGTH: Final = struct.Struct("<I")
_CHECKSUM_BYTES: Final = 16
_HEAD_AT: Final = len(_MAGIC) + _LENGTH.size + _CHECKSUM_BYTES
_LEVEL: Final = 3
_BYTES_AT_MOST: Final = 1 << 30
_BYTES_OF_INT64: Final = 8

_Part = TypeVar("_Part", bound=msgspec.Struct)


class DamagedTile(KnownError):
    """A block differs from what was written; `reason` says how."""

    reason: str

    def __str__(self) -> str:
        return f"A tile of the heatmap is damaged: {self.reason}; it is built again."


class _PartPlace(msgspec.Struct, frozen=True, array_like=True):
    """Where the part `number` is, counted from the end of the head; it has so many rows."""

    number: int
    offset: int
    length: int
    checksum: bytes


class _Head(msgspec.Struct, frozen=True, array_like=True):
    market: str
    statistic: Statistic
    price_exponent: int
    quantity_exponent: int
    step: int
    tick: int
    bin_ms: int
    to_ms: int
    carried: int
    breaks: bool
    columns: list[bytes]
    parts: list[_PartPlace]


class _Rows(msgspec.Struct, frozen=True, array_like=True):
    """Some rows: which ones (counted from the part's first), and their cells, row by row.

    `high` is empty where all values are of int64: then `low` has them whole.
    """

    rows: bytes
    high: bytes
    low: bytes
    named: bytes
    named_after: bytes


def encode_block(section: Section) -> bytes:
    """Return the bytes of a block."""
    heatmap, columns = section.heatmap, section.heatmap.columns
    numbers = heatmap.prices // heatmap.step
    places, bodies, offset = [], [], 0
    for number, part in _row_parts(numbers):
        body = _packed(
            _Rows(
                (numbers[part] - number * ROWS_A_PART).astype(np.uint8).tobytes(),
                *_cells(heatmap.values[:, part].T),
                np.packbits(heatmap.named[:, part].T).tobytes(),
                np.packbits(section.named_after[part]).tobytes(),
            )
        )
        places.append(_PartPlace(number, offset, len(body), _checksum(body)))
        bodies.append(body)
        offset += len(body)
    head = _packed(
        _Head(
            heatmap.market,
            heatmap.statistic,
            heatmap.scale.price,
            heatmap.scale.quantity,
            heatmap.step,
            heatmap.tick,
            heatmap.bin_ms,
            heatmap.to_ms,
            section.carried,
            section.breaks,
            [_differences(getattr(columns, name)[None]) for name in columns.__struct_fields__],
            places,
        )
    )
    return b"".join((_MAGIC, _LENGTH.pack(len(head)), _checksum(head), head, *bodies))


def decode_block(data: bytes, rows: tuple[int, int] | None = None) -> Section:
    """Return the section of a block. Raises `DamagedTile`.

    `rows` are the first row that is wanted and how many are; None: all.
    """
    try:
        return _decoded(data, rows)
    except (zstandard.ZstdError, msgspec.DecodeError, ValueError, TypeError) as error:
        raise DamagedTile(str(error)) from error


def _decoded(data: bytes, rows: tuple[int, int] | None) -> Section:
    start = data[:_HEAD_AT]
    if len(start) < _HEAD_AT or not start.startswith(_MAGIC):
        raise DamagedTile("it does not begin like one")
    head_end = _HEAD_AT + _LENGTH.unpack_from(start, len(_MAGIC))[0]
    head = _unpacked(data[_HEAD_AT:head_end], start[-_CHECKSUM_BYTES:], _head_decoder())
    columns = Columns(*(_sums(column, 1)[0] for column in head.columns))
    if len(data) != head_end + sum(place.length for place in head.parts):
        raise DamagedTile("its length is wrong")
    parts = []
    for place in head.parts:
        if rows is None or _meets(place.number, rows):
            begin = head_end + place.offset
            body = _unpacked(data[begin : begin + place.length], place.checksum, _rows_decoder())
            parts.append(_part_of(body, place.number, len(columns)))
    numbers, values, named, named_after = _joined(parts, len(columns))
    if rows is not None:
        wanted = slice(*numbers.searchsorted((rows[0], rows[0] + rows[1])).tolist())
        numbers, named_after = numbers[wanted], named_after[wanted]
        values, named = values[wanted], named[wanted]
    heatmap = Heatmap(
        head.market,
        head.statistic,
        Scale(head.price_exponent, head.quantity_exponent),
        head.step,
        head.tick,
        head.bin_ms,
        head.to_ms,
        numbers * head.step,
        columns,
        values.T,
        named.T,
    )
    return Section(heatmap, head.carried, head.breaks, named_after)


_Cells = tuple[Int64Array, npt.NDArray[Any], BoolArray, BoolArray]


def _part_of(body: _Rows, number: int, width: int) -> _Cells:
    """Return rows, values and what is named, `[row, column]`, and what is named after them."""
    rows = np.frombuffer(body.rows, np.uint8).astype(np.int64) + number * ROWS_A_PART
    values: npt.NDArray[Any] = _sums(body.low, len(rows))
    if body.high:
        values = _sums(body.high, len(rows)).astype(object) * (1 << 32) + values
    named = np.unpackbits(np.frombuffer(body.named, np.uint8), count=len(rows) * width)
    after = np.unpackbits(np.frombuffer(body.named_after, np.uint8), count=len(rows))
    return rows, values, named.view(np.bool_).reshape(len(rows), width), after.view(np.bool_)


def _joined(parts: Sequence[_Cells], width: int) -> _Cells:
    if not parts:
        nothing = np.zeros((0, width), dtype=np.int64)
        return EMPTY, nothing, nothing.astype(np.bool_), np.zeros(0, dtype=np.bool_)
    rows, values, named, after = zip(*parts, strict=True)
    return (
        np.concatenate(rows),
        np.concatenate(values),
        np.concatenate(named),
        np.concatenate(after),
    )


def _row_parts(numbers: Int64Array) -> Iterator[tuple[int, slice]]:
    """Yield the number of each part, and which of the rows are in it."""
    of_rows = numbers // ROWS_A_PART
    begins = np.flatnonzero(np.diff(of_rows, prepend=-1)).tolist()
    for begin, end in pairwise([*begins, len(numbers)]):
        yield int(of_rows[begin]), slice(begin, end)


def _meets(number: int, rows: tuple[int, int]) -> bool:
    first = number * ROWS_A_PART
    return first < rows[0] + rows[1] and first + ROWS_A_PART > rows[0]


def _cells(values: npt.NDArray[Any]) -> tuple[bytes, bytes]:
    """Return `values[row, column]` as high and low halves, or whole, if they are of int64."""
    if values.dtype != object:
        return b"", _differences(values)
    high, low = halves(values)
    return _differences(high), _differences(low)


def _differences(values: Int64Array) -> bytes:
    """Return rows as differences to the column before: how many bytes each has, then the bytes.

    The lowest byte of all comes first, then the next one. The sign is the lowest bit.
    """
    # They may wrap around, and wrap back when they are added up.
    steps = np.diff(values, axis=1, prepend=np.zeros_like(values[:, :1]))
    folded = ((steps << 1) ^ (steps >> 63)).view(np.uint64)
    width = max(1, (int(folded.max(initial=0)).bit_length() + 7) // 8)
    by_byte = folded.astype("<u8").reshape(-1, 1).view(np.uint8)[:, :width]
    return bytes((width,)) + by_byte.T.tobytes()


def _sums(data: bytes, rows: int) -> Int64Array:
    """Return the rows of `_differences`, so many of one length."""
    width = data[0] if data else 0
    by_byte = np.frombuffer(data, np.uint8, offset=1).reshape(width, -1)
    folded = np.zeros((by_byte.shape[1], _BYTES_OF_INT64), dtype=np.uint8)
    folded[:, :width] = by_byte.T
    unsigned = folded.view("<u8")[:, 0]
    steps = (unsigned >> np.uint64(1)).view(np.int64) ^ -(unsigned & np.uint64(1)).view(np.int64)
    return steps.reshape(rows, -1).cumsum(axis=1)


def _packed(part: msgspec.Struct) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(msgspec.msgpack.encode(part))


def _unpacked(data: bytes, checksum: bytes, decoder: msgspec.msgpack.Decoder[_Part]) -> _Part:
    if _checksum(data) != checksum:
        raise DamagedTile("its checksum does not match")
    unpacked = zstandard.ZstdDecompressor().decompress(data, max_output_size=_BYTES_AT_MOST)
    return decoder.decode(unpacked)


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).digest()


@cache
def _head_decoder() -> msgspec.msgpack.Decoder[_Head]:
    return msgspec.msgpack.Decoder(_Head)


@cache
def _rows_decoder() -> msgspec.msgpack.Decoder[_Rows]:
    return msgspec.msgpack.Decoder(_Rows)
