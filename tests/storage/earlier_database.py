"""A database as an earlier version of the program wrote it, and how that version went on with it.

    python -m tests.storage.earlier_database

writes `database_VERSION.bson.xz` beside this file. The one that is there was written by the code
of commit e283945, before modules were moved and merged; it is never written again. It holds

`before`   all documents of a database: segments that are archived, that wait to be, that a killed
           recorder left open, and that were imported; loose events, checkpoints and witnesses
`lines`    what an exchange sent afterwards: a book and events, by market
`after`    all documents after those were recorded, and everything was archived
`told`     by market what was read of both: books, covered times, gaps, what was proven
"""

from __future__ import annotations

import asyncio
import hashlib
import lzma
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import bson

from orderbook_desktop.core.checkpoint import encode_image
from orderbook_desktop.core.events import decode_diff, decode_snapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.core.version import __version__
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.reading.recording import Recording, recorded_markets
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.recorder.recovery import CrashWatch
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import owner_document
from orderbook_desktop.storage.store.witnesses import Witnesses
from orderbook_desktop.storage.verification.verification import verify
from tests.core.reference_book import ReferenceBook
from tests.storage.archive_fixtures import archiver_of, copy_of, fill
from tests.storage.imports.made import Collected, imported
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import (
    HandFeed,
    Tape,
    running,
    segments_of,
    started,
    until_stored,
)

HERE: Final = Path(__file__).parent
_BOOKS: Final = 24
# Of these a run of the program writes what no other one does.
_OF_OUR_OWN: Final = frozenset({"owner", "alive_ms"})

Dump = dict[str, list[dict[str, Any]]]
# By market: time and text of a book (ms), then of events (ns).
Lines = dict[str, list[list[Any]]]


class WholeTape(Tape):
    """A market whose quantities need less than eight places, or int64 does not hold them."""

    def _change(self) -> tuple[bool, str, str]:
        bid = self._random.random() < 0.5
        tick = self._random.randint(1, 60)
        price = Decimal(9_000 - tick if bid else 9_000 + tick) / 10**8
        quantity = Decimal(self._random.choice([0, 1, 25, 93_000_000_000, 512_345]))
        ReferenceBook.change(self.book.bids if bid else self.book.asks, price, quantity)
        return bid, f"{price:.8f}", f"{quantity:.2f}"


async def write(dsn: str, folder: Path) -> dict[str, Any]:
    """Fill a database, go on with a copy of it, and return what the file is to hold."""
    database, after = Database("before"), Database("after")
    for one in (database, after):
        one.connect(dsn)
    try:
        before, lines = await _fill(database, folder)
        await restore(after, before)
        told = {"before": await told_of(after)}
        await go_on(after, lines)
        told["after"] = await told_of(after)
        return {"before": before, "lines": lines, "after": await copy_of(after), "told": told}
    finally:
        for one in (database, after):
            one.close()


async def _fill(database: Database, folder: Path) -> tuple[Dump, Lines]:
    bitcoin, whole = Tape(step_ms=700), WholeTape("BTTUSDT", 2, 900)
    await _record_first(database, bitcoin, whole)
    collected = Collected(Tape("ETHUSDT", 3, 800))
    collected.snapshot().events(170).gap().snapshot().events(60)
    await imported(database, collected.messages, folder)
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, bitcoin)
        feed.diffs(*bitcoin.diffs(210))
        await _take_witness(database, bitcoin)
        feed.diffs(*bitcoin.diffs(30))
        feed.broken(GapCause.DISCONNECT, "closed by the exchange")
        feed.diffs(*bitcoin.diffs(4))
        feed.snapshot(bitcoin.snapshot())
        feed.diffs(*bitcoin.diffs(190))
        await until_stored(database, 1, end_cause=None, event_count=190)
        feed.diffs(*bitcoin.diffs(10))
        await eventually(lambda: not recorder.waiting)
        # As if it were killed now.
        before = await copy_of(database)
    return before, {tape.market: _sent(tape) for tape in (bitcoin, whole)}


async def _record_first(database: Database, bitcoin: Tape, whole: Tape) -> None:
    async with running(Recorder(database)) as recorder:
        early = started(recorder, whole)
        early.diffs(*whole.diffs(150))
        late = recorder.sink(bitcoin.market)
        for diff in bitcoin.diffs(3):
            late.received(diff)
        feed = started(recorder, bitcoin)
        feed.diffs(*bitcoin.diffs(260))
        early.broken(GapCause.USER)
    await archiver_of(database).catch_up()
    async with running(Recorder(database)) as recorder:
        started(recorder, whole).diffs(*whole.diffs(120))


async def _take_witness(database: Database, tape: Tape) -> None:
    newest = [one for one in await segments_of(database) if one["market"] == tape.market][-1]
    witness = Witness(tape.snapshot(), 1_000, tape.now_ms, newest["_id"], Horizon())
    await Witnesses(database).put(witness)


def _sent(tape: Tape) -> list[list[Any]]:
    tape.diffs(2)
    book = tape.snapshot()
    events = tape.diffs(140)
    return [[tape.now_ms, book.payload], *([one.received_ns, one.payload] for one in events)]


async def restore(database: Database, documents: Dump) -> None:
    """Make `database` what it was, as if its recorder had been killed on this machine."""
    await fill(database, documents)
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await killed.wait()
    owner = {**owner_document()["owner"], "pid": killed.pid, "token": "of the killed one"}
    await database.collection("segments").update_many(
        {"end_cause": None}, {"$set": {"owner": owner}}
    )


async def go_on(database: Database, lines: Lines) -> None:
    """Close what was left open, record `lines`, and archive everything."""
    await CrashWatch(database).close_crashed()
    async with running(Recorder(database)) as recorder:
        for market, (book, *events) in lines.items():
            feed = HandFeed(recorder.sink(market))
            feed.snapshot(decode_snapshot(book[1], market, book[0]))
            feed.diffs(*(decode_diff(payload, received_ns) for received_ns, payload in events))
    archiver = archiver_of(database, now_ns=lambda: 2**41 * 1_000_000)
    for _ in range(3):
        await archiver.catch_up()


async def told_of(database: Database) -> dict[str, Any]:
    """Return what can be read of each market: books, times, events, and what is proven."""
    told: dict[str, Any] = {}
    for market in await recorded_markets(database):
        recording = Recording(database, market)
        timeline = await recording.timeline()
        proven = await verify(database, market)
        told[market] = {
            "covers": [
                [one.after_id, one.last_id, one.from_ms, one.to_ms] for one in timeline.covers
            ],
            "gaps": [_gap(one) for one in timeline.gaps],
            "books": {str(at): await _book_at(recording, at) for at in _times(timeline)},
            "events": await _events_of(recording),
            "proven": [proven.holds, proven.segments, proven.events, proven.loose_events],
            "witnesses": proven.witnesses,
        }
    return told


def _gap(gap: Gap) -> list[Any]:
    return [
        gap.from_ms,
        gap.to_ms,
        gap.first_missing,
        gap.last_missing,
        gap.cause.value,
        gap.detail,
    ]


def _times(timeline: Timeline) -> list[int]:
    span = timeline.to_ms - timeline.from_ms
    times = (timeline.from_ms + span * number // _BOOKS for number in range(_BOOKS + 1))
    return [one for one in times if isinstance(timeline.at(one), Cover)]


async def _book_at(recording: Recording, event_ms: int) -> str:
    return hashlib.sha256(encode_image(await recording.book_at(event_ms))).hexdigest()


async def _events_of(recording: Recording) -> str:
    """Return a checksum of all events, in order: when received, and what was sent."""
    digest = hashlib.sha256()
    for segment in await recording.segments():
        async for chunk in recording.chunks(segment):
            for event in chunk.diffs():
                digest.update(b"%d %b\n" % (event.received_ns, event.payload))
    async for chunk in recording.loose():
        for event in chunk.diffs():
            digest.update(b"%d %b\n" % (event.received_ns, event.payload))
    return digest.hexdigest()


def comparable(documents: Dump, known: frozenset[str]) -> Dump:
    """Return `documents` without what a run of the program writes of itself, in one order.

    The ids of segments that are not `known` are new in each run.
    """
    segments = sorted(documents["segments"], key=lambda one: (one["market"], one["snapshot_id"]))
    new = [one["_id"] for one in segments if one["_id"] not in known]
    return {
        name: sorted((_plain(name, one, new) for one in some), key=repr)
        for name, some in sorted(documents.items())
    }


def _plain(collection: str, document: dict[str, Any], new: list[str]) -> dict[str, Any]:
    plain = {name: value for name, value in document.items() if name not in _OF_OUR_OWN}
    if plain.get("archive_lease"):
        plain["archive_lease"] = plain["archive_lease"]["epoch"]
    if collection == "loose_events":
        # Its name is made up.
        del plain["_id"]
    if collection == "depth_events" or plain.get("segment") in new:
        for name in {"depth_events": ("_id",), "depth_chunks": ("sum",)}.get(collection, ()):
            # A checksum of a segment's id, too; `verify` proves it.
            del plain[name]
    for name in ("_id", "segment"):
        for number, key in enumerate(new):
            if isinstance(plain.get(name), str):
                plain[name] = plain[name].replace(key, f"new segment {number}")
    return plain


def earlier_databases() -> list[Path]:
    """Return the files that are there."""
    return sorted(HERE.glob("database_*.bson.xz"))


def read(path: Path) -> dict[str, Any]:
    """Return what `write` returned once."""
    return bson.decode(lzma.decompress(path.read_bytes()))


async def _content(folder: Path) -> bytes:
    async with DatabaseServer(folder) as server:
        return bson.encode(await write(server.dsn, folder))


def main() -> None:
    """Write the file of this version."""
    with tempfile.TemporaryDirectory() as folder:
        content = asyncio.run(_content(Path(folder)))
    path = HERE / f"database_{__version__}.bson.xz"
    path.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
