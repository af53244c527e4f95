"""Wakes an event loop at a precise time: the timers of Qt's loop are coarse, and may be early."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol


class Alarm(Protocol):
    """Calls a function once, after a time."""

    def set(self, in_ns: int, call: Callable[[], None]) -> None:
        """Call `call` in so many ns; what was set before is not called any more."""
        ...

    def clear(self) -> None:
        """Call nothing any more."""
        ...

    def close(self) -> None:
        """Call nothing any more, and end what waits."""
        ...


class ThreadAlarm:
    """An alarm whose thread waits, and then calls on the `loop`. Call `close` at the end.

    The thread begins with the first time that is set. It waits by `now_ns`, a clock that never goes
    back.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._loop = loop
        self._now_ns = now_ns
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        # When it is due, by `now_ns`, and what was set; each setting has a number.
        self._due_ns: int | None = None
        self._call: Callable[[], None] | None = None
        self._number = 0
        self._is_closed = False

    def set(self, in_ns: int, call: Callable[[], None]) -> None:
        """See `Alarm`."""
        with self._changed:
            if self._is_closed:
                return
            self._due_ns, self._call = self._now_ns() + in_ns, call
            self._number += 1
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, name="alarm", daemon=True)
                self._thread.start()

    def clear(self) -> None:
        """See `Alarm`."""
        with self._changed:
            self._due_ns = self._call = None
            self._number += 1

    def close(self) -> None:
        """See `Alarm`."""
        with self._changed:
            self._is_closed = True
            self._due_ns = self._call = None
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _wait(self) -> None:
        with self._changed:
            while not self._is_closed:
                if self._due_ns is None:
                    self._changed.wait()
                    continue
                left_ns = self._due_ns - self._now_ns()
                if left_ns > 0:
                    self._changed.wait(left_ns / 1e9)
                    continue
                self._due_ns = None
                # The loop may have been closed without this alarm.
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._ring, self._number)

    def _ring(self, number: int) -> None:
        call = self._call
        if number == self._number and call is not None:
            self._call = None
            call()
