"""Work that Ctrl-C, or the system's request to end, breaks off cleanly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, TypeVar

from orderbook_desktop.app.process.stopping import Workers, stop_on_signals
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.system.early_end import EndAtOnce
from orderbook_desktop.system.tasks import ending

_T = TypeVar("_T")
_STOPPED: Final = 1
_END_WITHIN_S: Final = 0.8


class Interrupted(KnownError):
    """The person, or the system, asked to stop; `what` says what did not come about."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)

    def __str__(self) -> str:
        return f"Stopped; {self.what}."


def run_interruptibly(
    work: Coroutine[Any, Any, _T],
    what: str,
    tell: Callable[[_T], int],
    *,
    done: str = "",
    within_s: float | None = _END_WITHIN_S,
) -> int:
    """Run `work` to its end, and return what `tell` makes of its result: the exit code.

    On a signal `work` is cancelled, and `Interrupted(what)` raised. Work that has not ended
    `within_s` after it (None: that may come too late for the signal) ends with the process. A
    signal that comes while `tell` prints, which may wait for the reader of a pipe, ends the
    process at once: with 0 where `work` has `done` something that stays, which is said.
    """
    with EndAtOnce(_STOPPED, f"Stopped; {what}.") as request:
        result = asyncio.run(_run(work, what, request, done, within_s))
        return tell(result)


async def _run(
    work: Coroutine[Any, Any, _T],
    what: str,
    request: EndAtOnce,
    done: str,
    within_s: float | None,
) -> _T:
    asyncio.get_running_loop().set_default_executor(Workers())
    stop = asyncio.Event()
    with ExitStack() as stack, stop_on_signals(stop):
        working = asyncio.create_task(work)
        waiting = asyncio.create_task(stop.wait())
        async with ending(working, waiting):
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if within_s is not None and not working.done():
                stack.enter_context(_ending_within(within_s, request))
        if working.cancelled():
            raise Interrupted(what)
        result = working.result()
        if done:
            request.code, request.sentence = 0, f"Stopped; {done}."
    return result


@contextmanager
def _ending_within(within_s: float, request: EndAtOnce) -> Iterator[None]:
    """End the process `within_s` from now unless the context ends; also where the loop is busy."""
    timer = threading.Timer(within_s, request.end_now)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
