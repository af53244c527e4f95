"""Services for Qt's event loop: garbage collection in its thread, and reports of uncaught errors.

Python collects garbage in the thread that happens to allocate an object. A Qt object that is
destroyed in another thread, such as a timer, can't remove itself from the event loop's lists,
and the process crashes when the timer is due. Also in Qt's thread, a collection may begin
inside Qt while Qt holds a lock that the object's destructor needs, and the process deadlocks.
So the event loop collects garbage, between other events.

Uncaught exceptions come from Qt's callbacks, from threads and from the loop itself.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from PySide6.QtCore import QTimer

_log = logging.getLogger(__name__)

_EVERY_MS: Final = 500
# After so many collections the imported modules are complete; later ones can leave them out.
_FREEZE_AFTER: Final = 40


@contextmanager
def garbage_on_this_thread() -> Iterator[None]:
    """Collect garbage by a timer of this thread's event loop while the context lasts.

    After the context no garbage is collected: the program ends there, and a collection while
    Qt destroys its objects is the most dangerous one.
    """
    collector = _Collector()
    timer = QTimer(interval=_EVERY_MS)
    timer.timeout.connect(collector.collect)
    gc.disable()
    timer.start()
    try:
        yield
    finally:
        timer.stop()


class _Collector:
    """Collects the garbage that Python's automatic collection would have collected meanwhile."""

    def __init__(self) -> None:
        self._times = 0

    def collect(self) -> None:
        """Collect the oldest generation that has reached its threshold."""
        self._times += 1
        if self._times == _FREEZE_AFTER:
            gc.freeze()
        for generation in (2, 1, 0):
            if gc.get_count()[generation] > gc.get_threshold()[generation]:
                gc.collect(generation)
                return


class UnexpectedErrors:
    """Logs uncaught exceptions, in place of the terminal, and calls `report` with each.

    Exceptions of the same type at the same line are logged and reported once, since a paint
    event may fail at the frame rate. `report` is called in the event loop's thread.
    """

    def __init__(self, report: Callable[[BaseException], None]) -> None:
        self._report = report
        self._logged: set[tuple[str, ...]] = set()

    @contextmanager
    def caught(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Log uncaught exceptions while the context lasts; `loop` is the running loop."""
        before = sys.excepthook, sys.unraisablehook, threading.excepthook

        def of_qt(
            kind: type[BaseException], error: BaseException, trace: TracebackType | None
        ) -> None:
            del kind, trace
            self._note(loop, "a callback", error)

        def of_loop(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            if error is None:
                _log.error("%s", context["message"])
            else:
                self._note(loop, context["message"], error)

        def of_destructor(unraisable: sys.UnraisableHookArgs) -> None:
            if unraisable.exc_value is not None:
                self._note(loop, "a destructor", unraisable.exc_value)

        def of_thread(failure: threading.ExceptHookArgs) -> None:
            if failure.exc_value is not None:
                self._note(loop, f"thread {failure.thread}", failure.exc_value)

        sys.excepthook, sys.unraisablehook = of_qt, of_destructor
        threading.excepthook = of_thread
        loop.set_exception_handler(of_loop)
        try:
            yield
        finally:
            sys.excepthook, sys.unraisablehook, threading.excepthook = before
            loop.set_exception_handler(None)

    def _note(self, loop: asyncio.AbstractEventLoop, where: str, error: BaseException) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1:]
        key = (type(error).__name__, *(f"{frame.filename}:{frame.lineno}" for frame in place))
        if key in self._logged:
            return
        self._logged.add(key)
        _log.error("unexpected exception in %s", where, exc_info=error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._report, error)
