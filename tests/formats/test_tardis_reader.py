"""Reading Tardis CSV: events and snapshots with ids of our making, and clear errors."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest

from orderbook_desktop.core.archive.rows import LevelRows
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.received import Broken, FileNotes, Received, UnusableFile
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.formats import tardis_reader as tardis
from orderbook_desktop.formats.lines import first_line
from orderbook_desktop.formats.tardis_reader import is_tardis, tardis_messages
from orderbook_desktop.formats.tardis_writer import HEADER
from orderbook_desktop.storage.imports.runs import FoundRun, MarketRuns, Spooler
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.core.archive.test_rows import rebuilt
from tests.formats.taped import Taped, two_runs
from tests.storage.imports.made import imported, recorded_rows

_BOOK = """\
binance,BTCUSDT,1700000000100000,1700000000200001,true,bid,10.5,1
binance,BTCUSDT,1700000000100000,1700000000200001,true,ask,11,2e-7
"""
_EVENTS = """\
binance,BTCUSDT,1700000000300000,1700000000400000,false,bid,10.5,0
binance,BTCUSDT,1700000000300000,1700000000400000,false,ask,10.99,0.30
binance,BTCUSDT,1700000000310000,1700000000400000,false,ask,12,7
"""


def write(path: Path, *texts: str, header: bool = True) -> Path:
    path.write_text("".join((f"{HEADER}\n" if header else "", *texts)))
    return path


def messages(*paths: Path) -> list[Received]:
    return [one for one in tardis_messages(paths) if isinstance(one, Received)]


_PANDAS = """\
,symbol,exchange,local_timestamp,timestamp,is_snapshot,side,amount,price,more
0,BTCUSDT,binance,1700000000200001,1700000000100000,True,bid,1.0,10.5,x
1,BTCUSDT,binance,1700000000200001.0,1700000000100000.0,True,ask,2e-07,11.0,x
2,BTCUSDT,binance,1700000000400000,1.7000000003e+15,False,bid,0.0,10.5,x
3,BTCUSDT,binance,1700000000400000,1700000000300000.0,False,ask,0.3,10.99,x
4,BTCUSDT,binance,1700000000400000,1700000000310000.0,False,ask,7.0,12.0,x
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_that_another_program_has_written_anew(
    tmp_path: Path, end: str, zipped: bool
) -> None:
    usual = messages(write(tmp_path / "a.csv", _BOOK, _EVENTS))
    text = "\ufeff" + _PANDAS.replace("\n", end) + end + end
    path = tmp_path / "b.csv"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    assert is_tardis(first_line(path))
    assert messages(path) == usual
    path.write_text(text.replace("BTCUSDT", '"BTCUSDT"').replace("True", "TRUE"))
    assert messages(path) == usual


def test_changes_without_any_book_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", _BOOK, _EVENTS, _EVENTS.replace("BTC", "币安"))
    reason = r"line 7 of .* changes the book of 币安USDT, of which the files hold no snapshot"
    with pytest.raises(UnusableFile, match=reason):
        messages(path)


def test_one_message_with_two_exchange_times_is_one_event(tmp_path: Path) -> None:
    rows = """\
binance,BTCUSDT,1700000000300000,1700000000400000,false,bid,11,5
binance,BTCUSDT,1700000000300001,1700000000400000,false,ask,11,0
binance,BTCUSDT,1700000000300001,1700000000400000,false,ask,12,1
binance,BTCUSDT,1700000000500000,1700000000500000,false,bid,10,1
"""
    _, first, second = messages(write(tmp_path / "a.csv", _BOOK, rows))
    assert isinstance(first.message, DepthDiff)
    assert [len(first.message.bids), len(first.message.asks)] == [1, 2]
    assert isinstance(second.message, DepthDiff)
    assert second.message.first_id == first.message.final_id + 1


def test_more_rows_of_one_message_than_any_book_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tardis, "_ROWS_AT_MOST", 50)
    head = "binance,BTCUSDT,1700000000300000,1700000000400000,true,bid"
    rows = [f"{head},{number},1\n" for number in range(60)]
    with pytest.raises(UnusableFile, match=r"line 52 of .* is one of more than"):
        messages(write(tmp_path / "a.csv", *rows))


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        # The rest of the row tells: a later event, the same one, or nothing.
        ("binance,BTCUSDT,1700000000500000,17000000005000", 2),
        ("binance,BTCUSDT,17000000003", 1),
        ("", 1),
    ],
)
def test_the_event_in_which_a_file_is_cut_off_is_left_out(
    tmp_path: Path, kept: str, left: int
) -> None:
    path = write(tmp_path / "a.csv", _BOOK, _EVENTS.replace("310000", "300000"), kept)
    path.write_bytes(path.read_bytes() + bytes(1000))
    *found, broken = tardis_messages([path])
    assert len(found) == left
    assert isinstance(broken, Broken)
    assert "is broken in line 7" in broken.detail


def test_rows_become_messages(tmp_path: Path) -> None:
    book, first, second = messages(write(tmp_path / "a.csv", _BOOK, _EVENTS))
    assert isinstance(book.message, DepthSnapshot)
    assert book.restarts
    assert book.received_ns == 1700000000200001000
    assert json.loads(book.message.payload) == {
        "lastUpdateId": 1700000000200001,
        "bids": [["10.50000000", "1.00000000"]],
        "asks": [["11.00000000", "0.00000020"]],
    }
    assert isinstance(first.message, DepthDiff)
    assert json.loads(first.message.payload) == {
        "e": "depthUpdate",
        "E": 1700000000300,
        "s": "BTCUSDT",
        "U": 1700000000200002,
        "u": 1700000000400000,
        "b": [["10.50000000", "0.00000000"]],
        "a": [["10.99000000", "0.30000000"]],
    }
    # Received in the same microsecond, but of another time: another event.
    assert isinstance(second.message, DepthDiff)
    assert (second.message.first_id, second.message.final_id) == (1700000000400001,) * 2
    assert second.message.event_ms == 1700000000310


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
@pytest.mark.parametrize("header", [True, False])
def test_a_file_may_be_cut_anywhere(tmp_path: Path, cut: int, header: bool) -> None:
    lines = (_BOOK + _EVENTS).splitlines(keepends=True)
    whole = messages(write(tmp_path / "whole.csv", *lines))
    front = write(tmp_path / "front.csv", *lines[:cut])
    back = write(tmp_path / "back.csv", *lines[cut:], header=header)
    assert messages(front, back) == whole
    assert messages(back, front) == whole


def test_a_header_may_come_again_and_a_mark_of_utf_8(tmp_path: Path) -> None:
    whole = messages(write(tmp_path / "whole.csv", _BOOK, _EVENTS))
    path = write(tmp_path / "a.csv", _BOOK, f"{HEADER}\n", _EVENTS)
    assert messages(path) == whole
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert is_tardis(first_line(path))
    assert messages(path) == whole


def test_fields_may_be_quoted(tmp_path: Path) -> None:
    whole = messages(write(tmp_path / "whole.csv", _BOOK, _EVENTS))
    path = write(tmp_path / "a.csv", _BOOK, _EVENTS)
    path.write_text("".join(_quoted(line) for line in path.read_text().splitlines()))
    assert is_tardis(first_line(path))
    assert messages(path) == whole
    assert is_tardis(_quoted(_EVENTS.splitlines()[0]).strip().encode())


def _quoted(line: str) -> str:
    return ",".join(f'"{field}"' for field in line.split(",")) + "\r\n"


def test_a_file_may_be_named_twice(tmp_path: Path) -> None:
    bid, ask = _BOOK.splitlines(keepends=True)
    pieces = (bid, ask.replace("1700000000200001", "1700000000200009"))
    path = write(tmp_path / "a.csv", *pieces, _EVENTS)
    assert messages(path, path, path) == messages(path)


@pytest.mark.parametrize(
    ("unit", "cut", "more"),
    [("seconds", 6, ""), ("milliseconds", 3, ""), ("nanoseconds", 0, "000")],
)
@pytest.mark.parametrize("columns", [(2,), (3,), (2, 3)])
def test_times_in_another_unit_are_converted(
    tmp_path: Path, unit: str, cut: int, more: str, columns: tuple[int, ...]
) -> None:
    rows = []
    for row in (_BOOK + _EVENTS).splitlines():
        fields = row.split(",")
        for column in columns:
            fields[column] = fields[column][: 16 - cut] + more
        rows.append(",".join(fields) + "\n")
    path, notes = write(tmp_path / "other.csv", *rows), FileNotes()
    found = [one for one in tardis_messages([path], notes) if isinstance(one, Received)]
    assert notes.units == {path: unit}
    usual = messages(write(tmp_path / "usual.csv", _BOOK, _EVENTS))
    a_unit_us = 10**cut
    # Events of the same second are one, as nothing tells them apart.
    for at in (0, -1):
        late_ns = usual[at].received_ns - found[at].received_ns
        assert 0 <= late_ns < a_unit_us * 1000
        late_ms = usual[at].message.event_ms - found[at].message.event_ms
        assert 0 <= late_ms <= a_unit_us // 1000


def test_a_silent_market_goes_on(tmp_path: Path) -> None:
    # Its update ids are made of times, but no event may span as many as an hour has.
    hour = _EVENTS.replace("17000000", "17000036")
    path = write(tmp_path / "quiet.csv", _BOOK, _EVENTS, hour, _later(_BOOK, 7_200))
    _, *diffs, again = (one.message for one in messages(path))
    events = [diff for diff in diffs if isinstance(diff, DepthDiff)]
    assert isinstance(again, DepthSnapshot)
    assert [later.first_id - event.final_id for event, later in pairwise(events)] == [1, 1, 1]
    assert events[2].event_ms - events[0].event_ms == 3_600_000
    assert again.last_update_id == 1700007200200001
    runs = _runs(path)
    assert [(run.segment.event_count, run.segment.end_cause) for run in runs] == [
        (4, GapCause.DISCONNECT)
    ]


def test_a_book_with_an_impossible_time_is_not_older_than_its_receipt(tmp_path: Path) -> None:
    for time in ("0", "12", "9000000000000000"):
        book = _BOOK.replace("1700000000100000", time)
        (run,) = _runs(write(tmp_path / "odd.csv", book, _EVENTS))
        assert 1700000000000 <= run.segment.first_event_ms <= 1700000000400


def _later(rows: str, seconds: int) -> str:
    return rows.replace("1700000000", str(1700000000 + seconds))


def _runs(path: Path) -> list[FoundRun]:
    runs: list[FoundRun] = []
    market = MarketRuns("BTCUSDT", Spooler(lambda _: None, runs.append, lambda _: None))
    for received in messages(path):
        market.take(received)
    market.finish()
    return runs


def test_files_are_merged_by_time(tmp_path: Path) -> None:
    other = (_BOOK + _EVENTS).replace("BTCUSDT", "ethusdt").replace("00400000", "00400001")
    path = tmp_path / "eth.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{other}".encode()))
    found = messages(path, write(tmp_path / "btc.csv", _BOOK, _EVENTS))
    for market in ("BTCUSDT", "ETHUSDT"):
        times = [one.received_ns for one in found if one.message.market == market]
        assert len(times) == 3
        assert times == sorted(times)


@pytest.mark.parametrize("name", ["BTC_USDT", "btc-usdt", "BTC/USDT", "btcusdt"])
def test_a_name_is_spelt_as_the_exchange_does(tmp_path: Path, name: str) -> None:
    # What is stored under another one no command could name.
    path = write(tmp_path / "named.csv", _BOOK.replace("BTCUSDT", name))
    assert {one.message.market for one in messages(path)} == {"BTCUSDT"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("binance,BTCUSDT,1,2,true,bid,1", "has not the fields exchange,symbol"),
        ("binance,BTCUSDT,1,2,true,bid,1,2,3", "has not the fields exchange,symbol"),
        ("hello", "has not the fields exchange,symbol"),
        ("deribit,BTCUSDT,1,2,true,bid,1,2", "is of the exchange 'deribit'; only binance"),
        ("binance,,1,2,true,bid,1,2", "has '' for a symbol"),
        ("binance,BTC USDT,1,2,true,bid,1,2", "has 'BTC USDT' for a symbol"),
        ("binance,A_B_C,1,2,true,bid,1,2", "has 'A_B_C' for a symbol"),
        ("binance,BTCUSDT,-1,2,true,bid,1,2", "has '-1' for a time in microseconds"),
        ("binance,BTCUSDT,1,1.5,true,bid,1,2", "has '1.5' for a time"),
        ("binance,BTCUSDT,1700000000100000,12,true,bid,1,2", "has '12' for a time"),
        ("binance,BTCUSDT,1,9999999999999999,true,bid,1,2", "has '9999999999999999' for a time"),
        ("binance,BTCUSDT,1,2,yes,bid,1,2", "has 'yes' for is_snapshot"),
        ("binance,BTCUSDT,1,2,true,buy,1,2", "has 'buy' for a side"),
        ('binance,BTCUSDT,1,2,true,bid,1"0,2', "has '1\"0' for a price or an amount"),
        ("binance,BTCUSDT,1,2,true,bid,x,2", "has 'x' for a price or an amount"),
        ("binance,BTCUSDT,1,2,true,bid,1,-2", "has '-2' for a price or an amount"),
        ("binance,BTCUSDT,1,2,true,bid,nan,2", "has 'nan' for a price or an amount"),
        ("binance,BTCUSDT,1,2,true,bid,1e99999999,2", "has '1e99999999' for a price"),
        ("binance,BTCUSDT,1,2,true,bid,1_0,2", "has '1_0' for a price or an amount"),
        ("binance,BTCUSDT,1,2,true,bid, 1,2", "has ' 1' for a price or an amount"),
        ("binance,BTCUSDT,1,2,true,bid,1,1e-65", "has '1e-65' for a price or an amount, which"),
        ("binance,BTCUSDT,1,2,true,bid,,2", "has '' for a price or an amount"),
        ("binance,BTCUSDT,1,2,true,bid,\u0661,2", "for a price or an amount"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: str, reason: str) -> None:
    path = write(tmp_path / "a.csv", _BOOK, f"{row}\n", _EVENTS)
    with pytest.raises(UnusableFile) as caught:
        messages(path)
    assert (caught.value.path, caught.value.line) == (path, 4)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"Nothing was imported: line 4 of {path} ")


def test_its_first_line_tells_the_format() -> None:
    assert is_tardis(HEADER.encode())
    assert is_tardis(_EVENTS.splitlines()[0].encode())
    assert not is_tardis(b'1700000000000000000 {"stream":"x"}')
    assert not is_tardis(b"exchange,symbol,timestamp,local_timestamp,id,side,price,amount")


async def test_an_export_comes_back_as_it_was(database: Database, tmp_path: Path) -> None:
    taped = await _written(two_runs(), tmp_path / "book.csv.gz")
    await imported(database, tardis_messages([tmp_path / "book.csv.gz"]), tmp_path)
    rows = [rows async for rows in recorded_rows(database)]
    # Ids are of our making: it is the order that counts.
    assert list(rebuilt(rows).values()) == list(taped.books.values())
    first, second = await Recording(database, "BTCUSDT").segments()
    assert first.segment.event_count + second.segment.event_count == 420
    assert first.segment.end_detail == "A snapshot begins the book anew."
    again = Taped(parts=[part async for part in Recording(database, "BTCUSDT").slices()])
    await _written(again, tmp_path / "again.csv.gz")
    assert (tmp_path / "again.csv.gz").read_bytes() == (tmp_path / "book.csv.gz").read_bytes()
    assert (await verify(database, "BTCUSDT")).fault is None


async def _written(taped: Taped, path: Path) -> Taped:
    from orderbook_desktop.storage.exports.exporting import ExportJob, export  # noqa: PLC0415

    job = ExportJob("BTCUSDT", taped.slices, ExportFormat.TARDIS, path)
    await export(job, lambda _: None)
    return taped


async def test_a_snapshot_in_pieces_is_one(database: Database, tmp_path: Path) -> None:
    bid, ask = _BOOK.splitlines(keepends=True)
    later = ask.replace("1700000000200001", "1700000000200009")
    await imported(database, messages(write(tmp_path / "a.csv", bid, later, _EVENTS)), tmp_path)
    rows: list[LevelRows] = [rows async for rows in recorded_rows(database)]
    assert rows[0].is_snapshot
    assert rows[0].asks.tolist() == [False, True]
    assert len(rows) == 2
