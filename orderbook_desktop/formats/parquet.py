"""Parquet: one row per level that an event changed or that a book began with, or one per trade.

Of levels:

| column | type | is |
|---|---|---|
| `first_update_id`, `final_update_id` | int64 | the event's `U` and `u`; a book's last one |
| `event_time` | timestamp, ms, UTC | the exchange's time |
| `received_ns` | int64 | our time, ns since the epoch (not every reader knows such timestamps) |
| `is_snapshot` | boolean | the row belongs to a whole book |
| `side` | string | `bid` or `ask` |
| `price`, `quantity` | decimal(38, 8) | exactly; quantity 0 where the level was removed |

A book begins anew, and all earlier levels are void, where `is_snapshot` is true and was false in
the row before.

Of trades, in the order of their ids:

| column | type | is |
|---|---|---|
| `trade_id` | int64 | the id of the aggregated trade |
| `first_part_id`, `last_part_id` | int64 | the exchange's own trades in it; -1 where not known |
| `event_time` | timestamp, us, UTC | when it was traded, by the exchange's clock |
| `received_ns` | int64 | when it was received, by ours, ns since the epoch; 0 if `repaired` |
| `side` | string | what the taker did: `buy` or `sell` |
| `price`, `quantity` | decimal(38, 8) | exactly |
| `repaired` | boolean | asked for afterwards, or imported without a time of receipt |

The decimals have more than 8 places where a value needs them. The file's metadata names `exchange`
and `symbol`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from io import RawIOBase
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import numpy as np

from orderbook_desktop.core.archive.rows import LevelRows, Survey
from orderbook_desktop.core.archive.tokens import BoolArray
from orderbook_desktop.core.archive.trade_rows import TradeRows, TradeSurvey
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.units import INT64_MAX, Scale
from orderbook_desktop.formats.arrow_stream import (
    ArrowStream,
    Batch,
    Buffers,
    Column,
    bits,
    int128s,
    words,
)
from orderbook_desktop.formats.tardis_fields import EXCHANGE

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Large enough for compression and for readers that skip groups, small enough for memory.
ROWS_A_GROUP: Final = 1 << 18
# arro3 lets no other thread run while it writes a group: these take some milliseconds each. Files
# are about a fourteenth larger.
ROWS_A_QUICK_GROUP: Final = 1 << 15
_COMPRESSION: Final = "zstd(3)"
# One page for each column of a group: smaller ones, and dictionaries of numbers, make files of
# real recordings a tenth larger.
_PAGE_BYTES: Final = 1 << 26
# The metadata with exchange and symbol is within so many bytes of the file's end.
_END_BYTES: Final = 1 << 16
# Types as Arrow's format strings.
_INT64: Final = "l"
_BOOLEAN: Final = "b"
_TEXT: Final = "u"
_DECIMAL: Final = "d:"

_Arrays = list[Int64Array | BoolArray]


class _Column(Column, frozen=True):
    """A column; one of texts has the two `words` that may stand in it."""

    words: tuple[str, str] = ("", "")

    def buffers(self, values: Int64Array | BoolArray) -> Buffers:
        """Return the Arrow buffers of `values`."""
        if self.format == _BOOLEAN:
            return (bits(values.astype(np.bool_)),)
        if self.format == _TEXT:
            return words(values.astype(np.bool_), self.words)
        return (int128s(values),) if self.format.startswith(_DECIMAL) else (values,)


class ParquetWriter:
    """Writes rows of levels of `market` into `file`. Call `close()` in the end.

    `survey` is that of all rows, which the writer needs first: a column has one number of places.
    `write` and `close` raise the `OSError` of the file.
    """

    def __init__(
        self,
        file: BinaryIO,
        market: str,
        created_by: str,
        survey: Survey,
        rows_a_group: int = ROWS_A_GROUP,
    ) -> None:
        self._scale = survey.scale
        columns = _level_columns(survey.scale)
        self._table = _Table(file, market, created_by, columns, rows_a_group)
        self.close = self._table.close

    def write(self, rows: LevelRows) -> None:
        """Append `rows`."""
        scale = self._scale
        self._table.write(
            len(rows),
            [
                rows.first_ids,
                rows.final_ids,
                rows.event_ms,
                rows.received_ns,
                np.full(len(rows), rows.is_snapshot),
                rows.asks,
                _units_at(rows.prices, rows.scale.price, scale.price),
                _units_at(rows.quantities, rows.scale.quantity, scale.quantity),
            ],
        )


class ParquetTradeWriter:
    """Writes trades of `market` into `file`; see `ParquetWriter`."""

    def __init__(
        self,
        file: BinaryIO,
        market: str,
        created_by: str,
        survey: TradeSurvey,
        rows_a_group: int = ROWS_A_GROUP,
    ) -> None:
        self._scale = survey.scale
        columns = _trade_columns(survey.scale)
        self._table = _Table(file, market, created_by, columns, rows_a_group)
        self.close = self._table.close

    def write(self, rows: TradeRows) -> None:
        """Append `rows`."""
        scale = self._scale
        self._table.write(
            len(rows),
            [
                rows.ids,
                rows.first_parts,
                rows.last_parts,
                rows.event_us,
                rows.received_ns,
                rows.sold,
                _units_at(rows.prices, rows.scale.price, scale.price),
                _units_at(rows.quantities, rows.scale.quantity, scale.quantity),
                rows.repaired,
            ],
        )


class _Table:
    """Writes columns into `file`, in groups of rows. Call `close()` in the end.

    Columns of whole numbers, decimals and truth values are written as they are; of a column with
    words, its numbers choose the word. arro3 reads its rows from a stream and returns at its end.
    So it works in a thread, which waits for each batch.
    """

    def __init__(
        self,
        file: BinaryIO,
        market: str,
        created_by: str,
        columns: tuple[_Column, ...],
        rows_a_group: int,
    ) -> None:
        self._columns = columns
        self._rows_a_group = rows_a_group
        self._file = _Sink(file)
        self._stream = ArrowStream(columns, self._taken())
        self._waiting: list[_Arrays] = []
        self._count = 0
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        # For one batch, so that at most one waiting batch is in memory.
        self._room = threading.Semaphore(0)
        self._failure: BaseException | None = None
        self._created_by = created_by
        self._about = {"exchange": EXCHANGE, "symbol": market}
        self._thread = threading.Thread(target=self._run, name="parquet-writer", daemon=True)
        self._thread.start()

    def write(self, count: int, columns: _Arrays) -> None:
        """Append `count` rows."""
        self._waiting.append(columns)
        self._count += count
        while self._count >= self._rows_a_group:
            self._hand_over(self._first(self._rows_a_group))

    def close(self) -> None:
        """Write the rest; the file itself stays open."""
        try:
            if self._count:
                self._hand_over(self._first(self._count))
        finally:
            self._batches.put(None)
            self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _first(self, count: int) -> Batch:
        """Take the first waiting rows, so that equal rows give equal files in any portions."""
        arrays = [np.concatenate(parts) for parts in zip(*self._waiting, strict=True)]
        self._waiting = [[array[count:] for array in arrays]]
        self._count -= count
        buffers = [
            column.buffers(array[:count])
            for column, array in zip(self._columns, arrays, strict=True)
        ]
        return count, buffers

    def _hand_over(self, batch: Batch) -> None:
        self._room.acquire()
        if self._failed is not None:
            # Every later call raises it again.
            self._room.release()
            raise self._failed
        self._batches.put(batch)

    def _taken(self) -> Iterator[Batch]:
        while True:
            self._room.release()
            batch = self._batches.get()
            if batch is None or self._file.failure is not None:
                return
            yield batch

    def _run(self) -> None:
        # Imported here because only this export needs it.
        import arro3.io  # noqa: PLC0415

        try:
            arro3.io.write_parquet(
                self._stream,
                cast("BinaryIO", self._file),
                compression=_COMPRESSION,
                max_row_group_size=self._rows_a_group,
                data_page_row_count_limit=self._rows_a_group,
                data_page_size_limit=_PAGE_BYTES,
                dictionary_enabled=False,
                column_dictionary_enabled={"side": True},
                created_by=self._created_by,
                key_value_metadata=self._about,
            )
            self._file.end(self._about)
        except BaseException as error:  # noqa: BLE001 (passed to the thread that writes)
            self._failure = error
        finally:
            self._room.release()

    @property
    def _failed(self) -> BaseException | None:
        return self._file.failure or self._stream.failure or self._failure


class _Sink(RawIOBase):
    """A file that keeps its failure: arro3 can't raise it, and prints a trace instead.

    The end of the file, with its metadata, waits for `end()`.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._waiting = bytearray()
        self.failure: OSError | None = None

    def write(self, data: Buffer) -> int:
        """Write `data`, unless a write has failed before."""
        self._waiting += data
        if len(self._waiting) > 2 * _END_BYTES:
            self._write_out(len(self._waiting) - _END_BYTES)
        return len(memoryview(data))

    def end(self, about: Mapping[str, str]) -> None:
        """Write the rest, with the two entries of `about` in their order.

        arro3 writes them in a random order, and the same rows have to give the same file.
        """
        first, second = (_entry(*item) for item in about.items())
        self._waiting = self._waiting.replace(second + first, first + second)
        self._write_out(len(self._waiting))

    def _write_out(self, count: int) -> None:
        if self.failure is None:
            try:
                self._file.write(self._waiting[:count])
            except OSError as error:
                self.failure = error
        del self._waiting[:count]


def _entry(key: str, value: str) -> bytes:
    """Return a `KeyValue` of the file's metadata in Thrift's compact protocol.

    Source: parquet.thrift; "Thrift compact protocol encoding", Struct encoding.
    """
    return b"".join((_text(key), _text(value), b"\0"))


def _text(text: str) -> bytes:
    encoded = text.encode()
    length, digits = len(encoded), bytearray()
    while length > 0x7F:
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    digits.append(length)
    # The id of the next field, and its type, text.
    return b"\x18" + bytes(digits) + encoded


def _level_columns(scale: Scale) -> tuple[_Column, ...]:
    return (
        _Column("first_update_id", _INT64),
        _Column("final_update_id", _INT64),
        _Column("event_time", "tsm:UTC"),
        _Column("received_ns", _INT64),
        _Column("is_snapshot", _BOOLEAN),
        _Column("side", _TEXT, ("bid", "ask")),
        _Column("price", _decimal(scale.price)),
        _Column("quantity", _decimal(scale.quantity)),
    )


def _trade_columns(scale: Scale) -> tuple[_Column, ...]:
    return (
        _Column("trade_id", _INT64),
        _Column("first_part_id", _INT64),
        _Column("last_part_id", _INT64),
        _Column("event_time", "tsu:UTC"),
        _Column("received_ns", _INT64),
        _Column("side", _TEXT, ("buy", "sell")),
        _Column("price", _decimal(scale.price)),
        _Column("quantity", _decimal(scale.quantity)),
        _Column("repaired", _BOOLEAN),
    )


def _decimal(places: int) -> str:
    return f"{_DECIMAL}38,{places}"


def _units_at(units: Int64Array, exponent: int, wanted: int) -> Int64Array:
    """Return `units` of 10^-`exponent` in units of 10^-`wanted`; `wanted` is no less.

    Where 64 bits do not hold them, they are Python integers in an array of objects.
    """
    factor = 10 ** (wanted - exponent)
    if int(units.max(initial=0)) <= INT64_MAX // factor:
        fitting: Int64Array = units * factor
        return fitting
    larger: Int64Array = units.astype(object) * factor
    return larger
