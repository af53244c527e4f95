"""A live recorder is distinguished from a crashed one, with any last segment."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import owner_document
from orderbook_desktop.storage.store.recorder_states import RecorderState, recorder_states

HERE = owner_document()["owner"]["host"]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def state(database: Database, *segments: dict[str, Any]) -> RecorderState:
    """Return the state of a market that has these segments."""
    collection = database.collection("segments")
    await collection.delete_many({})
    for number, one in enumerate(segments):
        known = {"_id": str(number), "market": "X", "end_cause": None, "origin": "recorder"}
        await collection.insert_one(known | one)
    return (await recorder_states(database)).get("X", RecorderState.NONE)


def written_by(pid: int, host: str = HERE, alive_ms: int | None = None) -> dict[str, Any]:
    owner = {"host": host, "pid": pid, "token": f"{host} {pid}"}
    return {"owner": owner, "alive_ms": now_ms() if alive_ms is None else alive_ms}


async def test_a_recorder_of_this_machine(
    database: Database, process: subprocess.Popen[bytes]
) -> None:
    mine = written_by(process.pid)
    assert await state(database) is RecorderState.NONE
    assert await state(database, mine) is RecorderState.RECORDING
    os.kill(process.pid, signal.SIGSTOP)
    assert await state(database, mine) is RecorderState.RECORDING
    # It has ended, and nothing has asked for its exit code yet.
    process.kill()
    await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert await state(database, mine) is RecorderState.GONE
    process.wait()
    assert await state(database, mine) is RecorderState.GONE


async def test_another_process_may_get_the_number(
    database: Database, process: subprocess.Popen[bytes]
) -> None:
    earlier = written_by(process.pid, alive_ms=now_ms() - 3_600_000)
    assert await state(database, earlier) is RecorderState.GONE
    assert await state(database, written_by(os.getpid())) is RecorderState.GONE


async def test_one_that_has_lost_the_exchange_is_live(
    database: Database, process: subprocess.Popen[bytes]
) -> None:
    mine = written_by(process.pid)
    for cause in (GapCause.DISCONNECT, GapCause.SILENCE, GapCause.DISK, GapCause.FEED_GAP):
        found = await state(database, mine | {"end_cause": cause.value})
        assert found is RecorderState.INTERRUPTED
    for cause in (GapCause.USER, GapCause.CRASH, GapCause.DATABASE):
        assert await state(database, mine | {"end_cause": cause.value}) is RecorderState.NONE
    # Its last segment counts.
    before = mine | {"end_cause": "disconnect", "alive_ms": now_ms() - 10}
    stopped = mine | {"end_cause": "user", "alive_ms": now_ms()}
    assert await state(database, before, stopped) is RecorderState.NONE
    process.kill()
    process.wait()
    assert await state(database, mine | {"end_cause": "disconnect"}) is RecorderState.NONE


async def test_a_recorder_of_another_machine(database: Database) -> None:
    there = written_by(os.getpid(), host="elsewhere")
    assert await state(database, there) is RecorderState.RECORDING
    assert await state(database, there | {"end_cause": "silence"}) is RecorderState.INTERRUPTED
    for off_ms in (-60_000, 60_000):
        late = written_by(1, host="elsewhere", alive_ms=now_ms() + off_ms)
        assert await state(database, late) is RecorderState.GONE


async def test_one_of_two_is_enough(database: Database, process: subprocess.Popen[bytes]) -> None:
    gone = written_by(2**22 - 3)
    assert await state(database, gone) is RecorderState.GONE
    assert await state(database, gone, written_by(process.pid)) is RecorderState.RECORDING
    waiting = written_by(process.pid) | {"end_cause": "disconnect"}
    assert await state(database, gone, waiting) is RecorderState.INTERRUPTED


async def test_what_is_imported_or_damaged_has_no_recorder(database: Database) -> None:
    imported = written_by(os.getpid(), host="elsewhere") | {"origin": "import"}
    assert await state(database, imported) is RecorderState.NONE
    odd: dict[str, Any] = {"owner": 7, "alive_ms": "x"}
    assert await state(database, odd) is RecorderState.GONE
