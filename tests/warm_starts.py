"""Programs that tests start are forked from a process that has loaded their modules already.

On Linux, each `Popen` of `python -m MODULE…` with a module that `tests.starts` knows is forked by
`tests.nursery`. It is a child of the test's process, with arguments, environment, folder and
standard files of its own, as ever. A test of the start itself has the mark `cold_start`.
`conftest.py` loads this module as a plugin.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final

import pytest

from tests.forked import set_process
from tests.starts import SERVER, ForkedStarts, Start
from tests.storage.processes import ROOT
from tests.storage.ready_made import DATABASE_VARIABLE, ready_made_database

_PR_SET_CHILD_SUBREAPER: Final = 36


class Nursery:
    """A process that has loaded a kind of program, and forks it. Call `close()`."""

    def __init__(self, kind: str) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.nursery", kind, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        self.pid = self._process.pid

    def start(self, request: dict[str, Any], files: Sequence[int]) -> int:
        """Have a process forked; return the id of our new child."""
        message = json.dumps(request).encode()
        with self._lock:
            # The new process becomes a child of this one, when the one between them ends.
            set_process(_PR_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(self._socket, [message], list(files))
                return int(self._socket.recv(100))
            finally:
                set_process(_PR_SET_CHILD_SUBREAPER, 0)

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()


class WarmStarts:
    """The nurseries of a test run; each begins with the first program that it is needed for.

    Call `close()`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nurseries: dict[str, Nursery] = {}
        self.is_warm = True

    @property
    def pids(self) -> set[int]:
        """The processes of the nurseries."""
        return {nursery.pid for nursery in self._nurseries.values()}

    def nursery_of(self, start: Start) -> Nursery | None:
        """Return what forks `start`; None where it is to be started anew."""
        if not self.is_warm:
            return None
        kind = "server" if start.module == SERVER else "program"
        if kind == "program" and DATABASE_VARIABLE in os.environ:
            # Else the first program would make it, and a test may kill that.
            ready_made_database()
        with self._lock:
            if kind not in self._nurseries:
                self._nurseries[kind] = Nursery(kind)
            return self._nurseries[kind]

    def close(self) -> None:
        """End the nurseries."""
        while self._nurseries:
            self._nurseries.popitem()[1].close()


_WARM: Final = WarmStarts()
_STARTS: Final = ForkedStarts(_WARM.nursery_of)


def nursery_pids() -> set[int]:
    """Return the processes that fork the programs: they are no test's children."""
    return _WARM.pids


def pytest_sessionstart() -> None:
    """Have programs forked from now on."""
    # What a forked process covers would not be measured.
    is_measured = any(name.startswith("COVERAGE_") for name in os.environ)
    if sys.platform == "linux" and not is_measured:
        _STARTS.begin()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fork no program of a test, and of its fixtures, that has the mark `cold_start`."""
    _WARM.is_warm = item.get_closest_marker("cold_start") is None


def pytest_sessionfinish() -> None:
    """End the nurseries."""
    _STARTS.end()
    _WARM.close()
