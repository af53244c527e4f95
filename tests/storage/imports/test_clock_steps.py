"""An imported run whose clock goes back is like a recorded one."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.imports.made import Collected, imported
from tests.storage.recording_fixtures import Tape


async def events(
    recording: Recording, from_ms: int | None, to_ms: int | None = None
) -> list[DepthDiff]:
    found: list[DepthDiff] = []
    async with aclosing(recording.slices(from_ms, to_ms)) as slices:
        async for one in slices:
            found += list(one.chunk.diffs())[one.begin : one.end]
    return found


@pytest.mark.parametrize("back_ms", [500, 100_000, 3_600_000])
async def test_every_event_is_in_one_part_where_the_clock_goes_back(
    database: Database, tmp_path: Path, back_ms: int
) -> None:
    tape = Tape(step_ms=20_000)
    made = Collected(tape).snapshot().events(30)
    latest_ms = tape.now_ms
    tape.now_ms -= back_ms
    made.events(40)
    await imported(database, made.messages, tmp_path)
    recording = Recording(database, tape.market)
    (stored,) = await recording.segments()
    assert stored.back_ms == max(0, back_ms - 20_000)
    assert stored.segment.last_event_ms == max(latest_ms, tape.now_ms)
    assert (await verify(database, tape.market)).holds
    every = await events(recording, None)
    assert len(every) == 70
    for cut_ms in {one.event_ms for one in every}:
        assert [*await events(recording, None, cut_ms), *await events(recording, cut_ms)] == every
