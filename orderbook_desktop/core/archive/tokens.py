"""Whole numbers as bytes: a column is one token per number, and the bits that tokens leave open.

A number below 64 is its own token. A larger one has a token for its bit length and the bit below
its leading one; its remaining bits go, unaltered, into a stream of bits. Tokens are few and
repeat, so an entropy coder compresses them well. The bits are noise and are stored unaltered.
The whole range of 64 bits takes 180 tokens.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.errors import DamagedChunk
from orderbook_desktop.core.levels import Int64Array

BoolArray = npt.NDArray[np.bool_]
UInt64Array = npt.NDArray[np.uint64]

_OWN_TOKEN_BITS: Final = 6
_OWN_TOKENS: Final = 1 << _OWN_TOKEN_BITS
_SHOWN_BITS: Final = 1
_SHOWN: Final = (1 << _SHOWN_BITS) - 1
_WORD_BITS: Final = 64

_TOKENS: Final = np.arange(256, dtype=np.int64)
_STEPS_ABOVE: Final = np.maximum(_TOKENS - _OWN_TOKENS, 0) >> _SHOWN_BITS
# By token: how many bits of the number are open, and the number with these bits 0. Tokens beyond
# the last one have no meaning and are never written.
_OPEN_BITS: Final = np.where(
    _TOKENS < _OWN_TOKENS, 0, np.minimum(_STEPS_ABOVE + _OWN_TOKEN_BITS - _SHOWN_BITS, 62)
).astype(np.uint64)
_OPEN_MASKS: Final = (np.uint64(1) << _OPEN_BITS) - np.uint64(1)
_FLOORS: Final = np.where(
    _TOKENS < _OWN_TOKENS,
    _TOKENS.astype(np.uint64),
    (_TOKENS & _SHOWN | (_SHOWN + 1)).astype(np.uint64) << _OPEN_BITS,
)


class Column(msgspec.Struct, frozen=True, array_like=True):
    """One column: `tokens`, which compress well, and `bits`, which don't."""

    tokens: bytes = b""
    bits: bytes = b""


def fold(values: Int64Array) -> UInt64Array:
    """Return 0, -1, 1, -2, 2 and so on as 0, 1, 2, 3, 4 and so on."""
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def unfold(values: UInt64Array) -> Int64Array:
    """Undo `fold`."""
    halves = (values >> np.uint64(1)).view(np.int64)
    return halves ^ -(values & np.uint64(1)).view(np.int64)


def write_signed(values: Int64Array) -> Column:
    """Return the column of any whole numbers; numbers near 0 take the least room."""
    return write_unsigned(fold(values))


def read_signed(column: Column) -> Int64Array:
    """Return what `write_signed` wrote. Raises `DamagedChunk` as `read_unsigned` does."""
    return unfold(read_unsigned(column).view(np.uint64))


def write_unsigned(values: npt.NDArray[np.integer]) -> Column:
    """Return the column of `values`, whose 64 bits are read as unsigned numbers."""
    numbers = np.ascontiguousarray(values).astype(np.int64, copy=False).view(np.uint64)
    large = (numbers >= _OWN_TOKENS).nonzero()[0]
    tokens = numbers.astype(np.uint8)
    if not len(large):
        return Column(tokens.tobytes())
    numbers = numbers[large]
    lengths = _bit_lengths(numbers)
    widths = (lengths - (_SHOWN_BITS + 1)).astype(np.uint64)
    shown = (numbers >> widths).astype(np.int64) & _SHOWN
    tokens[large] = _OWN_TOKENS + ((lengths - _OWN_TOKEN_BITS - 1) << _SHOWN_BITS) + shown
    return Column(
        tokens.tobytes(), _pack_bits(numbers & ((np.uint64(1) << widths) - np.uint64(1)), widths)
    )


def read_unsigned(column: Column) -> Int64Array:
    """Return what `write_unsigned` wrote; 2^63 and more come as the int64 of the same 64 bits.

    Raises `DamagedChunk` where tokens and bits do not belong together.
    """
    tokens = np.frombuffer(column.tokens, dtype=np.uint8)
    if not column.bits and tokens.max(initial=0) < _OWN_TOKENS:
        return tokens.astype(np.int64)
    values = _FLOORS.take(tokens)
    large = (tokens >= _OWN_TOKENS).nonzero()[0]
    tokens = tokens.take(large)
    ends = _OPEN_BITS.take(tokens).cumsum()
    if len(column.bits) != (int(ends[-1]) + 7 if len(ends) else 0) // 8:
        raise DamagedChunk("a column's bits do not fit its tokens")
    begins = ends - _OPEN_BITS.take(tokens)
    values[large] |= _unpack_bits(column.bits, begins) & _OPEN_MASKS.take(tokens)
    return values.view(np.int64)


def _bit_lengths(values: UInt64Array) -> Int64Array:
    # A double holds 32 bits exactly, so its exponent is the length; 64 bits may round up.
    high = (values >> np.uint64(32)).astype(np.float64)
    low = (values & np.uint64(0xFFFFFFFF)).astype(np.float64)
    return np.where(high > 0, np.frexp(high)[1] + 32, np.frexp(low)[1]).astype(np.int64)


def _pack_bits(values: UInt64Array, widths: UInt64Array) -> bytes:
    """Return fields of `widths` (each 1 to 63) bits one behind the other, lowest bit first."""
    ends = widths.cumsum()
    begins = ends - widths
    words, shifts = (begins >> np.uint64(6)).view(np.int64), begins & np.uint64(63)
    bit_count = int(ends[-1])
    packed = np.zeros(bit_count // _WORD_BITS + 2, dtype=np.uint64)
    # The fields don't overlap, so adding them is joining them.
    np.add.at(packed, words, values << shifts)
    np.add.at(packed, words + 1, values >> np.uint64(1) >> (np.uint64(63) - shifts))
    return packed.astype("<u8").tobytes()[: (bit_count + 7) // 8]


def _unpack_bits(packed: bytes, begins: UInt64Array) -> UInt64Array:
    """Return 64 bits from each bit `begins` on, with zeros behind the last bit."""
    padded = packed + bytes(2 * _WORD_BITS // 8 + -len(packed) % 8)
    numbers = np.frombuffer(padded, dtype="<u8").astype(np.uint64, copy=False)
    words, shifts = (begins >> np.uint64(6)).view(np.int64), begins & np.uint64(63)
    # A shift by 64 would be undefined, so it is made in two steps.
    high = numbers.take(words + 1) << np.uint64(1) << (np.uint64(63) - shifts)
    bits: UInt64Array = np.bitwise_or(numbers.take(words) >> shifts, high)
    return bits
