"""Thrift's compact protocol, as far as writing a Parquet file's metadata needs it.

Source: Apache Thrift, "Thrift Compact protocol encoding". A structure is a list of fields,
`(number, value)`, ascending by number; which kind of value it is, its Python type tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_TRUE, _FALSE, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 2, 5, 6, 8, 9, 12
_LONG_LIST: Final = 15
_STOP: Final = b"\0"


@dataclass(frozen=True, slots=True)
class I64:
    """A 64-bit number; a bare `int` is one of 32 bits."""

    value: int


@dataclass(frozen=True, slots=True)
class Struct:
    """A structure with its fields, those without a value left out."""

    fields: tuple[tuple[int, Value], ...] = ()


Value = bool | int | I64 | bytes | str | Struct | Sequence["Value"]


def encode(struct: Struct) -> bytes:
    """Return the bytes of `struct`. Its lists are not empty, and of one kind of values."""
    return b"".join(_struct(struct))


def _struct(struct: Struct) -> Iterator[bytes]:
    before = 0
    for number, value in struct.fields:
        kind = _kind(value)
        step = number - before
        before = number
        # A step that does not fit into the first byte follows it; ours all do.
        yield bytes([step << 4 | kind])
        if kind not in (_TRUE, _FALSE):
            yield from _value(value)
    yield _STOP


def _kind(value: Value) -> int:
    match value:
        case bool():
            return _TRUE if value else _FALSE
        case int():
            return _I32
        case I64():
            return _I64
        case bytes() | str():
            return _BINARY
        case Struct():
            return _STRUCT
        case _:
            return _LIST


def _value(value: Value) -> Iterator[bytes]:
    match value:
        case int():
            yield _varint(_zigzag(value))
        case I64():
            yield _varint(_zigzag(value.value))
        case bytes() | str():
            data = value.encode() if isinstance(value, str) else value
            yield _varint(len(data)) + data
        case Struct():
            yield from _struct(value)
        case _:
            kind, count = _kind(value[0]), len(value)
            if count < _LONG_LIST:
                yield bytes([count << 4 | kind])
            else:
                yield bytes([_LONG_LIST << 4 | kind]) + _varint(count)
            for one in value:
                yield from _value(one)


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else ~(number << 1)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
