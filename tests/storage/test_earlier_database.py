"""A recording of an earlier version is read, proven and continued as that version did it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from tests.storage.earlier_database import earlier_databases, go_on, read, restore, told_of


def test_there_are_two() -> None:
    assert len(earlier_databases()) == 2


@pytest.mark.parametrize("path", earlier_databases(), ids=lambda path: path.name)
async def test_it_is_read_and_proven(database: Database, path: Path) -> None:
    earlier = read(path)
    await restore(database, earlier["before"])
    assert await database.has_recordings()
    told, then = await told_of(database), earlier["told"]["before"]
    if "SOLUSDT" in told:
        # Two recorders had stored events of it. Those that are not archived count once.
        assert told["SOLUSDT"]["proven"][2] < then["SOLUSDT"]["proven"][2]
        told["SOLUSDT"]["proven"] = then["SOLUSDT"]["proven"]
    assert told == then


def _is_healed(told: dict[str, Any], then: dict[str, Any]) -> None:
    """Check that the first gap is gone: the events between the two books were stored."""
    (gap, *gaps), last_missing = then["gaps"], then["gaps"][0][3]
    assert gap[4] == "disconnect"
    assert told["gaps"] == gaps
    assert told["covers"][1][1] == told["covers"][2][0] == last_missing
    assert then["books"].items() <= told["books"].items()
    holds, segments, events, loose = then["proven"]
    assert told["proven"] == [holds, segments, events + 4, loose - 4]


@pytest.mark.expects_log("WARNING .*USDT: the recording up to .* ended without being closed")
@pytest.mark.parametrize("path", earlier_databases(), ids=lambda path: path.name)
async def test_it_is_continued(database: Database, path: Path) -> None:
    earlier: dict[str, Any] = read(path)
    await restore(database, earlier["before"])
    await database.prepare()
    await go_on(database, earlier.get("lines", {}))
    told = await told_of(database)
    if "after" in earlier["told"]:
        then = earlier["told"]["after"]
        _is_healed(told["BTCUSDT"], then["BTCUSDT"])
        assert told | {"BTCUSDT": then["BTCUSDT"]} == then
    assert all(one["proven"][0] for one in told.values())
    for market in told:
        # What two recorders had archived is there once now.
        recording, ids = Recording(database, market), list[int]()
        for segment in await recording.segments():
            async for chunk in recording.chunks(segment):
                ids += chunk.numbers.final_ids.tolist()
        assert sorted(set(ids)) == sorted(ids), market
        assert told[market]["proven"][2] == len(ids)
