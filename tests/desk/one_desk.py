"""A program with one desk, for tests that need a single desk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.replay import Replay
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.desk.desk import LiveDesk
from orderbook_desktop.desk.program import Program
from orderbook_desktop.desk.recorded_replays import RecordedReplays
from orderbook_desktop.desk.settings import DeskTimes
from tests.storage.processes import eventually
from tests.unhurried import DESK_TIMES


def one_desk(
    settings: Settings,
    symbol: str = "BTC/USDT",
    kind: SourceKind = SourceKind.MONGO,
    *,
    recents: Sequence[str] = (),
    recordings: Mapping[str, bool] | None = None,
    here_too: Sequence[str] = (),
    fixed_connections: bool = False,
    demo: bool = False,
    current_log: Callable[[], str] = lambda: "",
    times: DeskTimes = DESK_TIMES,
) -> LiveDesk:
    """Return a desk on a program of its own, which is not started. Call `end` at the end."""
    program = Program(
        settings,
        recordings=recordings,
        here_too=here_too,
        fixed_connections=fixed_connections,
        demo=demo,
        current_log=current_log,
        times=times,
    )
    return LiveDesk(
        program,
        symbol=symbol,
        source_kind=kind,
        recents=recents,
        open_replay=RecordedReplays(lambda: program.engine),
    )


async def end(desk: LiveDesk) -> None:
    """Close a desk and its program."""
    desk.close()
    await desk.program.close()


@asynccontextmanager
async def running(desk: LiveDesk) -> AsyncIterator[LiveDesk]:
    """Run the program of a desk in the block."""
    try:
        await desk.program.start()
        yield desk
    finally:
        await end(desk)


async def played(desk: LiveDesk, at: int | None = None) -> Replay:
    """Play the recording of the symbol on screen as soon as there is one."""
    while desk.replay is None:
        desk.start_replay(at=at)
        # The beginning of a recording is stored a moment after its first events.
        await eventually(lambda: desk.replay is not None or bool(desk.notices))
        await asyncio.sleep(0.02)
    return desk.replay
