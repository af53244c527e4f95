"""Exceptions that nobody caught: in Qt's callbacks, in threads and in the event loop."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

_log = logging.getLogger(__name__)


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
