"""What recorder and archiver write is proven at every instant, also after a kill."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import pytest

from orderbook_desktop.core.events import DepthDiff, decode_diff
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.core.reference_book import diff_payload
from tests.examples import some_of
from tests.storage.archive_fixtures import (
    FragileDatabase,
    Killed,
    archiver_of,
    copy_of,
    fill,
    record,
)
from tests.storage.recording_fixtures import (
    ServerThread,
    Tape,
    started,
    until_stored,
    until_written,
)
from tests.storage.shelf import Shelf

_MARKET = "BTCUSDT"


async def events_of(database: Database) -> list[DepthDiff]:
    """The events of the recording, as its slices have them."""
    found: list[DepthDiff] = []
    async with aclosing(Recording(database, _MARKET).slices()) as slices:
        async for one in slices:
            found += list(one.chunk.diffs())[one.begin : one.end]
    return found


async def test_while_it_is_recorded_and_archived(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    diffs = tape.diffs(2_500)
    feed.diffs(*diffs)
    await until_written(recorder)
    await until_stored(database, 1, event_count=2_500)
    archiving = asyncio.create_task(archiver_of(database).catch_up())
    while not archiving.done():
        found = await verify(database, _MARKET)
        assert found.fault is None
        assert found.events == 2_500
    await archiving
    found = await verify(database, _MARKET)
    assert found.fault is None
    assert 0 < found.archived_events < 2_500
    assert await events_of(database) == diffs


@pytest.mark.sweep
async def test_wherever_the_archiver_is_killed(server: ServerThread, database: Database) -> None:
    tape = Tape(step_ms=50_000)
    diffs = await record(database, tape, 12)
    tape.diff()
    diffs += await record(database, tape, 9)
    documents, finished = await copy_of(database), False

    async def kill() -> None:
        raise Killed

    fragile = FragileDatabase(f"{database.name}_copy", kill)
    fragile.connect(server.dsn)
    for calls in some_of(range(2, 400, 5), 3):
        await fill(fragile, documents)
        fragile.calls_left = calls
        with suppress(Killed):
            await archiver_of(fragile).catch_up()
            finished = True
        fragile.calls_left = -1
        found = await verify(fragile, _MARKET)
        assert (found.fault, found.events, found.loose_events) == (None, 21, 6), calls
        assert await events_of(fragile) == [*diffs[3:15], *diffs[18:]]
        if finished:
            break
    await fragile.motor.client.drop_database(fragile.name)
    fragile.close()
    assert 40 < calls < 395


async def test_loose_events_among_those_of_a_segment_are_not_its(database: Database) -> None:
    """Another recorder's connection divided the changes into events at other places."""
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 30)
    third, last = shelved.events[3], shelved.events[-1]
    others = [
        decode_diff(diff_payload([], [], first, final), one.received_ns)
        for one, first, final in (
            (third, third.first_id, third.final_id - 2),
            (last, last.first_id - 3, last.final_id - 1),
        )
    ]
    await shelf.write(others)
    await shelf.put_loose(others)
    assert await events_of(database) == shelved.events
    found = await verify(database, _MARKET)
    assert (found.fault, found.events, found.loose_events) == (None, 30, 2)
    await archiver_of(database).catch_up()
    found = await verify(database, _MARKET)
    assert (found.fault, found.events, found.loose_events) == (None, 30, 2)
