"""The engine ends all its parts even if some fail, and tries a database again."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.engine import engine as engine_module
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.settings import SpareTimes
from orderbook_desktop.storage.errors import DatabaseUnreachable
from orderbook_desktop.storage.server.folder_claim import FolderClaim
from orderbook_desktop.storage.server.server import DatabaseServer, ServerState
from tests.storage.archive_fixtures import HASTY
from tests.storage.recording_fixtures import Tape, started
from tests.unhurried import ENGINE_TIMES


@pytest.mark.expects_log(r"ERROR .*engine: the streams did not end cleanly")
@pytest.mark.expects_log(r"ERROR .*engine: the requests did not end cleanly")
@pytest.mark.expects_log(r"WARNING .*engine: the change stream did not end within")
async def test_each_part_is_closed_even_if_others_fail(
    stranded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("a bug")

    async def hang() -> None:
        await asyncio.Event().wait()

    times = replace(ENGINE_TIMES, part_s=1.0)
    engine = Engine(stranded, times=times)
    await engine.start()
    await engine.until_database()
    assert engine.server.pid is not None
    monkeypatch.setattr(engine.streams, "close", fail)
    monkeypatch.setattr(engine.rest, "close", fail)
    monkeypatch.setattr(engine.recorded_streams, "close", hang)
    await engine.close()
    assert engine.server.state is ServerState.STOPPED
    assert engine.server.pid is None
    await engine.close()


async def test_tiles_are_built_of_what_was_archived_while_it_records(stranded: Settings) -> None:
    times = replace(ENGINE_TIMES, archive=HASTY, spare=SpareTimes(0, 0, 0, 99, 0.01, 0.1))
    engine, tape = Engine(stranded, times=times, builds_tiles=True), Tape(step_ms=10_000)
    tiles = engine.tiles
    assert tiles is not None
    await engine.start()
    feed = started(engine.recorder, tape)
    async with asyncio.timeout(60):
        while not tiles.status.done:
            feed.diffs(*tape.diffs(30))
            await asyncio.sleep(0.05)
    await engine.close()
    assert list((stranded.data_dir / "tiles").rglob("*.tile"))
    assert "tiles" not in {task.get_name() for task in asyncio.all_tasks()}
    assert Engine(stranded.model_copy(update={"tiles_gb": 0})).tiles is None


async def test_what_is_recorded_is_archived_until_the_end(stranded: Settings) -> None:
    times = replace(ENGINE_TIMES, archive=HASTY)
    engine, tape = Engine(stranded, times=times), Tape(step_ms=1_000)
    await engine.start()
    feed = started(engine.recorder, tape)
    counts = engine.recorder.sink(tape.market).counts
    async with asyncio.timeout(60):
        while counts.archived_events < 100:
            feed.diffs(*tape.diffs(30))
            while engine.recorder.waiting:
                await asyncio.sleep(0.02)
    await engine.close()
    assert "archive" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_closing_that_is_cancelled_still_closes_the_rest(
    stranded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = asyncio.Event()

    async def hang(_timeout_s: float) -> None:
        hanging.set()
        await asyncio.Event().wait()

    engine = Engine(stranded, times=ENGINE_TIMES)
    await engine.start()
    await engine.until_database()
    close = engine.recorder.close
    monkeypatch.setattr(engine.recorder, "close", hang)
    closing = asyncio.create_task(engine.close())
    await hanging.wait()
    closing.cancel()
    await asyncio.wait({closing})
    assert closing.cancelled()
    assert engine.server.pid is None
    await close()


@pytest.mark.expects_log(r"WARNING .*engine: no database: The database at .* does not answer")
async def test_a_database_that_comes_later_is_found(
    stranded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, attempts = DatabaseServer.start, 0

    async def start_at_the_second_time(server: DatabaseServer) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise DatabaseUnreachable("mongodb://127.0.0.1:1", "refused")
        await start(server)

    monkeypatch.setattr(DatabaseServer, "start", start_at_the_second_time)
    engine = Engine(stranded, times=replace(ENGINE_TIMES, retry_first_s=0.01))
    await engine.start()
    try:
        with pytest.raises(DatabaseUnreachable):
            await engine.until_database()
        assert "does not answer" in engine.server_problem
        async with asyncio.timeout(60):
            while engine.server_problem or engine.server.state is not ServerState.READY:
                await asyncio.sleep(0.01)
        assert engine.server_error is None
    finally:
        await engine.close()


async def test_waiting_for_another_copy_s_database_is_told(stranded: Settings) -> None:
    folder = stranded.data_dir / "database"
    folder.mkdir(parents=True)
    claim = FolderClaim(folder)
    assert claim.acquire()
    engine = Engine(stranded, times=ENGINE_TIMES)
    assert engine.server_problem == ""
    await engine.start()
    try:
        async with asyncio.timeout(60):
            while "Another copy of the program is starting" not in engine.database_problem(
                "BTCUSDT"
            ):
                await asyncio.sleep(0.01)
            claim.release()
            await engine.until_database()
        assert engine.server_problem == ""
    finally:
        await engine.close()


@pytest.mark.expects_log(r"ERROR .*tasks: imports ended unexpectedly")
async def test_a_bug_in_the_background_is_told(
    stranded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_SLOW_IMPORTS", ("no_such_module",))
    heard: list[BaseException] = []
    engine = Engine(stranded, heard.append, ENGINE_TIMES)
    await engine.start()
    await engine.until_database()
    await engine.close()
    assert [type(error) for error in heard] == [ModuleNotFoundError]
