"""hftbacktest's event array, as the `.npz` that its data readers load.

Source: hftbacktest, "Data" (the dtype) and "Constants" (the flags). Times are nanoseconds, prices
and quantities doubles, as the format has it. A run begins with an event that clears both sides,
and then has its whole book. Times are adjusted in two ways, as hftbacktest's own converters do. An
event whose time goes back gets the time of the event before it. Where our clock was behind the
exchange's, all local times move forward by the least amount with which no event arrives before it
happened. A whole book has the time of an event beside it. Where that is later than its receipt, it
gets the time of its receipt. Trades stand among the levels as `formats.hftbacktest_trades` says;
`ival` is 1 for a repaired one.
"""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.archive.rows import LevelRows, Survey
from orderbook_desktop.core.archive.trade_rows import TradeRows, TradeSurvey
from orderbook_desktop.core.levels import EMPTY, Int64Array, doubles_of
from orderbook_desktop.formats.hftbacktest_trades import (
    FOR_EXCHANGE,
    FOR_LOCAL,
    PlacedTrades,
    TradeColumns,
    TradePlaces,
)

EVENT_DTYPE: Final = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ]
)

_DEPTH: Final = 1
_TRADE: Final = 2
_CLEAR: Final = 3
_SNAPSHOT: Final = 4
_EXCHANGE_AND_LOCAL: Final = FOR_EXCHANGE | FOR_LOCAL
_BUY: Final = 1 << 29
_SELL: Final = 1 << 28
_NS_A_MS: Final = 1_000_000
_NS_A_US: Final = 1_000
_ARRAY: Final = "data"
_ZIP_LEVEL: Final = 5
# A fixed time: the same rows give the same file.
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)

Events = npt.NDArray[np.void]


class _Times:
    """The times of levels, which never go back: those of a book have one more, of its clearing."""

    def __init__(self, moved_ns: int) -> None:
        self._moved_ns = moved_ns
        self._exchange_ns = 0
        self._local_ns = 0

    def of(self, rows: LevelRows) -> tuple[Int64Array, Int64Array]:
        """Return the times of `rows` for the exchange, and for the local side."""
        local_ns = _never_back(rows.received_ns + self._moved_ns, self._local_ns)
        told_ns = rows.event_ms * _NS_A_MS
        if rows.is_snapshot:
            told_ns = np.minimum(told_ns, local_ns)
        exchange_ns = _never_back(told_ns, self._exchange_ns)
        if rows.is_snapshot:
            exchange_ns = np.concatenate((exchange_ns[:1], exchange_ns))
            local_ns = np.concatenate((local_ns[:1], local_ns))
        if len(exchange_ns):
            self._exchange_ns, self._local_ns = int(exchange_ns[-1]), int(local_ns[-1])
        return exchange_ns, local_ns


class HftbacktestSurvey:
    """Learns what a writer needs first: an array begins with its length.

    `levels` and `trades` are the surveys of all rows. Call `end()` in the end.
    """

    def __init__(self) -> None:
        self.levels = Survey()
        self.trades = TradeSurvey()
        self._times = _Times(0)
        self._places = TradePlaces()
        # Rows of trades: a trade has one or two.
        self._trade_rows = 0

    @property
    def moved_ns(self) -> int:
        """By how much local times are moved forward."""
        return max(0, -self.levels.least_delay_ns, -self.trades.least_delay_ns)

    @property
    def length(self) -> int:
        """The length of the array; before each book comes an event that clears the book before."""
        return self.levels.rows + self.levels.books + self._trade_rows

    def take_trades(self, rows: TradeRows) -> None:
        """Learn from trades; those of a time come before the levels of that time."""
        self.trades.take(rows)
        self._places.add(_columns(rows, 0))

    def take(self, rows: LevelRows) -> None:
        """Learn from `rows`."""
        self.levels.take(rows)
        self._count(self._places.among(*self._times.of(rows)))

    def end(self) -> None:
        """Count the trades behind the last level."""
        self._count(self._places.among(EMPTY, EMPTY, is_last=True))

    def _count(self, placed: PlacedTrades | None) -> None:
        self._trade_rows += 0 if placed is None else len(placed.places)


class HftbacktestWriter:
    """Writes rows into `file` as the compressed array `data`. Call `close()` in the end.

    `survey` is that of all rows, in the same portions.
    """

    def __init__(self, file: BinaryIO, survey: HftbacktestSurvey) -> None:
        self.moved_ns = survey.moved_ns
        self._times = _Times(self.moved_ns)
        self._places = TradePlaces()
        self._is_closed = False
        self._stack = ExitStack()
        archive = self._stack.enter_context(
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_ZIP_LEVEL)
        )
        entry = zipfile.ZipInfo(f"{_ARRAY}.npy", _ZIP_TIME)
        entry.compress_type = zipfile.ZIP_DEFLATED
        self._array = self._stack.enter_context(archive.open(entry, "w", force_zip64=True))
        np.lib.format.write_array_header_1_0(
            self._array,
            {
                "descr": np.lib.format.dtype_to_descr(EVENT_DTYPE),
                "fortran_order": False,
                "shape": (survey.length,),
            },
        )

    def write_trades(self, rows: TradeRows) -> None:
        """Take trades; those of a time come before the levels of that time."""
        self._places.add(_columns(rows, self.moved_ns))

    def write(self, rows: LevelRows) -> None:
        """Append `rows`, and the trades among them."""
        exchange_ns, local_ns = self._times.of(rows)
        events: Events = np.zeros(len(exchange_ns), dtype=EVENT_DTYPE)
        levels = events[len(exchange_ns) - len(rows) :]
        kind = _SNAPSHOT if rows.is_snapshot else _DEPTH
        levels["ev"] = _EXCHANGE_AND_LOCAL | kind | np.where(rows.asks, _SELL, _BUY)
        levels["px"] = doubles_of(rows.prices, rows.scale.price)
        levels["qty"] = doubles_of(rows.quantities, rows.scale.quantity)
        # The clearing event names no side, and so clears both sides.
        events["ev"][: len(events) - len(levels)] = _EXCHANGE_AND_LOCAL | _CLEAR
        events["exch_ts"], events["local_ts"] = exchange_ns, local_ns
        self._append(events, self._places.among(exchange_ns, local_ns))

    def close(self) -> None:
        """Write the rest; the file itself stays open."""
        if not self._is_closed:
            self._is_closed = True
            with self._stack:
                none: Events = np.zeros(0, dtype=EVENT_DTYPE)
                self._append(none, self._places.among(EMPTY, EMPTY, is_last=True))

    def _append(self, levels: Events, placed: PlacedTrades | None) -> None:
        if placed is not None:
            levels = np.insert(levels, placed.places, _trade_events(placed))
        self._array.write(levels.tobytes())


def _columns(rows: TradeRows, moved_ns: int) -> TradeColumns:
    return TradeColumns(
        rows.event_us * _NS_A_US,
        rows.received_ns + moved_ns,
        rows.sold,
        rows.repaired,
        doubles_of(rows.prices, rows.scale.price),
        doubles_of(rows.quantities, rows.scale.quantity),
    )


def _trade_events(placed: PlacedTrades) -> Events:
    trades = placed.trades
    events: Events = np.zeros(len(placed.places), dtype=EVENT_DTYPE)
    sides = np.where(trades.sold, _SELL, _BUY).astype(np.uint64)
    events["ev"] = placed.flags | sides | np.uint64(_TRADE)
    events["exch_ts"], events["local_ts"] = trades.exchange_ns, trades.local_ns
    events["px"], events["qty"] = trades.prices, trades.quantities
    events["ival"] = trades.repaired
    return events


def _never_back(times: Int64Array, latest: int) -> Int64Array:
    return np.maximum(np.maximum.accumulate(times), latest)
