"""Databases as earlier versions of the program wrote them, and what these versions read in them.

`database_0.*.bson.xz`       written by the code of commit e283945, schema 2
`database_schema_2.bson.xz`  written by the code of commit 0c62b74, schema 2: also two recorders of
                             one market, a span that was removed, and a front that was cut

They are never written again. A file holds

`before`   all documents of a database: segments that are archived, that wait to be, that a killed
           recorder left open, and that were imported; loose events, checkpoints and witnesses
`told`     by market what was read of it: books, covered times, gaps, what was proven
`lines`    only in the first: what an exchange sent afterwards, a book and events by market
"""

from __future__ import annotations

import asyncio
import hashlib
import lzma
import sys
from pathlib import Path
from typing import Any, Final

import bson
from pymongo import IndexModel

from orderbook_desktop.core.checkpoint import encode_image
from orderbook_desktop.core.events import decode_diff, decode_snapshot
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.storage.reading.recording import Recording, recorded_markets
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.recorder.recovery import CrashWatch
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import owner_document
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.archive_fixtures import archiver_of
from tests.storage.recording_fixtures import HandFeed, running

HERE: Final = Path(__file__).parent
_BOOKS: Final = 24
_UNIQUE: Final = [("market", 1), ("u", 1)]

Dump = dict[str, list[dict[str, Any]]]
# By market: time and text of a book (ms), then of events (ns).
Lines = dict[str, list[list[Any]]]


async def restore(database: Database, documents: Dump) -> None:
    """Fill `database` with the documents, as if its recorder had been killed on this machine."""
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await killed.wait()
    owner = {**owner_document()["owner"], "pid": killed.pid, "token": "of the killed one"}
    events = database.collection("depth_events")
    await events.create_indexes([IndexModel(_UNIQUE, unique=True)])
    for name, some in documents.items():
        if name == "segments":
            some = [one | {"owner": owner} for one in some]  # noqa: PLW2901
        if name != "meta" and some:
            await database.collection(name).insert_many(some)
    await database.collection("meta").insert_one({"_id": "schema", "version": 2})


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


def earlier_databases() -> list[Path]:
    """Return the files that are there."""
    return sorted(HERE.glob("database_*.bson.xz"))


def read(path: Path) -> dict[str, Any]:
    """Return what a file holds."""
    return bson.decode(lzma.decompress(path.read_bytes()))
