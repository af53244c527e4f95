"""A write that is done and not acknowledged is repeated by the program, and has no second effect.

The driver repeats nothing on a server of our own (its address says so), so each path of writing
has to: events, segments and their ends, the archive, retention, and imports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from orderbook_desktop.core.disk import GB, Retention
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.recorder.recorder import Recorder, RecorderTimes
from orderbook_desktop.storage.retention.retention import Pruner
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.disk_usage import RecordingSizes
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.archive_fixtures import archiver_of, held_in, record
from tests.storage.archived_fixtures import store_segment, store_witness
from tests.storage.cutting_proxy import CuttingProxy, cut_connections
from tests.storage.imports.made import Collected, contents, imported
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import (
    HandFeed,
    ServerThread,
    Tape,
    all_of,
    bookless_of,
    events_of,
    running,
    segments_of,
    until_written,
)

pytestmark = [
    pytest.mark.allows_log("can't be reached"),
    pytest.mark.allows_log("gap in the recording"),
    pytest.mark.allows_log("the import starts again"),
]


def through(proxy: CuttingProxy, known: Database) -> Database:
    """Return the same database, reached through `proxy`."""
    database = Database(known.name)
    database.connect(proxy.dsn)
    return database


async def until_done(attempt: Callable[[], Awaitable[object]]) -> None:
    """Repeat `attempt` as the program does while the database can't be reached."""
    async with asyncio.timeout(120):
        while True:
            try:
                await attempt()
            except PyMongoError:
                await asyncio.sleep(0.01)
            else:
                return


async def assert_holds(database: Database, market: str = "BTCUSDT") -> None:
    found = await verify(database, market)
    assert found.fault is None, found.fault


async def test_the_driver_repeats_no_write_by_itself(
    server: ServerThread, database: Database
) -> None:
    async with cut_connections(server.dsn) as proxy:
        watched = through(proxy, database)
        await record(watched, Tape(), 10)
        assert proxy.retryable == 0
        watched.close()


@pytest.mark.parametrize("every", [3, 6])
async def test_a_recording_is_the_same(
    every: int, server: ServerThread, database: Database
) -> None:
    """Events, segments with their gaps, checkpoints and lists of loose events."""
    tape = Tape()
    async with cut_connections(server.dsn, every) as proxy:
        cut = through(proxy, database)
        async with running(Recorder(cut)) as recorder:
            feed = HandFeed(recorder.sink(tape.market))
            early = tape.diffs(3)
            feed.diffs(*early)
            feed.snapshot(tape.snapshot())
            diffs = []
            for _ in range(8):
                diffs += tape.diffs(40)
                feed.diffs(*diffs[-40:])
                await until_written(recorder)
            feed.broken(GapCause.DISCONNECT)
            tape.diff()
            feed.snapshot(tape.snapshot())
            after = tape.diffs(20)
            feed.diffs(*after)
            await until_written(recorder)
            counts = recorder.sink(tape.market).counts
        cut.close()
        assert {"insert depth_events", "update segments"} <= set(proxy.cut), proxy.cut
    assert [one["u"] for one in await events_of(database)] == [
        one.final_id for one in (*early, *diffs, *after)
    ]
    # The events that were stored already were our own, not another recorder's.
    assert (counts.events, counts.repeated, counts.dropped) == (343, 0, 0)
    assert [(one["event_count"], one["end_cause"]) for one in await segments_of(database)] == [
        (320, "disconnect"),
        (20, "user"),
    ]
    (ids,) = await bookless_of(database)
    assert len(ids) == 3
    await assert_holds(database)


async def test_the_archive_counts_nothing_twice(server: ServerThread, database: Database) -> None:
    tape = Tape(step_ms=50_000)
    diffs = await record(database, tape, 12)
    tape.diff()
    diffs += await record(database, tape, 12)
    async with cut_connections(server.dsn, every=4) as proxy:
        cut = through(proxy, database)
        await until_done(cut.prepare)
        archiver: Archiver = archiver_of(cut)
        await until_done(archiver.catch_up)
        cut.close()
        assert {"update depth_chunks", "update segments"} <= set(proxy.cut), proxy.cut
    # After a lost answer the next program finds the remaining loose events.
    await database.prepare()
    await archiver_of(database).catch_up()
    held = await held_in(database)
    assert not held.raw
    assert sorted(held.archived + held.loose, key=lambda one: one.final_id) == diffs
    assert len(held.loose) == 6
    for segment in await segments_of(database):
        chunks = await all_of(database, "depth_chunks", segment=segment["_id"])
        assert segment["archived_events"] == segment["event_count"] == 12
        assert segment["archived_bytes"] == sum(len(one["data"]) for one in chunks)
        assert segment["to_archive"] is False
    await assert_holds(database)


async def test_retention_removes_nothing_twice(server: ServerThread, database: Database) -> None:
    await database.prepare()
    tape = Tape()
    first = await store_segment(database, tape, "one", minutes=8)
    second = await store_segment(database, tape, "two", minutes=6)
    await store_witness(database, tape.market, first.events[0].final_id)
    kept = sum(second.chunk_bytes[-3:])
    sizes = RecordingSizes(database)
    await sizes.count_rest()
    books = (await sizes.measure()).book_bytes
    async with cut_connections(server.dsn, every=4) as proxy:
        cut = through(proxy, database)
        await until_done(cut.prepare)
        sizes = RecordingSizes(cut)
        pruner = Pruner(cut)

        async def prune() -> None:
            await sizes.count_rest()
            retention = Retention(gigabytes=(kept + books) / GB)
            await pruner.prune(retention, second.events[-1].event_ms, sizes.measure)

        await until_done(prune)
        cut.close()
        assert {"update segments", "delete depth_chunks"} <= set(proxy.cut), proxy.cut
    (segment,) = await segments_of(database)
    chunks = await all_of(database, "depth_chunks")
    assert 1 <= len(chunks) <= 3
    assert segment["archived_bytes"] - segment["cut_bytes"] == sum(
        len(one["data"]) for one in chunks
    )
    assert segment["event_count"] - segment["cut_events"] == sum(
        one["event_count"] for one in chunks
    )
    assert segment["cut_from"] is None
    await assert_holds(database)


@pytest.mark.parametrize("only", [1, 2, 4, 6, 8])
async def test_an_import_is_there_once(
    only: int, server: ServerThread, database: Database, tmp_path: Path
) -> None:
    """For each of its writes: it is done, and not acknowledged."""
    made = Collected().events(2).snapshot().events(30).gap().events(4).snapshot().events(12)
    reference = Database(f"{database.name}-reference")
    reference.connect(server.dsn)
    await imported(reference, made.messages, tmp_path)
    async with cut_connections(server.dsn, only=only) as proxy:
        cut = through(proxy, database)
        await until_done(cut.prepare)
        await until_done(lambda: imported(cut, made.messages, tmp_path))
        cut.close()
        assert proxy.cut
    assert await contents(database) == await contents(reference)
    await assert_holds(database)
    reference.close()


async def test_a_lone_event_does_not_wait_and_a_burst_shares_its_writes(
    server: ServerThread, database: Database
) -> None:
    """An event after a pause is written at once; events in quick succession go together."""
    tape, times = Tape(), RecorderTimes(batch_every_s=0.5)
    async with cut_connections(server.dsn) as proxy:
        watched = through(proxy, database)
        async with running(Recorder(watched, times=times)) as recorder:
            feed = HandFeed(recorder.sink(tape.market))
            feed.snapshot(tape.snapshot())
            feed.diffs(*tape.diffs(1))
            await until_written(recorder)
            proxy.written.clear()
            for _ in range(60):
                feed.diffs(*tape.diffs(1))
                await asyncio.sleep(0)
            await until_written(recorder)
            await eventually(lambda: not recorder.waiting)
        watched.close()
        assert 0 < proxy.written["insert depth_events"] <= 30
    assert len(await events_of(database)) == 61
