from __future__ import annotations

import os

import pytest

from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.recorder.recovery import CrashWatch
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.recorder_states import (
    OtherRecorder,
    OtherRecorders,
    RecorderState,
    recorder_states,
)
from tests.storage.recording_fixtures import Tape, started, until_stored


async def others_of(database: Database) -> dict[str, OtherRecorder]:
    """Return what other processes record, seen for the first time."""
    others = OtherRecorders(database)
    await others.read()
    return others.markets()


async def test_who_else_records_what(recorder: Recorder, database: Database) -> None:
    assert await others_of(database) == {}
    for seed, market in enumerate(("BTCUSDT", "ETHUSDT", "SOLUSDT")):
        tape = Tape(market, seed)
        started(recorder, tape).diffs(*tape.diffs(2))
    await until_stored(database, 3, event_count=2)
    assert await others_of(database) == {}
    # The recorder would overwrite the changes below.
    await recorder.close()
    segments = database.collection("segments")
    # One of another process that lives, and one of a process that had our number before us.
    others = {"BTCUSDT": os.getppid(), "ETHUSDT": os.getpid()}
    for market, pid in others.items():
        fields = {"owner.token": "another", "owner.pid": pid, "end_cause": None}
        await segments.update_one({"market": market}, {"$set": fields})
    assert set(await others_of(database)) == {"BTCUSDT"}
    await segments.update_one({"market": "BTCUSDT"}, {"$set": {"end_cause": "user"}})
    assert await others_of(database) == {}


@pytest.mark.parametrize("field", ["market", "owner", "owner.pid", "owner.host", "end_cause"])
async def test_a_damaged_segment_does_not_hide_the_others(
    recorder: Recorder, database: Database, field: str
) -> None:
    for seed, market in enumerate(("BTCUSDT", "ETHUSDT")):
        started(recorder, Tape(market, seed))
    await until_stored(database, 2)
    await recorder.close()
    fields = {"owner.token": "another", "owner.pid": os.getppid(), "end_cause": None}
    segments = database.collection("segments")
    await segments.update_many({}, {"$set": fields})
    await segments.update_one({"market": "BTCUSDT"}, {"$unset": {field: ""}})
    assert "ETHUSDT" in await others_of(database)


@pytest.mark.parametrize("pid", [-1, 0, 2**31, 2**63 - 1, True, "7", None])
async def test_a_process_that_can_not_be_records_nothing_but_is_not_known_to_be_gone(
    recorder: Recorder, database: Database, pid: object
) -> None:
    tape = Tape()
    started(recorder, tape)
    await until_stored(database, 1)
    await recorder.close()
    fields = {"owner.token": "another", "owner.pid": pid, "end_cause": None}
    await database.collection("segments").update_many({}, {"$set": fields})
    assert await others_of(database) == {}
    assert await recorder_states(database) == {tape.market: RecorderState.GONE}
    assert await CrashWatch(database).close_crashed() == 0
