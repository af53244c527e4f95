"""Work that a person may break off with Ctrl-C, and that then leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from orderbook_desktop.app.stopping import stop_on_signals
from orderbook_desktop.app.workers import Workers
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.ending import ending

_T = TypeVar("_T")


class Interrupted(KnownError):
    """The person, or the system, asked to stop; `what` says what did not come about."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)

    def __str__(self) -> str:
        return f"Stopped; {self.what}."


def run_interruptibly(work: Coroutine[Any, Any, _T], what: str) -> _T:
    """Run `work` to its end, or cancel it on a signal and raise `Interrupted(what)`."""
    return asyncio.run(_run(work, what))


async def _run(work: Coroutine[Any, Any, _T], what: str) -> _T:
    asyncio.get_running_loop().set_default_executor(Workers())
    stop = asyncio.Event()
    with stop_on_signals(stop):
        working = asyncio.create_task(work)
        waiting = asyncio.create_task(stop.wait())
        async with ending(working, waiting):
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if working.cancelled():
        raise Interrupted(what)
    return working.result()
