"""What Qt's event loop needs: garbage collected on its thread only, and errors that are told.

Python collects wherever something happens to be allocated. On another thread a Qt object that
goes, a timer say, can't take itself off the event loop's lists, and the process crashes when
its time comes. Even on Qt's thread it may happen inside Qt, which holds a lock that the going
object needs: the process then waits for itself. So collecting is a job of the event loop.

Exceptions that no code catches come from Qt's callbacks, from threads and from the loop itself.
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
# By now what the program has imported is here to stay: no collection need look at it again.
_FREEZE_AFTER: Final = 40


@contextmanager
def garbage_on_this_thread() -> Iterator[None]:
    """Collect garbage by a timer of this thread's event loop while the context lasts.

    Afterwards nothing is collected any more: the window's program ends there, and while Qt's
    objects go one by one is the worst of times.
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
    """Does what the automatic collection would have done since the last time."""

    def __init__(self) -> None:
        self._times = 0

    def collect(self) -> None:
        """Collect the oldest generation whose time has come."""
        self._times += 1
        if self._times == _FREEZE_AFTER:
            gc.freeze()
        for generation in (2, 1, 0):
            if gc.get_count()[generation] > gc.get_threshold()[generation]:
                gc.collect(generation)
                return


class UnexpectedErrors:
    """Puts uncaught exceptions into the log instead of onto the terminal, and tells `heard`.

    The same one at the same place is logged once: a paint event fails at the frame rate.
    `heard` is called in the event loop's thread.
    """

    def __init__(self, heard: Callable[[BaseException], None]) -> None:
        self._heard = heard
        self._known: set[tuple[str, ...]] = set()

    @contextmanager
    def caught(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Catch them while the context lasts; `loop` is the running one."""
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
        if key in self._known:
            return
        self._known.add(key)
        _log.error("unexpected exception in %s", where, exc_info=error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._heard, error)
