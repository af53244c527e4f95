"""Ending cleanly on Ctrl-C and on the system's request."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from orderbook_desktop.system.early_end import STOPPING, is_heeded

_log = logging.getLogger(__name__)


@contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` on a request to end while the context lasts; call it in the loop's thread."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        for number in filter(is_heeded, STOPPING):

            def handle(number: signal.Signals = number) -> None:
                _log.info("stopping on %s", number.name)
                stop.set()

            stack.callback(_handle(loop, number, handle))
        yield


def _handle(
    loop: asyncio.AbstractEventLoop, number: signal.Signals, handle: Callable[[], None]
) -> Callable[[], object]:
    """Install a handler; return what restores the one before."""
    before = signal.getsignal(number)

    def restore() -> None:
        signal.signal(number, before)

    try:
        loop.add_signal_handler(number, handle)
    except NotImplementedError:
        # Windows: Python's handler runs only when Python does, so the loop must wake at times.
        def from_python(_number: int, frame: FrameType | None) -> None:
            del frame
            loop.call_soon_threadsafe(handle)

        signal.signal(number, from_python)
        return restore

    def remove() -> None:
        loop.remove_signal_handler(number)
        restore()

    return remove
