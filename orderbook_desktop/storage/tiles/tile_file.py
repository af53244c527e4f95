"""A tile as bytes: the heatmap of one archived chunk alone, compressed, with a checksum.

The cells of a row hardly change from column to column, so each is stored as the difference to the
column before. A tile holds nothing that its chunk does not hold: a damaged one is built again.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.cells import Columns, Heatmap
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.exact import halves
from orderbook_desktop.core.units import Scale

_MAGIC: Final = b"OBT1"
_CHECKSUM_BYTES: Final = 16
_LEVEL: Final = 3
_BYTES_AT_MOST: Final = 1 << 30
# As in `core.heatmap.exact`, larger values are Python's integers.
_HIGH_OF_INT64: Final = 1 << 30


class DamagedTile(KnownError):
    """A tile differs from what was written; `reason` says how."""

    reason: str

    def __str__(self) -> str:
        return f"A tile of the heatmap is damaged: {self.reason}; it is built again."


class _Body(msgspec.Struct, frozen=True, array_like=True):
    market: str
    statistic: Statistic
    price_exponent: int
    quantity_exponent: int
    step: int
    tick: int
    bin_ms: int
    to_ms: int
    prices: bytes
    columns: list[bytes]
    high: bytes
    low: bytes
    named: bytes


def encode_tile(heatmap: Heatmap) -> bytes:
    """Return the bytes of a tile."""
    high, low = halves(heatmap.values)
    columns = heatmap.columns
    body = _Body(
        heatmap.market,
        heatmap.statistic,
        heatmap.scale.price,
        heatmap.scale.quantity,
        heatmap.step,
        heatmap.tick,
        heatmap.bin_ms,
        heatmap.to_ms,
        _differences(heatmap.prices[:, None]),
        [_differences(getattr(columns, name)[:, None]) for name in columns.__struct_fields__],
        _differences(high),
        _differences(low),
        np.packbits(heatmap.named).tobytes(),
    )
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(msgspec.msgpack.encode(body))
    return _MAGIC + _checksum(packed) + packed


def decode_tile(data: bytes) -> Heatmap:
    """Return the heatmap of a tile. Raises `DamagedTile`."""
    packed = data[len(_MAGIC) + _CHECKSUM_BYTES :]
    if not data.startswith(_MAGIC) or data[len(_MAGIC) :][:_CHECKSUM_BYTES] != _checksum(packed):
        raise DamagedTile("its checksum does not match")
    try:
        body = _decoder().decode(
            zstandard.ZstdDecompressor().decompress(packed, max_output_size=_BYTES_AT_MOST)
        )
        return _heatmap_of(body)
    except (zstandard.ZstdError, msgspec.DecodeError, ValueError, TypeError) as error:
        raise DamagedTile(str(error)) from error


def _heatmap_of(body: _Body) -> Heatmap:
    prices = _sums(body.prices, 1)[:, 0]
    columns = Columns(*(_sums(column, 1)[:, 0] for column in body.columns))
    shape = len(columns), len(prices)
    high, low = (_sums(part, len(prices)) for part in (body.high, body.low))
    values: npt.NDArray[Any] = (high << 32) + low
    if high.max(initial=0) >= _HIGH_OF_INT64:
        values = high.astype(object) * (1 << 32) + low
    count = shape[0] * shape[1]
    named = np.unpackbits(np.frombuffer(body.named, np.uint8), count=count).astype(np.bool_)
    return Heatmap(
        body.market,
        body.statistic,
        Scale(body.price_exponent, body.quantity_exponent),
        body.step,
        body.tick,
        body.bin_ms,
        body.to_ms,
        prices,
        columns,
        values.reshape(shape),
        named.reshape(shape),
    )


def _differences(values: npt.NDArray[np.int64]) -> bytes:
    """Return rows as differences to the row before, byte by byte: the highest bytes are alike."""
    # They may wrap around, and wrap back when they are added up.
    steps = np.diff(values, axis=0, prepend=np.zeros_like(values[:1])).astype("<i8")
    return steps.reshape(-1, 1).view(np.uint8).T.tobytes()


def _sums(data: bytes, width: int) -> npt.NDArray[np.int64]:
    steps = np.frombuffer(data, np.uint8).reshape(8, -1).T.copy().view("<i8")
    rows = len(steps) // width if width else 0
    return steps.reshape(rows, width).cumsum(axis=0)


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).digest()


@cache
def _decoder() -> msgspec.msgpack.Decoder[_Body]:
    return msgspec.msgpack.Decoder(_Body)
