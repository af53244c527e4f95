"""Parquet: one row per level that an event changed, or that a book began with.

| column | type | is |
|---|---|---|
| `first_update_id`, `final_update_id` | int64 | the event's `U` and `u`; a book's last one |
| `event_time` | timestamp, ms, UTC | the exchange's time |
| `received_ns` | int64 | our time, ns since the epoch (not every reader knows such timestamps) |
| `is_snapshot` | boolean | the row belongs to a whole book |
| `side` | string | `bid` or `ask` |
| `price`, `quantity` | decimal(38, 8) | exactly; quantity 0 where the level was removed |

A book begins anew, and what was known before is void, where `is_snapshot` is true and was
not in the row before. The decimals have more than 8 places where a value needs them. The
file's metadata names `exchange` and `symbol`.
"""

from __future__ import annotations

from typing import BinaryIO, Final

import numpy as np

from orderbook_desktop.core.archive.rows import LevelRows
from orderbook_desktop.core.archive.tokens import BoolArray
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.export.parquet_file import (
    Choice,
    Decimals,
    Flag,
    Milliseconds,
    ParquetFile,
    Whole,
)
from orderbook_desktop.storage.export.survey import Survey
from orderbook_desktop.storage.export.tardis import EXCHANGE

# Enough for compression and for readers that pass over groups, little enough for memory.
_ROWS_A_GROUP: Final = 1 << 18

_Arrays = list[Int64Array | BoolArray]


class ParquetWriter:
    """Writes rows of `market` into `file`. Call `close()` in the end.

    `survey` is that of all the rows which will come: a column has one number of places.
    """

    def __init__(self, file: BinaryIO, market: str, created_by: str, survey: Survey) -> None:
        self._scale = survey.scale
        self._waiting: list[_Arrays] = []
        self._count = 0
        self._file = ParquetFile(
            file,
            (
                Whole("first_update_id"),
                Whole("final_update_id"),
                Milliseconds("event_time"),
                Whole("received_ns"),
                Flag("is_snapshot"),
                Choice("side", ("bid", "ask")),
                Decimals("price", self._scale.price),
                Decimals("quantity", self._scale.quantity),
            ),
            created_by,
            {"exchange": EXCHANGE, "symbol": market},
        )

    def write(self, rows: LevelRows) -> None:
        """Append `rows`."""
        self._waiting.append(
            [
                rows.first_ids,
                rows.final_ids,
                rows.event_ms,
                rows.received_ns,
                np.full(len(rows), rows.is_snapshot),
                rows.asks,
                _units_at(rows.prices, rows.scale.price, self._scale.price),
                _units_at(rows.quantities, rows.scale.quantity, self._scale.quantity),
            ]
        )
        self._count += len(rows)
        if self._count >= _ROWS_A_GROUP:
            self._write_group()

    def close(self) -> None:
        """Write what is left; the file itself stays open."""
        self._write_group()
        self._file.close()

    def _write_group(self) -> None:
        if self._waiting:
            columns = zip(*self._waiting, strict=True)
            self._file.write([np.concatenate(parts) for parts in columns])
        self._waiting, self._count = [], 0


def _units_at(units: Int64Array, exponent: int, wanted: int) -> Int64Array:
    """Return `units` of 10^-`exponent` in units of 10^-`wanted`, which are no larger.

    Where 64 bits don't hold them they are Python's integers, in an array of objects.
    """
    factor = 10 ** (wanted - exponent)
    if int(units.max(initial=0)) <= INT64_MAX // factor:
        fitting: Int64Array = units * factor
        return fitting
    larger: Int64Array = units.astype(object) * factor
    return larger
