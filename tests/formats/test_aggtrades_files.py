"""The exchange's public files of aggregated trades."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from orderbook_desktop.core.received import FileNotes, UnusableFile
from orderbook_desktop.core.trades import Trade, is_same_trade
from orderbook_desktop.formats.aggtrades_files import aggtrades, is_aggtrades
from tests.storage.made_trades import FIRST_MS, received

_ROW = "5,61837.63000000,0.02000000,9,11,{},True,True"
_LONG = (
    "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,"
    "is_best_match"
)


def _zip(
    folder: Path, *rows: str, market: str = "BTCUSDT", day: str = "2024-08-08", end: str = "\n"
) -> Path:
    path = folder / f"{market}-aggTrades-{day}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{market}-aggTrades-{day}.csv", end.join(rows) + end)
    return path


def _checksum(path: Path) -> Path:
    beside = path.with_name(path.name + ".CHECKSUM")
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    return beside


def _read(*paths: Path, notes: FileNotes | None = None) -> list[Trade]:
    found = [one.message for one in aggtrades(paths, notes)]
    return [one for one in found if isinstance(one, Trade)]


@pytest.mark.parametrize("header", [None, "a,p,q,f,l,T,m,M", _LONG])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_are_trades_that_were_asked_for(tmp_path: Path, header: str | None, end: str) -> None:
    rows = [_ROW.format(FIRST_MS), "6,1,2,12,12," + str(FIRST_MS + 1) + ",false,true"]
    notes = FileNotes()
    path = _zip(tmp_path, *([header] if header else []), *rows, end=end)
    assert is_aggtrades(path)
    first, second = _read(path, notes=notes)
    sent = {"a": 5, "p": "61837.63000000", "q": "0.02000000", "f": 9, "l": 11, "T": FIRST_MS}
    assert json.loads(first.payload) == {**sent, "m": True, "M": True}
    assert (first.market, first.is_repaired, first.is_sold) == ("BTCUSDT", True, True)
    assert (second.price, second.quantity) == ("1.00000000", "2.00000000")
    assert notes.units == {}


def test_microseconds_are_kept(tmp_path: Path) -> None:
    time_us = FIRST_MS * 1_000 + 5_123
    notes = FileNotes()
    path = _zip(tmp_path, _ROW.format(time_us), day="2025-01")
    (trade,) = _read(path, notes=notes)
    assert (trade.event_us, trade.event_ms) == (time_us, FIRST_MS + 5)
    assert f'"T":{time_us}'.encode() in trade.payload
    assert notes.units == {path: "microseconds"}
    assert is_same_trade(received(5, f=9, l=11, m=True), trade)


def test_a_checksum_is_held_against_its_file(tmp_path: Path) -> None:
    path = _zip(tmp_path, _ROW.format(FIRST_MS))
    beside = _checksum(path)
    assert is_aggtrades(beside)
    for paths in ([path], [beside], [path, beside], [beside, path]):
        assert len(_read(*paths)) == 1
    beside.write_text("0" * 64 + f"  {path.name}\n")
    for paths in ([path], [beside]):
        with pytest.raises(UnusableFile, match="does not match its checksum") as raised:
            _read(*paths)
        assert raised.value.path == path
    beside.write_text("<html>")
    with pytest.raises(UnusableFile, match="has no SHA-256"):
        _read(path)
    path.unlink()
    with pytest.raises(UnusableFile, match="which is not there"):
        _read(beside)


def test_nothing_is_read_before_all_checksums_are_held(tmp_path: Path) -> None:
    good = _zip(tmp_path, _ROW.format(FIRST_MS))
    bad = _zip(tmp_path, _ROW.format(FIRST_MS), day="2024-08-09")
    _checksum(bad).write_text("0" * 64)
    found = aggtrades([good, bad])
    with pytest.raises(UnusableFile, match="does not match"):
        next(found)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("x,1,2,3,3,{},true,true", "for a whole number"),
        ("-1,1,2,3,3,{},true,true", "for a whole number"),
        ("1,1,2,4,3,{},true,true", "trade ids 4..3"),
        ("1,NaN,2,3,3,{},true,true", "for a price or an amount"),
        ("1,0,2,3,3,{},true,true", "a quantity of"),
        ("1,1,2,3,3,{},maybe,true", "which is true or false"),
        ("1,1,2,3,3,77,true,true", "for a time"),
        ("1,1,2,3,3,{},true", "has not the fields a,p,q,f,l,T,m,M"),
        ("", "has not the fields"),
    ],
)
def test_a_row_that_is_no_trade_is_named(tmp_path: Path, row: str, reason: str) -> None:
    path = _zip(tmp_path, _ROW.format(FIRST_MS), row.format(FIRST_MS), _ROW.format(FIRST_MS))
    with pytest.raises(UnusableFile, match=reason) as raised:
        _read(path)
    assert raised.value.line == 2


def test_a_file_of_another_market_is_refused(tmp_path: Path) -> None:
    header = _LONG.removesuffix(",is_best_match")
    with pytest.raises(UnusableFile, match="is of the futures market"):
        _read(_zip(tmp_path, header, _ROW.format(FIRST_MS)))
    with pytest.raises(UnusableFile, match="names no spot market"):
        _read(_zip(tmp_path, _ROW.format(FIRST_MS), market="BTCUSD_PERP"))


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path, *[_ROW.format(FIRST_MS + at) for at in range(500)])
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], whole[:60] + b"\0\0\0\0" + whole[64:], whole[:4]):
        path.write_bytes(data)
        with pytest.raises(UnusableFile, match="is damaged"):
            _read(path)


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UnusableFile, match="has not one CSV file in it"):
        _read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("trades.csv", _ROW.format(FIRST_MS))
    with pytest.raises(UnusableFile, match="names no spot market"):
        _read(path)
    assert not is_aggtrades(tmp_path / "nothing")


def test_a_file_may_be_unzipped_or_its_zip_may_name_the_market(tmp_path: Path) -> None:
    row = _ROW.format(FIRST_MS)
    csv, path = (tmp_path / f"BTCUSDT-aggTrades-2024-08-08.{end}" for end in ("csv", "zip"))
    csv.write_text(f"{row}\n")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data/trades.csv", row)
    assert is_aggtrades(csv)
    assert _read(csv) == _read(path)
    assert [trade.market for trade in _read(csv)] == ["BTCUSDT"]
