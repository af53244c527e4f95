"""The main job on a real MongoDB: recorder, change stream, book, archive, and the users' rights.

Runs where `MONGO_DSN` is set or a `mongod` is on the PATH.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.storage.dsn import check_dsn
from orderbook_desktop.storage.errors import StandaloneServer
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.archive_fixtures import archiver_of, held_in, record
from tests.storage.mongodb_here import (
    a_database,
    a_name,
    a_replica_set,
    a_standalone,
    as_user,
    client_of,
    drop,
    needs_mongod,
    needs_mongodb,
)
from tests.storage.recording_fixtures import (
    Tape,
    events_of,
    following,
    running,
    segments_of,
    started,
    until_written,
)

pytestmark = needs_mongodb

_UNAUTHORIZED = 13


@pytest.fixture(scope="module")
def dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server."""
    with a_replica_set(tmp_path_factory.mktemp("data")) as dsn:
        yield dsn


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """A database of the test's own."""
    name = a_name()
    async with a_database(dsn, name) as database:
        yield database
    await drop(dsn, name)


def _ids(events: list[DepthDiff]) -> list[int]:
    return [one.final_id for one in events]


async def test_it_will_do(dsn: str) -> None:
    await check_dsn(dsn)


@needs_mongod
async def test_a_standalone_one_will_not(tmp_path: Path) -> None:
    async with a_standalone(tmp_path) as dsn:
        with pytest.raises(StandaloneServer, match=r"--replSet rs0 and run rs\.initiate"):
            await check_dsn(dsn)


async def test_what_is_recorded_is_followed_by_its_change_stream(database: Database) -> None:
    tape = Tape()
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        async with following(database) as followed:
            for _ in range(30):
                feed.diffs(*tape.diffs(20))
            await until_written(recorder)
            await followed.until_equals(tape)
        # A later reader begins with a checkpoint.
        feed.diffs(*tape.diffs(5))
        async with following(database) as later:
            await later.until_equals(tape)
            feed.diffs(*tape.diffs(5))
            await later.until_equals(tape)
    assert len(await events_of(database)) == 610


async def test_two_recorders_of_one_market_store_no_event_twice(database: Database) -> None:
    tape = Tape()
    snapshot = tape.snapshot()
    diffs = tape.diffs(300)
    async with running(Recorder(database)) as one, running(Recorder(database)) as other:
        for recorder in (one, other):
            started_feed = recorder.sink(tape.market)
            started_feed.opened(snapshot)
        for diff in diffs:
            for recorder in (one, other):
                recorder.sink(tape.market).received(diff)
        for recorder in (one, other):
            await until_written(recorder)
    stored = await events_of(database)
    assert [one["u"] for one in stored] == _ids(diffs)


async def test_what_is_recorded_is_archived_and_proven(database: Database) -> None:
    diffs = await record(database, Tape(step_ms=10_000), 120)
    await archiver_of(database).catch_up()
    held = await held_in(database)
    assert not held.raw
    assert sorted(held.ids) == _ids(diffs)
    (segment,) = await segments_of(database)
    assert segment["archived_id"] == segment["last_id"] == diffs[-1].final_id
    verified = await verify(database, "BTCUSDT")
    assert verified.fault is None
    assert verified.events == verified.archived_events == 120


async def _make_user(dsn: str, database: str, name: str, role: str) -> str:
    """Return the address for a new user with one role on one database."""
    password = secrets.token_hex(16)
    async with client_of(dsn) as client:
        roles = [{"role": role, "db": database}]
        await client[database].command("createUser", name, pwd=password, roles=roles)
    return as_user(dsn, name, password, database)


async def test_the_users_that_the_readme_makes_may_do_all_they_need(
    dsn: str, database: Database
) -> None:
    """`readWrite` on the database for recorders; `read` for readers."""
    recorder_dsn = await _make_user(dsn, database.name, "recorder", "readWrite")
    viewer_dsn = await _make_user(dsn, database.name, "viewer", "read")
    for one in (recorder_dsn, viewer_dsn):
        await check_dsn(one)
    tape = Tape(step_ms=10_000)
    async with (
        a_database(recorder_dsn, database.name) as writable,
        a_database(viewer_dsn, database.name) as readable,
    ):
        async with running(Recorder(writable)) as recorder:
            feed = started(recorder, tape)
            async with following(readable) as followed:
                feed.diffs(*tape.diffs(100))
                await followed.until_equals(tape)
            await until_written(recorder)
        await archiver_of(writable).catch_up()
        verified = await verify(readable, "BTCUSDT")
        assert verified.fault is None
        assert verified.archived_events == 100


async def test_who_only_looks_cannot_write_where_users_are_asked_for(
    dsn: str, database: Database
) -> None:
    viewer_dsn = await _make_user(dsn, database.name, "viewer", "read")
    async with client_of(dsn) as client:
        known = await client.admin.command("connectionStatus")
    if not known["authInfo"]["authenticatedUsers"]:
        pytest.skip("this server asks for no password")
    async with a_database(viewer_dsn, database.name) as readable:
        with pytest.raises(OperationFailure) as caught:
            await readable.collection("depth_events").insert_one({"market": "X", "u": 1})
    assert caught.value.code == _UNAUTHORIZED
