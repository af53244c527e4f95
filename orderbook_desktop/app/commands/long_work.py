"""Long work of a command: its progress, and its end on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from orderbook_desktop.app.early_end import EndAtOnce
from orderbook_desktop.app.process.stopping import Deadline, do_nothing, stop_on_signals
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.system.tasks import Workers, ending

_T = TypeVar("_T")
_STOPPED: Final = 1
# The rest of a second is for a busy machine, and for the end of the process.
_END_WITHIN_S: Final = 0.55


class Interrupted(KnownError):
    """A person or the system asked the command to stop; `what` says what is not done."""

    what: str

    def __str__(self) -> str:
        return f"Stopped; {self.what}."


def run_interruptibly(
    work: Coroutine[Any, Any, _T],
    what: str,
    report: Callable[[_T], int],
    *,
    done: str = "",
    within_s: float | None = _END_WITHIN_S,
) -> int:
    """Run `work`, then `report` its result, and return the exit code that `report` returns.

    A signal cancels `work`, and `Interrupted(what)` is raised. If `work` has not ended
    `within_s` after the signal, the process ends without it; with None it may take any time,
    and may even complete. A signal during `report`, which may wait for the reader of a pipe,
    ends the process at once. The exit code is then 0 if `done` names a result that stays, and
    `done` is printed.
    """
    with EndAtOnce(_STOPPED, f"Stopped; {what}.") as request:
        with ExitStack() as stack:
            begin = do_nothing
            if within_s is not None:
                begin = stack.enter_context(Deadline(within_s, request.end_now)).begin
            result = asyncio.run(_run(work, what, request, done, begin))
        return report(result)


async def _run(
    work: Coroutine[Any, Any, _T],
    what: str,
    request: EndAtOnce,
    done: str,
    begin_deadline: Callable[[], None],
) -> _T:
    asyncio.get_running_loop().set_default_executor(Workers())
    stop = asyncio.Event()
    with stop_on_signals(stop, begin_deadline):
        working = asyncio.create_task(work)
        waiting = asyncio.create_task(stop.wait())
        async with ending(working, waiting):
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.cancelled():
            raise Interrupted(what)
        result = working.result()
        if done:
            request.code, request.sentence = 0, f"Stopped; {done}."
    return result


class WorkProgress:
    """Shows the progress of some work on a terminal; without a terminal it shows nothing.

    Use it as a context manager.
    """

    def __init__(self, what: str, console: Console | None = None) -> None:
        console = console or Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(what, total=1.0)
        self._what, self._done = what, 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, fraction: float | None, what: str | None = None) -> None:
        """Show that `fraction` (0 to 1; None: unknown) is done; `what` is a new name of the work.

        It may be called in any thread. What is shown of one work doesn't go back.
        """
        if fraction is None:
            self._progress.update(self._task, total=None, description=what)
        else:
            if what not in (None, self._what):
                self._what, self._done = what or "", 0.0
            self._done = done = max(self._done, min(1.0, fraction))
            self._progress.update(self._task, total=1.0, completed=done, description=what)
