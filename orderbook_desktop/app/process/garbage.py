"""Garbage collection on Qt's thread only.

Python collects wherever something happens to be allocated. On another thread a Qt object that
goes, a timer say, can't take itself off the event loop's lists, and the process crashes when
its time comes. Even on Qt's thread it may happen inside Qt, which holds a lock that the going
object needs: the process then waits for itself. So collecting is a job of the event loop.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PySide6.QtCore import QTimer

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
