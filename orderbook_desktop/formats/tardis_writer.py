"""Tardis' `incremental_book_L2` and `trades` CSV.

Times are in microseconds since the epoch. Decimals are exact and without needless zeros.

Of levels: `exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount`, amount 0 where
a level was removed. Source: Tardis.dev, "Data Types", "incremental_book_L2". Rows of one event have
one `local_timestamp`. A book begins anew, and all earlier levels are void, where `is_snapshot` is
true and was false in the row before.

Of trades: `exchange,symbol,timestamp,local_timestamp,id,side,price,amount`, in the order of their
ids, which are those of aggregated trades. `side` is what the taker did. Source: Tardis.dev, "Data
Types", "trades". A repaired trade was never received, and the layout has no column to say so: its
`local_timestamp` is its `timestamp`.
"""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from operator import add
from typing import BinaryIO, Final, cast

import numpy as np

from orderbook_desktop.core.archive.rows import LevelRows
from orderbook_desktop.core.archive.trade_rows import TradeRows
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.units import format_units
from orderbook_desktop.formats.tardis_fields import EXCHANGE, TRADE_HEADER

HEADER: Final = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"

_SIDES: Final = ("bid,", "ask,")
_TAKERS: Final = ("buy,", "sell,")
_US_A_MS: Final = 1_000
_NS_A_US: Final = 1_000
# A higher level takes several times as long and saves a few percent.
_GZIP_LEVEL: Final = 5


class _CsvFile:
    """A CSV file, gzipped if `zipped`. Call `close()` in the end."""

    def __init__(self, file: BinaryIO, header: str, *, zipped: bool) -> None:
        self._stack = ExitStack()
        self._file = file
        if zipped:
            # Its header has neither name nor time: the same rows give the same file.
            packer = gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0)
            self._file = cast("BinaryIO", self._stack.enter_context(packer))
        self.append([f"{header}\n"])

    def append(self, lines: list[str]) -> None:
        """Append whole lines."""
        self._file.write("".join(lines).encode())

    def close(self) -> None:
        """Write the rest; the file itself stays open."""
        self._stack.close()


class TardisTradeWriter:
    """Writes trades as CSV into `file`, gzipped if `zipped`. Call `close()` in the end."""

    def __init__(self, file: BinaryIO, *, zipped: bool) -> None:
        self._csv = _CsvFile(file, TRADE_HEADER, zipped=zipped)
        self.close = self._csv.close

    def write(self, rows: TradeRows) -> None:
        """Append `rows`."""
        local_us = np.where(rows.repaired, rows.event_us, rows.received_ns // _NS_A_US)
        numbers = (rows.event_us.tolist(), local_us.tolist(), rows.ids.tolist())
        heads = (
            f"{EXCHANGE},{rows.market},{event},{local},{trade_id},"
            for event, local, trade_id in zip(*numbers, strict=True)
        )
        sides = [_TAKERS[sold] for sold in rows.sold.tolist()]
        prices = _texts(rows.prices, rows.scale.price, ",")
        amounts = _texts(rows.quantities, rows.scale.quantity, "\n")
        self._csv.append(list(map("".join, zip(heads, sides, prices, amounts, strict=True))))


class TardisWriter:
    """Writes rows of levels as CSV into `file`, gzipped if `zipped`. Call `close()` in the end."""

    def __init__(self, file: BinaryIO, *, zipped: bool) -> None:
        self._csv = _CsvFile(file, HEADER, zipped=zipped)
        self.close = self._csv.close
        self._latest_us = 0

    def write(self, rows: LevelRows) -> None:
        """Append `rows`."""
        if len(rows):
            self._csv.append(self._lines(rows))

    def _lines(self, rows: LevelRows) -> list[str]:
        heads, at = self._heads(rows)
        sides = [_SIDES[side] for side in rows.asks.tolist()]
        prices = _texts(rows.prices, rows.scale.price, ",")
        amounts = _texts(rows.quantities, rows.scale.quantity, "\n")
        levels = map(add, map(add, sides, prices), amounts)
        return list(map(add, (heads[index] for index in at), levels))

    def _heads(self, rows: LevelRows) -> tuple[list[str], list[int]]:
        """Return the beginning of each event's lines, and the index of each row's beginning."""
        changes = np.diff(rows.final_ids, prepend=rows.final_ids[0] - 1) != 0
        firsts = changes.nonzero()[0]
        local_us = rows.received_ns[firsts] // _NS_A_US
        if rows.is_snapshot:
            # Lines never go back in time, and the run before may have lasted until now.
            local_us = np.maximum(local_us, self._latest_us)
        self._latest_us = max(self._latest_us, int(local_us.max()))
        flag = "true" if rows.is_snapshot else "false"
        times = zip((rows.event_ms[firsts] * _US_A_MS).tolist(), local_us.tolist(), strict=True)
        heads = [f"{EXCHANGE},{rows.market},{event},{local},{flag}," for event, local in times]
        return heads, (changes.cumsum() - 1).tolist()


def _texts(values: Int64Array, exponent: int, behind: str) -> list[str]:
    """Return `values` as decimals; equal ones are spelt once."""
    distinct, at = np.unique(values, return_inverse=True)
    spelt = [format_units(value, exponent, 0) + behind for value in distinct.tolist()]
    return [spelt[index] for index in at.tolist()]
