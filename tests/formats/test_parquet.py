"""Parquet files, read by an independent reader."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import arro3.io
import numpy as np
import pytest

from orderbook_desktop.core.archive.rows import LevelRows, Survey
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.units import INT64_MAX, Scale
from orderbook_desktop.formats import parquet
from orderbook_desktop.formats.parquet import ParquetWriter
from orderbook_desktop.storage.exports import exporting
from tests.core.reference_book import Pairs, ReferenceBook
from tests.formats.taped import Taped, two_runs

if TYPE_CHECKING:
    from typing_extensions import Buffer

_COLUMNS = {
    "first_update_id": "Int64",
    "final_update_id": "Int64",
    "event_time": 'Timestamp(ms, "UTC")',
    "received_ns": "Int64",
    "is_snapshot": "Boolean",
    "side": "Utf8",
    "price": "Decimal128(38, 8)",
    "quantity": "Decimal128(38, 8)",
}


def read(path: Path) -> tuple[Any, dict[str, list[Any]]]:
    table: Any = arro3.io.read_parquet(path).read_all()
    return table.schema, {name: table[name].to_pylist() for name in table.column_names}


def rebuilt(columns: dict[str, list[Any]]) -> dict[int, tuple[Pairs, Pairs]]:
    """The book after each event."""
    book, books, was_snapshot = ReferenceBook(), {}, False
    names = ("final_update_id", "is_snapshot", "side", "price", "quantity")
    for final_id, is_snapshot, side, price, quantity in zip(
        *(columns[name] for name in names), strict=True
    ):
        if is_snapshot and not was_snapshot:
            book = ReferenceBook()
        book.change(book.bids if side == "bid" else book.asks, price, quantity)
        was_snapshot = is_snapshot
        books[final_id] = book.levels
    return books


@pytest.mark.parametrize("market", ["BTCUSDT", "币安人生USDT", "X" * 300])
def test_the_same_rows_give_the_same_file(market: str) -> None:
    def written() -> bytes:
        file = BytesIO()
        writer = ParquetWriter(file, market, "tests", Survey())
        writer.close()
        return file.getvalue()

    files = {written() for _ in range(20)}
    assert len(files) == 1
    only = BytesIO(files.pop())
    told = arro3.io.read_parquet(only).schema.metadata_str
    assert told["symbol"] == market


def test_the_schema_is_as_documented(tmp_path: Path) -> None:
    two_runs().write(ExportFormat.PARQUET, tmp_path / "book.parquet")
    schema, _ = read(tmp_path / "book.parquet")
    assert {
        field.name: str(field.type).removeprefix("arro3.core.DataType<").rstrip(">\n")
        for field in schema
    } == _COLUMNS
    assert not any(field.nullable for field in schema)
    assert all(f"`{name}`" in str(parquet.__doc__) for name in _COLUMNS)
    told = {bytes(key).decode(): bytes(value).decode() for key, value in schema.metadata.items()}
    assert (told["exchange"], told["symbol"]) == ("binance", "BTCUSDT")


def test_an_empty_book_voids_the_one_before(tmp_path: Path) -> None:
    taped = Taped().run(30).emptied().run(40)
    taped.write(ExportFormat.PARQUET, tmp_path / "book.parquet")
    _, columns = read(tmp_path / "book.parquet")
    assert rebuilt(columns).items() <= taped.books.items()
    assert len(rebuilt(columns)) == len(taped.books)


@pytest.mark.parametrize("rows_a_group", [1 << 18, 100])
def test_every_book_can_be_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_a_group: int
) -> None:
    monkeypatch.setattr(exporting, "ROWS_A_GROUP", rows_a_group)
    taped = two_runs()
    done = taped.write(ExportFormat.PARQUET, tmp_path / "book.parquet")
    _, columns = read(tmp_path / "book.parquet")
    assert rebuilt(columns) == taped.books
    assert len(columns["price"]) == done.rows
    numbers = taped.parts[0].chunk.numbers
    at = columns["is_snapshot"].index(False)
    assert columns["first_update_id"][at] == numbers.first_ids[0]
    assert columns["received_ns"][at] == numbers.received_ns[0]
    since = columns["event_time"][at] - datetime(1970, 1, 1, tzinfo=UTC)
    assert since == timedelta(milliseconds=int(numbers.event_ms[0]))


def test_values_of_different_scales_stay_exact(tmp_path: Path) -> None:
    pieces = [
        (Scale(8, 8), [1, 250_000_000], [0, 5]),
        (Scale(8, 0), [3, 4], [INT64_MAX, 1]),
        (Scale(12, 8), [1, INT64_MAX], [INT64_MAX, 1]),
    ]
    survey = Survey()
    parts = [_rows(*piece) for piece in pieces]
    for part in parts:
        survey.take(part)
    with (tmp_path / "book.parquet").open("wb") as file:
        writer = ParquetWriter(file, "XUSDT", "test", survey)
        for part in parts:
            writer.write(part)
        writer.close()
    schema, columns = read(tmp_path / "book.parquet")
    assert "Decimal128(38, 12)" in str(schema.field("price").type)
    assert columns["price"] == [
        Decimal(value).scaleb(-scale.price) for scale, prices, _ in pieces for value in prices
    ]
    assert columns["quantity"] == [
        Decimal(value).scaleb(-scale.quantity) for scale, _, values in pieces for value in values
    ]


@pytest.mark.parametrize("places", range(19))
def test_every_scale_is_exact(tmp_path: Path, places: int) -> None:
    survey, part = Survey(), _rows(Scale(places, 8), [0, 1, INT64_MAX], [INT64_MAX, 0, 7])
    survey.take(part)
    with (tmp_path / "book.parquet").open("wb") as file:
        writer = ParquetWriter(file, "XUSDT", "test", survey)
        writer.write(part)
        writer.close()
    schema, columns = read(tmp_path / "book.parquet")
    assert f"Decimal128(38, {max(places, 8)})" in str(schema.field("price").type)
    assert columns["price"] == [Decimal(one).scaleb(-places) for one in (0, 1, INT64_MAX)]
    assert columns["quantity"] == [Decimal(one).scaleb(-8) for one in (INT64_MAX, 0, 7)]


@pytest.mark.parametrize("room", [0, 4, 20_000])
def test_a_file_that_fails_is_told_once_and_nothing_waits(
    room: int, capfd: pytest.CaptureFixture[str]
) -> None:
    survey, part = Survey(), _rows(Scale(8, 8), list(range(5_000)), list(range(5_000)))
    survey.take(part)
    writer = ParquetWriter(_Full(room), "XUSDT", "test", survey)
    with pytest.raises(OSError, match="No space left"):  # noqa: PT012 (whichever finds it)
        for _ in range(200):
            writer.write(part)
        writer.close()
    with pytest.raises(OSError, match="No space left"):
        writer.close()
    assert capfd.readouterr().err == ""


class _Full(BytesIO):
    """A file for which there is little room."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, data: Buffer) -> int:
        self._room -= len(memoryview(data))
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def _rows(scale: Scale, prices: list[int], quantities: list[int]) -> LevelRows:
    ones = np.ones(len(prices), dtype=np.int64)
    return LevelRows(
        "XUSDT",
        scale,
        is_snapshot=False,
        first_ids=ones,
        final_ids=ones,
        event_ms=ones,
        received_ns=ones,
        asks=np.zeros(len(prices), dtype=np.bool_),
        prices=np.array(prices),
        quantities=np.array(quantities),
    )
