"""asyncio's child processes are sent their signals as newer Pythons send them.

Before 3.14, asyncio has `Popen` send a signal, and that first looks whether the child has ended.
If it just has, this look takes its exit code, and asyncio's own waiter finds no child any more:
it warns of an unknown child process and reports exit code 255 (CPython's issue 87744). The
program itself starts no child by asyncio; only tests do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from asyncio.base_subprocess import BaseSubprocessTransport
from functools import partialmethod
from typing import Any


def send_without_looking() -> None:
    """Have every child of asyncio's in this process sent its signals in the new way."""
    if sys.platform != "win32":
        transport: Any = BaseSubprocessTransport
        transport.send_signal = _send
        transport.terminate = partialmethod(_send, signal.SIGTERM)
        transport.kill = partialmethod(_send, signal.SIGKILL)


def _send(transport: BaseSubprocessTransport, number: int) -> None:
    if transport.get_returncode() is not None:
        raise ProcessLookupError
    pid = transport.get_pid()
    assert pid is not None
    # The waiter may have seen the child's end, and the loop not heard of it yet.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
