"""A recording's gaps in the program, of all causes: a kill, a switch away and back, and others."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import pytest

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.library import library_of_desk
from orderbook_desktop.exchange.local import Fault, FaultKind
from tests.app.conftest import ExchangeThread
from tests.desk.one_desk import one_desk, running
from tests.exchange.local.client import get_json
from tests.storage.processes import eventually

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal"),
    pytest.mark.allows_log(r"WARNING .*"),
]


async def _record_and_be_killed(settings: Settings) -> None:
    """Record in a process of its own, which is killed amid it."""
    variables = {
        "ORDERBOOK_REST_URL": settings.rest_url,
        "ORDERBOOK_WS_URL": settings.ws_url,
        "ORDERBOOK_DATA_DIR": str(settings.data_dir),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orderbook_desktop", "record", "BTC/USDT"),
        env={**os.environ, **variables},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        # The line with the numbers of events comes ten seconds after the start.
        while b" events, " not in (line := await process.stderr.readline()):
            assert line, "it ended"
    finally:
        process.kill()
        await process.wait()


async def _until_recorded(desk: LiveDesk, books: int) -> None:
    """Wait until the segment of the symbol's book number `books` has stored events."""
    await eventually(lambda: desk.recording.counts.books >= books)
    stored = desk.recording.counts.events
    await eventually(lambda: desk.recording.counts.events > stored + 5)


async def _gaps(desk: LiveDesk, count: int) -> RecordedGaps:
    """Return the gaps as the window asks for them, as soon as there are `count`."""
    found: list[RecordedGaps] = []

    def are_there() -> bool:
        gaps = desk.recording.gaps
        found[:] = [] if gaps is None else [gaps]
        return gaps is not None and len(gaps.gaps) >= count

    await eventually(are_there)
    return found[0]


async def _until_an_event_is_missed(exchange: ExchangeThread) -> None:
    """Wait until the exchange has sent an event that nothing records.

    A program that begins to record within the same 100 ms misses none, and leaves no gap.
    """
    path = "/api/v3/depth?symbol=BTCUSDT&limit=5"
    before = (await get_json(exchange, path))["lastUpdateId"]
    while (await get_json(exchange, path))["lastUpdateId"] == before:
        await asyncio.sleep(0.05)


def _causes(gaps: RecordedGaps) -> list[GapCause]:
    return [gap.cause for gap in gaps.gaps]


@pytest.mark.timeout(240, method="thread")
async def test_all_gaps_of_a_recording_are_listed_with_their_causes(
    settings: Settings, exchange: ExchangeThread
) -> None:
    await _record_and_be_killed(settings)
    await _until_an_event_is_missed(exchange)
    async with running(one_desk(settings)) as desk:
        await _until_recorded(desk, 1)
        after_kill = await _gaps(desk, 1)
        assert (_causes(after_kill), after_kill.in_session) == ([GapCause.CRASH], 0)
        # Away and back: the symbol was not recorded in between.
        desk.select_symbol("ETH/USDT")
        await eventually(lambda: desk.recording.counts.events > 0)
        await _until_an_event_is_missed(exchange)
        desk.select_symbol("BTC/USDT")
        await _until_recorded(desk, 2)
        exchange.inject(Fault(kind=FaultKind.DISCONNECT))
        await eventually(lambda: desk.source.look().status.state is FeedState.RECONNECTING)
        await _until_recorded(desk, 3)
        gaps = await _gaps(desk, 3)
        assert _causes(gaps) == [GapCause.DISCONNECT, GapCause.USER, GapCause.CRASH]
        assert gaps.in_session == 2
        library: Any = library_of_desk(desk)
        assert library.recorded_gaps(desk.symbol) is desk.recorded_gaps("BTC/USDT")
    await _until_an_event_is_missed(exchange)
    async with running(one_desk(settings)) as desk:
        await _until_recorded(desk, 1)
        gaps = await _gaps(desk, 4)
        causes = [GapCause.USER, GapCause.DISCONNECT, GapCause.USER, GapCause.CRASH]
        assert (_causes(gaps), gaps.in_session) == (causes, 0)
        newest_first = [gap.from_ms for gap in gaps.gaps]
        assert newest_first == sorted(newest_first, reverse=True)
