"""The end of the program: clean on Ctrl-C and on the system's request, and always in time.

Python can't interrupt a thread. A name look-up in a network that swallows packets takes up to a
minute. Python would wait for it at the end, and so would the person who closed the window.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType, TracebackType
from typing import Final, NoReturn, Self

from msgspec import Struct

from orderbook_desktop.app.early_end import STOPPING, ignore_requests, is_heeded
from orderbook_desktop.desk.settings import DESK_TIMES, DeskTimes

_log = logging.getLogger(__name__)

_PATIENCE_S: Final = 0.15


def do_nothing() -> None:
    """Do nothing on a request to end."""


@contextmanager
def stop_on_signals(
    stop: asyncio.Event, at_once: Callable[[], object] = do_nothing
) -> Iterator[None]:
    """Set `stop` on a request to end while the context lasts; enter it in the loop's thread.

    `at_once` is called in that thread even while the loop is busy, between any two steps of the
    thread's code, so it must take no lock.
    """
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        for number in filter(is_heeded, STOPPING):

            def handle(number: signal.Signals = number) -> None:
                _log.info("stopping on %s", number.name)
                stop.set()

            stack.callback(_handle(loop, number, handle, at_once))
        yield


def _handle(
    loop: asyncio.AbstractEventLoop,
    number: signal.Signals,
    handle: Callable[[], None],
    at_once: Callable[[], object],
) -> Callable[[], object]:
    """Install a handler; return a function that restores the handler before it."""
    before = signal.getsignal(number)

    def restore() -> None:
        signal.signal(number, before)

    def from_python(_number: int, frame: FrameType | None) -> None:
        del frame
        at_once()
        loop.call_soon_threadsafe(handle)

    def begin_at_once(_number: int, frame: FrameType | None) -> None:
        del frame
        at_once()

    try:
        loop.add_signal_handler(number, handle)
        # The loop has put a handler there that does nothing: it learns of the signal elsewhere.
        signal.signal(number, begin_at_once)
    except NotImplementedError:
        # On Windows Python runs the handler when the loop next wakes, so the loop needs a timer.
        signal.signal(number, from_python)
        return restore

    def remove() -> None:
        loop.remove_signal_handler(number)
        restore()

    return remove


class Deadline:
    """Calls `end_now` `within_s` after `begin()`, however busy the process is; a context manager.

    It is off again when the context ends.
    """

    def __init__(
        self,
        within_s: float,
        end_now: Callable[[], object],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._within_s = within_s
        self._end_now = end_now
        self._now = now
        self._begin, self._begun = socket.socketpair()
        self._begin.setblocking(False)
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()

    def begin(self) -> None:
        """Begin, if it has not begun; it takes no lock, so a signal's handler may call it."""
        with suppress(OSError):
            self._begin.send(b"!")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._begin.close()

    def _watch(self) -> None:
        with self._begun, suppress(ConnectionError):
            if not self._begun.recv(1):
                return
            end = self._now() + self._within_s
            while (left := end - self._now()) > 0:
                self._begun.settimeout(left)
                with suppress(TimeoutError):
                    if not self._begun.recv(64):
                        return
            self._end_now()


def end_at_latest(within_s: float) -> None:
    """End the process after `within_s`, even if it is busy; call it when closing."""
    end = threading.Timer(within_s, _end_at_once, (1,))
    end.daemon = True
    end.start()


def leave(code: int) -> NoReturn:
    """End the process with `code`, within `_PATIENCE_S` even if a thread is busy.

    The caller closes all resources before. The code is at least 1 if printed text can't be
    written.
    """
    # A request to end may still interrupt this: the reader of a pipe may never take the text.
    if not _flush():
        code = code or 1
    ignore_requests()
    end = threading.Timer(_PATIENCE_S, _end_at_once, (code,))
    end.daemon = True
    end.start()
    sys.exit(code)


def _end_at_once(code: int) -> None:
    names = [thread.name for thread in threading.enumerate() if not thread.daemon]
    _log.info("ending although threads are busy: %s", ", ".join(names))
    logging.shutdown()
    _flush()
    os._exit(code)


def _flush() -> bool:
    """Write out the printed text; return whether that was possible.

    Text for a full disk or a closed pipe is dropped here: otherwise the interpreter would try
    again at its end, and print an error.
    """
    written = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            written = False
            with suppress(OSError, ValueError):
                _lead_nowhere(stream.fileno())
        except (ValueError, AttributeError):  # A closed stream, or none: Windows without console.
            pass
    return written


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


class ProgramTimes(Struct, frozen=True):
    """How long the program and its parts wait, in seconds.

    `desk` are the times of a window's desk; `record` and `serve` use the times of its engine. A
    window closes within `close_s`. If the process has not ended `grace_s` later, it ends at once.
    When `record` stops, received events may be written for `write_s`. `now` is the clock of the
    program.
    """

    desk: DeskTimes = DESK_TIMES
    close_s: float = 2.7
    grace_s: float = 2.0
    write_s: float = 5.0
    now: Callable[[], float] = time.monotonic


PROGRAM_TIMES: Final = ProgramTimes()
