"""Programs that tests start are forked from a process that has loaded their modules already.

Loading them takes most of the processor time of such a start. On Linux, each `Popen` of `python -m
MODULE…` with a module that `tests.nursery` knows is forked there. It is a child of the test's
process, with arguments, environment, folder and standard files of its own, as ever. A test of the
start itself has the mark `cold_start`. `conftest.py` loads this module as a plugin.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from orderbook_desktop.system import child_guard
from tests.nursery import ENCODING_VARIABLE, PROGRAMS, SERVER, set_process
from tests.storage.processes import ROOT

# Python, the C library or the nursery's libraries have read these at their start.
_READ_AT_START: Final = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
_PR_SET_CHILD_SUBREAPER: Final = 36
_EXECUTE: Final = "_execute_child"
_PIPES: Final = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


@dataclass(frozen=True, slots=True)
class Start:
    """What to start: a module, with the folder on Python's path or not; ends with `guard_of`."""

    module: str
    arguments: list[str]
    has_folder_on_path: bool
    guard_of: int = 0


def start_of(command: Sequence[str]) -> Start | None:
    """Return what `command` starts, if a nursery can start it."""
    guard_of = 0
    if list(command[:5]) == [sys.executable, "-I", "-S", child_guard.__file__, "exec"]:
        guard_of, command = int(command[5]), command[6:]
    match list(command):
        case [sys.executable, "-P", "-m", module, *arguments] if module == SERVER:
            return Start(module, arguments, has_folder_on_path=False, guard_of=guard_of)
        case [sys.executable, "-m", module, *arguments] if module in PROGRAMS and not guard_of:
            return Start(module, arguments, has_folder_on_path=True)
    return None


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

    def start(self, start: Start, request: dict[str, Any], files: Sequence[int]) -> int:
        """Have a process forked; return the id of our new child."""
        message = json.dumps({**asdict(start), **request}).encode()
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
    """Has known programs forked; a nursery begins with the first program that it is needed for.

    Call `close()`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nurseries: dict[str, Nursery] = {}
        self._variables = _read_at_start(os.environ)
        self.is_warm = True
        self.start_anew: Callable[..., None] = vars(subprocess.Popen)[_EXECUTE]

    @property
    def pids(self) -> set[int]:
        """The processes of the nurseries."""
        return {nursery.pid for nursery in self._nurseries.values()}

    def execute_child(self, popen: Any, *given: Any) -> None:
        """Start the child of `popen`; takes what `Popen._execute_child` takes."""
        names = inspect.signature(self.start_anew).parameters
        asked = dict(zip(names, (popen, *given), strict=True))
        variables = _texts(asked["env"] or os.environ)
        start = None
        if self.is_warm and _is_usual(asked) and _read_at_start(variables) == self._variables:
            start = start_of([os.fsdecode(one) for one in asked["args"]])
        if start is None:
            self.start_anew(popen, *given)
            return
        request = {
            "variables": variables,
            "folder": os.fsdecode(asked["cwd"] or Path.cwd()),
            "is_leader": asked["start_new_session"],
        }
        files = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        files = [number if file == -1 else file for number, file in enumerate(files)]
        popen.pid = self._nursery_of(start).start(start, request, files)
        popen._child_created = True
        popen._close_pipe_fds(*(asked[name] for name in _PIPES))

    def close(self) -> None:
        """End the nurseries."""
        while self._nurseries:
            self._nurseries.popitem()[1].close()

    def _nursery_of(self, start: Start) -> Nursery:
        kind = "server" if start.module == SERVER else "program"
        with self._lock:
            if kind not in self._nurseries:
                self._nurseries[kind] = Nursery(kind)
            return self._nurseries[kind]


def _is_usual(asked: Mapping[str, Any]) -> bool:
    """Return whether a nursery can do all that is asked for."""
    return (
        isinstance(asked["args"], (list, tuple))
        and asked["close_fds"]
        and not any(asked[name] for name in ("executable", "preexec_fn", "pass_fds", "shell"))
        and all(asked[name] is None for name in ("gid", "gids", "uid"))
        and (asked["umask"], asked["process_group"]) == (-1, -1)
    )


def _texts(variables: Mapping[Any, Any]) -> dict[str, str]:
    return {os.fsdecode(name): os.fsdecode(text) for name, text in variables.items()}


def _read_at_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text
        for name, text in variables.items()
        if name.startswith(_READ_AT_START) and name != ENCODING_VARIABLE
    }


_STARTS: Final = WarmStarts()


def nursery_pids() -> set[int]:
    """Return the processes that fork the programs: they are no test's children."""
    return _STARTS.pids


def _execute_child(popen: Any, *given: Any) -> None:
    _STARTS.execute_child(popen, *given)


def pytest_sessionstart() -> None:
    """Have programs forked from now on."""
    # What a forked process covers would not be measured.
    is_measured = any(name.startswith("COVERAGE_") for name in os.environ)
    if sys.platform == "linux" and not is_measured:
        setattr(subprocess.Popen, _EXECUTE, _execute_child)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fork no program of a test, and of its fixtures, that has the mark `cold_start`."""
    _STARTS.is_warm = item.get_closest_marker("cold_start") is None


def pytest_sessionfinish() -> None:
    """End the nurseries."""
    setattr(subprocess.Popen, _EXECUTE, _STARTS.start_anew)
    _STARTS.close()
