"""A packed recording holds what was recorded, proves it, and depends on nothing else."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.exports.exporting import NothingRecorded, TargetExists
from orderbook_desktop.storage.exports.packed_file import DamagedRecording, PackJob, pack
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.reading.summaries import summaries
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.archive_fixtures import archiver_of
from tests.storage.made_trades import sent
from tests.storage.packed_fixtures import (
    MARKET,
    opened,
    packed,
    payloads_of,
    record_all_kinds,
    rows_of,
)
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import recorded


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_all_that_was_recorded_is_in_the_file(database: Database, tmp_path: Path) -> None:
    segments = await record_all_kinds(database)
    before = await payloads_of(database)
    (found,) = await packed(database, tmp_path / "a.obd")
    events = sum(len(one.events) for one in segments)
    assert (found.segments, found.events, found.loose) == (4, events, 3 + 4 + 2)
    with opened(tmp_path / "a.obd") as store:
        verified = await verify(store, MARKET)
        texts = await payloads_of(store)
        for one in segments:
            for event in one.events:
                book = await Recording(store, MARKET).book_at(event.event_ms)
                assert book.last_update_id == event.final_id
    assert verified.fault is None
    assert (verified.events, verified.loose_events, verified.witnesses) == (events, 9, 1)
    assert (verified.archived_events, verified.unlisted_events) == (events, 0)
    # Those that nothing names, and that the recorder had not stored yet, are in no segment there.
    assert set(texts) >= set(before)
    assert len(texts) == len(set(texts)) == events + 9


async def test_gaps_keep_their_causes(database: Database, tmp_path: Path) -> None:
    await record_all_kinds(database)
    await packed(database, tmp_path / "a.obd")
    with opened(tmp_path / "a.obd") as store:
        timeline = await Recording(store, MARKET).timeline()
        (summary,) = await summaries(store)
    assert [gap.cause for gap in timeline.gaps] == [
        GapCause.DISCONNECT,
        GapCause.CRASH,
        GapCause.USER,
    ]
    assert (summary.market, summary.segments, summary.running) == (MARKET, 4, False)


async def test_an_archiver_changes_nothing_of_the_file(database: Database, tmp_path: Path) -> None:
    tape, shelf = Tape(step_ms=10_000), Shelf(database)
    segment = await shelf.put(tape, 50, GapCause.DISCONNECT)
    await shelf.archive(segment, 20)
    tape.diff()
    await shelf.put(tape, 30)
    await packed(database, tmp_path / "before.obd")
    await archiver_of(database).catch_up()
    await packed(database, tmp_path / "after.obd")
    before, after = ((tmp_path / name).read_bytes() for name in ("before.obd", "after.obd"))
    assert before == after


async def test_a_part_is_whole_minutes(database: Database, tmp_path: Path) -> None:
    first, second, *_ = await record_all_kinds(database)
    begin, end = first.events[20].event_ms, second.events[10].event_ms
    await packed(database, tmp_path / "a.obd", from_ms=begin, to_ms=end)
    with opened(tmp_path / "a.obd") as store:
        verified = await verify(store, MARKET)
        for event in (*first.events[20:], *second.events[:10]):
            book = await Recording(store, MARKET).book_at(event.event_ms)
            assert book.last_update_id == event.final_id
    assert verified.fault is None
    assert verified.segments == 2
    assert begin - 60_000 <= verified.timeline.from_ms <= begin
    assert end <= verified.timeline.to_ms <= end + 60_000


@pytest.mark.parametrize("archived", [(), (0,), (0, 1)])
async def test_what_two_recorders_stored_is_there_once(
    database: Database, tmp_path: Path, archived: tuple[int, ...]
) -> None:
    one, other, shelf = Tape(step_ms=10_000), Tape(step_ms=10_000), Shelf(database)
    other.diffs(20)
    segments = []
    for number, tape in enumerate((one, other)):
        segments.append(await shelf.put(tape, 40, GapCause.CRASH))
        if number in archived:
            await shelf.archive(segments[-1])
    # Raw events that the first segment doesn't need any more, but the second does.
    await shelf.write(segments[1].events if archived != (0, 1) else [])
    (found,) = await packed(database, tmp_path / "a.obd")
    assert (found.segments, found.events) == (2, 60)
    with opened(tmp_path / "a.obd") as store:
        verified = await verify(store, MARKET)
        assert (verified.fault, verified.events, verified.timeline.gaps) == (None, 60, ())
        assert await rows_of(store) == await rows_of(database)


async def test_a_damaged_recording_is_not_packed(database: Database, tmp_path: Path) -> None:
    first, *_ = await record_all_kinds(database)
    await database.collection("segments").update_one({"_id": first.id}, {"$set": {"back": 7}})
    with pytest.raises(DamagedRecording, match=f"segment {first.id} does not match"):
        await packed(database, tmp_path / "a.obd")
    assert files_in(tmp_path) == []


async def test_nothing_and_what_is_there(database: Database, tmp_path: Path) -> None:
    await record_all_kinds(database)
    with pytest.raises(NothingRecorded, match="Nothing is recorded of ETHUSDT"):
        await packed(database, tmp_path / "a.obd", MARKET, "ETHUSDT")
    (tmp_path / "a.obd").write_text("precious")
    with pytest.raises(TargetExists):
        await pack(database, PackJob({MARKET: MARKET}, tmp_path / "a.obd"), lambda *_: None)
    assert (tmp_path / "a.obd").read_text() == "precious"


# How many numbers the rows of each kind have.
_NUMBERS = {
    "chunks": 5,
    "books": 2,
    "witnesses": 2,
    "segments": 4,
    "trade_parts": 5,
    "trade_runs": 4,
}


def _records_by_the_page(data: bytes) -> dict[str, list[dict[str, Any]]]:
    """The documents of a file by kind, read with nothing but `docs/packed-recordings.md`."""
    magic, form, schema, checksum = struct.unpack("<8sIII", data[:20])
    assert (magic, form, schema) == (b"\x89OBD\r\n\x1a\n", 2, 3)
    assert checksum == zlib.crc32(data[:16])
    footer = data[-48:]
    offset, length, digest, size, checksum, end = struct.unpack("<QQ16sQI4s", footer)
    assert (size, end) == (len(data), b"OBD\n")
    assert checksum == zlib.crc32(footer[:40])
    directory = data[offset : offset + length]
    assert digest == hashlib.blake2b(directory, digest_size=16).digest()
    found: dict[str, list[dict[str, Any]]] = {}
    for market in msgspec.msgpack.decode(directory):
        for kind, numbers in _NUMBERS.items():
            begin, count, digest = market[kind]
            row_size = 16 + 8 * numbers
            table = data[begin : begin + count * row_size]
            assert digest == hashlib.blake2b(table, digest_size=16).digest()
            for at in range(0, len(table), row_size):
                offset, length, checksum = struct.unpack("<QII", table[at : at + 16])
                record = data[offset : offset + length]
                assert checksum == zlib.crc32(record)
                found.setdefault(kind, []).append(msgspec.msgpack.decode(record))
    return found


def _seal(fields: dict[str, Any]) -> int:
    return zlib.crc32(msgspec.msgpack.encode(fields, order="sorted")) - (1 << 31)


async def test_the_page_says_all_that_a_reader_needs(database: Database, tmp_path: Path) -> None:
    segments = await record_all_kinds(database)
    await recorded(database, sent(range(100, 140)))
    await packed(database, tmp_path / "a.obd")
    found = _records_by_the_page((tmp_path / "a.obd").read_bytes())
    page = (Path(__file__).parents[3] / "docs" / "packed-recordings.md").read_text("utf-8")
    assert {document["_id"] for document in found["segments"]} >= {one.id for one in segments}
    assert [len(found[kind]) for kind in ("trade_parts", "trade_runs")] == [3, 1]
    of_book, of_trades = page.split("**Runs of trades**")
    for kind, documents in found.items():
        for document in documents:
            for name in document:
                assert f"`{name}`" in page, (kind, name)
            if kind in ("segments", "trade_runs"):
                _check_seals(document, of_book if kind == "segments" else of_trades)
                continue
            fields = {name: value for name, value in document.items() if name != "sum"}
            if "data" in document:
                data = document["data"]
                assert data[:16] == hashlib.blake2b(data[16:], digest_size=16).digest()
                fields["data"] = data[:16]
            assert document["sum"] == _seal(fields)


def _check_seals(document: dict[str, Any], page: str) -> None:
    """Check the three seals of a run by the table of a part of the page."""
    names = {"front_sum": {"_id"}, "sum": {"_id"}, "archive_sum": {"_id"}}
    for row in re.findall(r"^\| (`.*) \| .* \| `(\w+)` \|$", page, re.MULTILINE):
        names[row[1]].update(re.findall(r"`(\w+)`", row[0]))
    for seal, sealed in names.items():
        assert document[seal] == _seal({name: document[name] for name in sealed})
