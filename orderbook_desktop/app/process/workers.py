"""Threads for calls that block, and an end of the program that does not wait for them.

Python can't interrupt a thread. Looking up a name in a network that swallows packets takes
up to a minute, and Python would wait for that at its end; the person who closed the window
should not.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, NoReturn

from orderbook_desktop.system.early_end import ignore_requests

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 0.3


class Workers(ThreadPoolExecutor):
    """An event loop's pool of threads; shutting it down doesn't wait for them."""

    def __init__(self) -> None:
        super().__init__(8, thread_name_prefix="work")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """Take no more work and forget what has not begun."""
        del wait
        super().shutdown(wait=False, cancel_futures=cancel_futures)


def end_at_latest(within_s: float) -> None:
    """End the process after `within_s`, whatever it is doing then; call it when closing."""
    end = threading.Timer(within_s, _end_at_once, (1,))
    end.daemon = True
    end.start()


def leave(code: int) -> NoReturn:
    """End the process with `code`, within `PATIENCE_S` even where a thread is busy.

    Everything that must be closed has to be closed before. The code is at least 1 where what was
    printed can't be written.
    """
    # While these may still be interrupted: a reader of a pipe may have no time for them.
    if not _flush():
        code = code or 1
    ignore_requests()
    end = threading.Timer(PATIENCE_S, _end_at_once, (code,))
    end.daemon = True
    end.start()
    sys.exit(code)


def _end_at_once(code: int) -> None:
    names = [one.name for one in threading.enumerate() if not one.daemon]
    _log.info("ending although threads are busy: %s", ", ".join(names))
    logging.shutdown()
    _flush()
    os._exit(code)


def _flush() -> bool:
    """Write out what is printed; return whether that was possible.

    What can't be written, to a full disk or a closed pipe, is dropped here: the interpreter
    would try again as it ends, and complain of it.
    """
    written = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            written = False
            with suppress(OSError, ValueError):
                _lead_nowhere(stream.fileno())
        except (ValueError, AttributeError):  # Closed, or none on Windows without a console.
            pass
    return written


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
