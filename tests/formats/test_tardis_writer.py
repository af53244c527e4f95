"""Tardis CSV, against an independent reader of it."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from orderbook_desktop.core.archive.rows import LevelRows
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.units import Scale
from orderbook_desktop.formats.tardis_writer import HEADER, TardisWriter
from tests.core.reference_book import Pairs
from tests.formats.rebuild_tardis import books
from tests.formats.taped import Taped, two_runs


def rebuilt(path: Path) -> Iterator[tuple[int, Pairs, Pairs]]:
    for time, bids, asks in books(path):
        yield time, sorted(bids.items(), reverse=True), sorted(asks.items())


@pytest.mark.parametrize("name", ["book.csv", "book.csv.gz"])
def test_every_book_can_be_rebuilt(tmp_path: Path, name: str) -> None:
    taped = two_runs()
    done = taped.write(ExportFormat.TARDIS, tmp_path / name)
    shown = [(bids, asks) for _, bids, asks in rebuilt(tmp_path / name)]
    assert shown == list(taped.books.values())
    assert done.books == 2


def test_an_empty_book_voids_the_one_before(tmp_path: Path) -> None:
    taped = Taped().run(30).emptied().run(40)
    taped.write(ExportFormat.TARDIS, tmp_path / "book.csv")
    shown = [(bids, asks) for _, bids, asks in rebuilt(tmp_path / "book.csv")]
    assert shown == list(taped.books.values())


def test_rows_are_as_tardis_has_them(tmp_path: Path) -> None:
    taped = two_runs()
    taped.write(ExportFormat.TARDIS, tmp_path / "book.csv.gz")
    text = gzip.decompress((tmp_path / "book.csv.gz").read_bytes()).decode()
    lines = text.splitlines()
    assert (
        lines[0]
        == HEADER
        == ("exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount")
    )
    assert "\r" not in text
    rows = list(csv.DictReader(lines))
    numbers = taped.parts[0].chunk.numbers
    first = next(row for row in rows if row["is_snapshot"] == "false")
    assert int(first["timestamp"]) == numbers.event_ms[0] * 1000
    assert int(first["local_timestamp"]) == numbers.received_ns[0] // 1000
    times = [int(row["local_timestamp"]) for row in rows]
    assert times == sorted(times)
    # A book has a time of its own: it must not look like a part of an event.
    flags = {row["local_timestamp"]: set[str]() for row in rows}
    for row in rows:
        flags[row["local_timestamp"]].add(row["is_snapshot"])
    assert all(len(found) == 1 for found in flags.values())
    for row in rows:
        for name in ("price", "amount"):
            assert "e" not in row[name].lower()
            assert not row[name].endswith(".")
            assert "." not in row[name] or not row[name].endswith("0")


def test_the_same_recording_gives_the_same_file(tmp_path: Path) -> None:
    taped = two_runs()
    for name in ("one.csv.gz", "two.csv.gz"):
        taped.write(ExportFormat.TARDIS, tmp_path / name)
    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()


def test_values_of_any_scale_are_plain(tmp_path: Path) -> None:
    ones = np.ones(3, dtype=np.int64)
    rows = LevelRows(
        "PEPEUSDT",
        Scale(12, 2),
        is_snapshot=False,
        first_ids=ones,
        final_ids=ones,
        event_ms=ones,
        received_ns=ones,
        asks=np.array([False, True, True]),
        prices=np.array([1, 1_000_000_000_000, 7_120_000_000_000_000_000]),
        quantities=np.array([0, 9_223_372_036_854_775_807, 150]),
    )
    with (tmp_path / "book.csv").open("wb") as file:
        writer = TardisWriter(file, zipped=False)
        writer.write(rows)
        writer.close()
    lines = (tmp_path / "book.csv").read_text().splitlines()[1:]
    assert [line.split(",", 5)[5] for line in lines] == [
        "bid,0.000000000001,0",
        "ask,1,92233720368547758.07",
        "ask,7120000,1.5",
    ]


def _at(times_ns: list[int], first_id: int, *, is_snapshot: bool) -> LevelRows:
    """Rows of events that were received at these times, one level each."""
    count = len(times_ns)
    ones, ids = np.ones(count, dtype=np.int64), np.arange(first_id, first_id + count)
    return LevelRows(
        "BTCUSDT",
        Scale(),
        is_snapshot=is_snapshot,
        first_ids=ids,
        final_ids=ids,
        event_ms=ones,
        received_ns=np.array(times_ns),
        asks=np.zeros(count, dtype=np.bool_),
        prices=ones,
        quantities=ones,
    )


def test_a_book_is_later_than_all_before_it_where_our_clock_went_back(tmp_path: Path) -> None:
    with (tmp_path / "book.csv").open("wb") as file:
        writer = TardisWriter(file, zipped=False)
        writer.write(_at([9_000, 5_000], 1, is_snapshot=False))
        writer.write(_at([4_000], 3, is_snapshot=True))
        writer.close()
    lines = (tmp_path / "book.csv").read_text().splitlines()[1:]
    assert [line.split(",")[3] for line in lines] == ["9", "5", "9"]
